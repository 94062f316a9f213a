// Package control has what the control APIs of the emulated parts share: whoever
// reaches one needs no password, so that they listen on loopback addresses only and
// answer no browser; and faults are set by text.
//
// It owns no fault and no part: these are given to it. It imports no other package of
// this module.
package control
