package contract_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
)

// latest is what was told last of an Ingress.
func (b *bench) latest(name string) report.Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range slices.Backward(b.told) {
		if e.Ingress.Name == name {
			return e
		}
	}
	b.t.Fatalf("nothing was told of %s", name)
	return report.Entry{}
}

// annotate changes an annotation of an Ingress.
func (b *bench) annotate(name, key, value string) {
	b.mu.Lock()
	next := *b.snapshot
	at := types.NamespacedName{Namespace: "shop", Name: name}
	changed := next.Ingresses.Get(at).DeepCopy()
	changed.Annotations[key] = value
	changed.Generation++
	next.Ingresses = next.Ingresses.With(at, changed)
	b.snapshot = &next
	b.mu.Unlock()
	b.changed <- struct{}{}
}

// ofRules is what an Entry's verdict repeats of what is said of rules.
func ofRules(e report.Entry) string {
	for _, r := range e.Verdict.Reasons {
		if r.Code == "TrafficManagerError" && strings.Contains(r.Message, "says of rules/") {
			return r.Message
		}
	}
	return ""
}

// A real traffic manager accepts a rule that does not compile, and says so only
// in its state.
func TestWhatTheTrafficManagerSaysIsWrongIsToldInItsWords(t *testing.T) {
	withManagerOf(t, false, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		b.configure = func(s *config.Settings) { s.VTMEnableTrafficScript, s.ResyncPeriod = true, time.Hour }
		b.hold(shopOf(2))
		defer b.start(m.world)()
		settle(time.Minute)
		// That no node answers here is told too, of the pool.
		if e := b.latest("web-000"); ofRules(e) != "" || e.Verdict.Problem != "TrafficManagerError" {
			t.Fatalf("before: %+v", e.Verdict)
		}
		b.annotate("web-000", "vtm.pulsesecure.net/request-trafficscript", "this is { no rule")
		settle(10 * time.Second) // replicate_lull, and a little
		e := b.latest("web-000")
		if e.Verdict.Outcome != translate.Degraded || e.Verdict.Problem != "TrafficManagerError" || !strings.Contains(ofRules(e), "k8s_shop_web-000_") {
			t.Errorf("after: %+v", e.Verdict)
		}
		b.mu.Lock()
		counted := b.counted["web-000"]
		b.mu.Unlock()
		if counted.Outcome != translate.Degraded || ofRules(report.Entry{Verdict: counted}) == "" {
			t.Errorf("counted as %+v", counted)
		}
		if e := b.latest("web-001"); ofRules(e) != "" {
			t.Errorf("the other one: %+v", e.Verdict)
		}
		b.annotate("web-000", "vtm.pulsesecure.net/request-trafficscript", `log.info( "a rule" );`)
		settle(20 * time.Second)
		if e := b.latest("web-000"); ofRules(e) != "" {
			t.Errorf("repaired: %+v", e.Verdict)
		}
	})
}

func TestDriftIsFoundByTheTimeOfTheConfigurationsChange(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		b := newBench(t, m)
		b.configure = func(s *config.Settings) { s.ResyncPeriod = time.Hour }
		b.hold(shopOf(2))
		defer b.start(m.world)()
		settle(time.Minute)
		want := m.configuration(t)
		before := m.writes()
		settle(10 * time.Minute)
		if n := m.writes() - before; n != 0 {
			t.Errorf("%d writes though nobody changed anything", n)
		}
		put(t, m.client, vtm.New(vtm.Pools, "k8s_shop_web-000_web-000_80", vtm.Properties{"basic": {"passive_monitoring": false}}))
		settle(2 * time.Minute)
		if diff := cmp.Diff(want, m.configuration(t)); diff != "" {
			t.Errorf("not put right: %s", diff)
		}
		var notices []translate.Reason
		b.mu.Lock()
		for _, e := range b.told {
			notices = append(notices, e.Notices...)
			if len(e.Notices) > 0 && e.Ingress.Name != "web-000" {
				t.Errorf("told of %s", e.Ingress.Name)
			}
		}
		b.mu.Unlock()
		if len(notices) != 1 || notices[0].Code != "PutRight" || !strings.Contains(notices[0].Message, "passive_monitoring") {
			t.Errorf("told %v", notices)
		}
	})
}
