// Package node holds hollow nodes: they run pods as programs of this process or of
// this machine, and open node ports.
//
// A node is an ordinary API client that knows client-go only, so that it serves a
// real API server, too. It owns its Node object, the Lease by which it is known to
// live, the pods bound to it, and the node ports on its address, as kubelet and
// kube-proxy do. It never decides where a pod runs and never looks at Ingresses. It
// imports internal/ and client-go only.
//
// Pods have addresses that nobody dials: a Fabric, shared by the nodes of one
// cluster, knows the listener behind each. What a container runs is chosen by its
// image from a table (Images). Not emulated: volumes, init containers, exec probes
// and hooks, resources, host networking.
//
// Where to change what:
//
//	node.go       Run: the Node, its Lease, its informers
//	pod.go        one pod from binding to deletion
//	status.go     what is told of a pod
//	probe.go      readiness and liveness
//	container.go  one container: its program, restarts, environment
//	images.go     which image is which program
//	echo.go       the built-in echo server
//	process.go    local processes
//	fabric.go     where pods really listen, and their logs
//	proxy.go      node ports
package node
