package translate_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate"
)

func TestTheAPIServersAddressIsNobodysIngressAddress(t *testing.T) {
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
	next := *in.Snapshot
	next.APIServer = netip.MustParseAddr("10.0.5.223")
	in.Snapshot = &next
	v := translator.Translate(in).Verdicts[name]
	if v.Outcome != translate.Rejected || v.Reasons[0].Code != "InvalidAddress" || !strings.Contains(v.Reasons[0].Message, "API server") {
		t.Errorf("the API server's own: %+v", v)
	}
}
