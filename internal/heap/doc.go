// Package heap tells a program when its heap was collected, for programs that set how
// often that is.
//
// It owns the one way in which Go tells of it. It never sets anything itself. Programs
// import it; it imports the standard library only.
package heap
