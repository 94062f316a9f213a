package translate

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/controller/kube"
)

func TestNodesAreReachedByTheFamilyOfTheService(t *testing.T) {
	node := func(name string, addresses ...string) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
		for _, a := range addresses {
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: a})
		}
		return n
	}
	nodes := newNodeSet(kube.NewTable(map[string]*corev1.Node{
		"both": node("both", "fd00::1", "192.168.0.1"),
		"four": node("four", "192.168.0.2"),
	}), string(corev1.NodeInternalIP))
	eps := &kube.Endpoints{ReadyNodes: map[string][]string{"": {"both"}}}
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	for _, c := range []struct {
		policy   corev1.ServiceExternalTrafficPolicy
		families []corev1.IPFamily
		want     []string
	}{
		{"Local", nil, []string{"192.168.0.1:30080"}},
		{"Local", []corev1.IPFamily{v4}, []string{"192.168.0.1:30080"}},
		{"Local", []corev1.IPFamily{v6, v4}, []string{"192.168.0.1:30080"}},
		{"Local", []corev1.IPFamily{v6}, []string{"[fd00::1]:30080"}},
		{"Cluster", []corev1.IPFamily{v6}, []string{"[fd00::1]:30080"}},
		{"Cluster", []corev1.IPFamily{v4, v6}, []string{"192.168.0.1:30080", "192.168.0.2:30080"}},
	} {
		service := &kube.Service{
			Type: corev1.ServiceTypeNodePort, Local: c.policy == corev1.ServiceExternalTrafficPolicyLocal, Families: c.families,
			Ports: []corev1.ServicePort{{Port: 80, NodePort: 30080}},
		}
		ref := backendRef{}
		ref.port.Number = 80
		r := resolve(ref, "Service a/web", service, eps, nodes, &extras{}, nil)
		if !slices.Equal(r.nodes, c.want) {
			t.Errorf("%s %v: nodes %v, want %v", c.policy, c.families, r.nodes, c.want)
		}
	}
}
