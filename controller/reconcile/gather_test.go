package reconcile

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/report"
	"vtm-ingress/internal/outside"
)

// clocked is a World whose clock its test moves.
type clocked struct {
	outside.World
	clock *testclock.FakeClock
}

func (w clocked) Clock() outside.Clock { return w.clock }

// withTLS adds an Ingress with a certificate of its own to a shared address.
func withTLS(t *testing.T, s *kube.Snapshot, n int) *kube.Snapshot {
	t.Helper()
	pair, err := NewSelfSigned(outside.Real(), "")
	if err != nil {
		t.Fatal(err)
	}
	key := types.NamespacedName{Namespace: "shop", Name: fmt.Sprint("web-", n)}
	more := *s
	ingress := shopIngress(key.Name, shared, "10.0.0.1", n, 1)
	ingress.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{ingress.Spec.Rules[0].Host}, SecretName: key.Name}}
	more.Ingresses, more.Services, more.Endpoints = s.Ingresses.With(key, ingress), s.Services.With(key, shopService()), s.Endpoints.With(key, shopEndpoints(0))
	more.Secrets = more.Secrets.With(key, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, UID: types.UID(key.Name)},
		Data:       map[string][]byte{corev1.TLSCertKey: pair.Certificate, corev1.TLSPrivateKeyKey: pair.PrivateKey},
	})
	return &more
}

// The table of certificates is sent at once when it did not just change, and once in
// 100 ms at most; who waits for it hears nothing until it is live.
func TestChangesOfTheTableOfCertificatesAreGathered(t *testing.T) {
	began := time.Unix(1000, 0)
	clock := testclock.NewFakeClock(began)
	var said []report.Entry
	var took []time.Duration // of those that became live in a round
	l := pureLoop(&said)
	l.o.World = clocked{outside.Real(), clock}
	snapshot := shopSnapshot()
	round := func(after time.Duration, n int) (tables, keys int) {
		t.Helper()
		clock.SetTime(began.Add(after))
		if n > 0 {
			snapshot = withTLS(t, snapshot, n)
		}
		said, l.wake = nil, time.Time{}
		result := l.translate(snapshot)
		plan := l.gather(l.diff(result))
		for _, s := range plan.Steps {
			if changesTableAlone(s) {
				tables++
			}
			if s.Stage == stageKeys {
				keys++
			}
		}
		l.finish(plan, func(*Step) string { return "" })
		took = l.tell(context.Background(), snapshot, result, clock.Now(), nil)
		return tables, keys
	}
	live := func(want int) {
		t.Helper()
		if len(said) != want {
			t.Errorf("told of %d Ingresses, not %d", len(said), want)
		}
		for _, e := range said {
			if !e.Live {
				t.Errorf("told that %s is not live: %v", e.Ingress.Name, e.Problems)
			}
		}
	}
	round(0, 1) // the virtual server is new
	live(1)
	if tables, keys := round(20*time.Millisecond, 2); tables != 1 || keys != 1 {
		t.Errorf("a change alone: %d tables, %d keys", tables, keys)
	}
	live(1)
	for i, at := range []time.Duration{50 * time.Millisecond, 119 * time.Millisecond} {
		if tables, keys := round(at, 3+i); tables != 0 || keys != 1 {
			t.Errorf("a change after %v: %d tables, %d keys", at, tables, keys)
		}
		live(0)
		if want := began.Add(120 * time.Millisecond); !l.wake.Equal(want) {
			t.Errorf("the next round is at %v, not %v", l.wake, want)
		}
	}
	if tables, keys := round(120*time.Millisecond, 0); tables != 1 || keys != 0 {
		t.Errorf("after 100 ms: %d tables, %d keys", tables, keys)
	}
	live(2)
	slices.Sort(took)
	if want := []time.Duration{time.Millisecond, 70 * time.Millisecond}; !slices.Equal(took, want) {
		t.Errorf("live %v after they were seen, not %v", took, want)
	}
	if tables, _ := round(500*time.Millisecond, 5); tables != 1 {
		t.Errorf("a change alone, later: %d tables", tables)
	}
	live(1)
}
