// Package network is an in-memory network with hashed latency: the outside.World
// of simulation.
//
// It owns connections, datagrams, their delays and the trace of requests. It never draws
// from a shared random generator: every delay is a hash of seed, connection and
// message number, so that a run under testing/synctest repeats exactly, whatever
// the scheduler does. It never touches a real socket and keeps no goroutine; its
// timers are those of the bubble it was made in. Everything in sim/ and testenv/
// may import it; it imports internal/outside only.
//
// # What makes a run repeat
//
// A connection is named actor>address#count. Two goroutines that may act at one
// instant must be two actors, or which of them gets which name is a race. HTTP
// clients made by the World see to that by themselves: each method and path has a
// transport of its own, and so has each body of a POST.
//
// # Limits
//
// Writes never block and are not bounded: what is in flight is kept in memory.
// Bandwidth is infinite, only order and delay are modelled.
//
// # Files
//
// network.go who listens and dials, conn.go connections, packet.go datagrams,
// client.go HTTP clients, hash.go the source of chance, chance_hashed.go and
// chance_plain.go that of math/rand, trace.go what happened.
package network
