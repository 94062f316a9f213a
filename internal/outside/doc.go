// Package outside is what the world outside a program gives to it: time,
// network and chance, behind one value, the World.
//
// It owns the World interface and its production implementation (Real). It
// never decides anything and holds no state of its own beyond open transports.
// Everything may import it; it imports the standard library and
// k8s.io/utils/clock only.
//
// Every part of the project that would otherwise call time.Now, net.Dial,
// net.Listen or a random generator takes a World instead. That is what lets the
// whole system run in memory, with fake time and a seed (package sim/network
// has the second implementation), and it is the only reason the interface
// exists.
package outside
