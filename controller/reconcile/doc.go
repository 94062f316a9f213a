// Package reconcile makes the traffic manager hold what translation desires.
//
// It owns the comparison of desired with observed, the ordered Plan, its brakes
// and its application, the loop that drives all stages, and the decision who may
// write. It never decides what should exist (that is translate), nor how a
// request looks on the wire (that is controller/vtm). It imports
// controller/translate, controller/vtm, controller/kube (for Snapshot),
// controller/config (for Settings), controller/report (for Entry) and internal/.
//
// What is pure stands in files of its own, without clock, log, network or the
// order of maps: references.go, plan.go, diff.go, brake.go, and of who may write and what: gate.go,
// candidacy.go, takeover.go. lease.go is the Lease and what it says, home.go looks after
// the instance's own traffic manager; glance.go is about
// what the traffic manager itself says is wrong, and what others changed there; classes.go
// keeps IngressClasses that are gone for a minute; starting.go keeps back what passes while
// Pods start; left.go is about Ingresses that left while no instance ran. The Loop is
// one goroutine; only while it applies a stage do several act, and they share
// nothing but what Loop.mu guards.
package reconcile
