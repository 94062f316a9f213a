package reconcile

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate"
)

func TestACertificateThatHasEndedIsToldAndNotBefore(t *testing.T) {
	end := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	v := &translate.Verdict{Outcome: translate.Complete, Ends: translate.Ends{At: end, Secret: types.NamespacedName{Namespace: "shop", Name: "cert"}}}
	if got := Expired(v, end.Add(-time.Second)); got != v {
		t.Errorf("before its end: %+v", got)
	}
	got := Expired(v, end)
	if len(v.Reasons) != 0 || len(got.Reasons) != 1 || got.Reasons[0].Code != "CertificateExpired" || got.Outcome != translate.Complete {
		t.Errorf("at its end: %+v; before %+v", got, v)
	}
	none := &translate.Verdict{}
	if Expired(none, end) != none || Expired(nil, end) != nil {
		t.Error("without a certificate something is told")
	}
}
