package controller

import (
	"fmt"
	"strconv"

	"vtm-ingress/controller/certs"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/kubeclient"
)

// newIssuer makes what gets certificates, with clients of its own: one for each
// traffic manager, since each is asked what it holds.
func newIssuer(o Options, writer *reconcile.Writer, metrics *metrics) (m *certs.Manager, done func(), err error) {
	client, err := kubeclient.New(o.World, o.Actor+"/certificates/kube", o.KubernetesConfig)
	if err != nil {
		return nil, nil, fmt.Errorf("client of the Kubernetes API server: %w", err)
	}
	var members []*vtm.Client
	done = func() {
		client.Close()
		for _, member := range members {
			member.Close()
		}
	}
	for i, endpoint := range o.Settings.VTMEndpoints {
		one := *o.Settings
		one.VTMEndpoints, one.VTMMember = []string{endpoint}, endpoint
		member, err := newClient(o, &one, o.Actor+"/certificates/vtm/"+strconv.Itoa(i), nil)
		if err != nil {
			done()
			return nil, nil, err
		}
		members = append(members, member)
	}
	return certs.New(certs.Options{
		World: o.World, Log: o.Log, Actor: o.Actor + "/certificates", Settings: o.Settings,
		Client: client, Members: members, May: writer.Permit,
		Began: metrics.orderBegan, Ended: metrics.orderEnded,
	}), done, nil
}
