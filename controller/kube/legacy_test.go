//lint:file-ignore SA1019 these types are deprecated, but a cluster of version 1.19 or 1.20 has no others

package kube

import (
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestEndpointsOfOlderClustersMeanTheSame(t *testing.T) {
	address := func(node string) corev1.EndpointAddress {
		return corev1.EndpointAddress{IP: "10.244.0.1", NodeName: &node}
	}
	table := newEndpointsTable(time.Now)
	table.put(&legacyEndpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Annotations: map[string]string{"leader": "x"}},
		Subsets: []corev1.EndpointSubset{
			{Addresses: []corev1.EndpointAddress{address("n2"), address("n1"), {IP: "10.244.0.9"}}, Ports: []corev1.EndpointPort{{Name: "http"}}},
			{NotReadyAddresses: []corev1.EndpointAddress{address("n3"), address("n1")}, Ports: []corev1.EndpointPort{{Name: "http"}}},
		},
	})
	want := map[types.NamespacedName]*Endpoints{web: {
		ReadyNodes: map[string][]string{"http": {"n1", "n2"}}, UnreadyNodes: map[string][]string{"http": {"n3"}},
	}}
	if d := cmp.Diff(want, maps.Collect(table.publish().All())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}
