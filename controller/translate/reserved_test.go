package translate_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
)

// served is a case in which the Ingress of that name is served at 10.0.5.223.
func served(t *testing.T) (translate.Input, types.NamespacedName, *translate.Translator) {
	t.Helper()
	data, err := os.ReadFile("testdata/shared_addresses.txtar")
	if err != nil {
		t.Fatal(err)
	}
	in := readCase(t, txtar.Parse(data))
	name := types.NamespacedName{Namespace: "a", Name: "one"}
	translator := translate.New()
	if v := translator.Translate(in).Verdicts[name]; v.Outcome != translate.Complete {
		t.Fatalf("before: %+v", v)
	}
	return in, name, translator
}

func TestAddressesOfPodsAndServicesAreNobodysIngressAddress(t *testing.T) {
	in, name, translator := served(t)
	before := in.Snapshot
	for what, change := range map[string]func(*kube.Snapshot){
		"Services' range 10.0.0.0/16": func(s *kube.Snapshot) {
			s.Ranges = kube.NewTable(map[string]*networkingv1.ServiceCIDR{"more": {Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"2001:db8::/112", "10.0.0.0/16", "odd"}}}})
		},
		"Pods' range 10.0.5.0/24": func(s *kube.Snapshot) {
			s.Nodes = kube.NewTable(map[string]*corev1.Node{"n1": {Spec: corev1.NodeSpec{PodCIDRs: []string{"10.0.5.0/24"}}}})
		},
	} {
		next := *before
		change(&next)
		in.Snapshot = &next
		v := translator.Translate(in).Verdicts[name]
		if v.Outcome != translate.Rejected || v.Reasons[0].Code != "InvalidAddress" || !strings.Contains(v.Reasons[0].Message, what) {
			t.Errorf("%s: %+v", what, v)
		}
		in.Snapshot = before
		if v := translator.Translate(in).Verdicts[name]; v.Outcome != translate.Complete {
			t.Errorf("without %s: %+v", what, v)
		}
	}
}

func TestTheAPIServersAddressIsNobodysIngressAddress(t *testing.T) {
	in, name, translator := served(t)
	next := *in.Snapshot
	next.APIServer = netip.MustParseAddr("10.0.5.223")
	in.Snapshot = &next
	v := translator.Translate(in).Verdicts[name]
	if v.Outcome != translate.Rejected || v.Reasons[0].Code != "InvalidAddress" || !strings.Contains(v.Reasons[0].Message, "API server") {
		t.Errorf("the API server's own: %+v", v)
	}
}
