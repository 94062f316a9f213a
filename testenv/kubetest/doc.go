// Package kubetest is a Kubernetes cluster of emulated parts for tests that need no
// traffic manager: API server, its small controllers, hollow nodes.
//
// It owns how those are started, waited for and ended, in memory with fake time or
// over loopback sockets, and the questions that every such test asks. It never
// starts the controller or a traffic manager: that is testenv. Only external test
// packages import it; it imports sim/kube, sim/kube/controllers, sim/node,
// sim/network and internal/.
package kubetest
