package vtm

import "vtm-ingress/sim/dataplane"

// noData stands in while the data plane is being written.
type noData struct{}

func (noData) Apply(dataplane.Update) {}
func (noData) Close()                 {}
