// Package testenv starts whole systems for tests and shows them as their users
// see them.
//
// It owns the lanes in which scenarios run, one sub-package each (bubble: in
// memory with fake time; loopback: real sockets, real time), and the interface
// that all lanes share, so that a scenario does not know where it runs. It is the
// only package that imports both sim and controller. It never asserts
// anything, but for what a lane promises: that a run repeats itself.
// It imports sim, controller and internal; scenarios, cmd/figures and external
// test packages import it.
package testenv
