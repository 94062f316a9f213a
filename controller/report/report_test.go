package report

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"pgregory.net/rapid"

	"vtm-ingress/controller/translate"
)

func verdict(outcome translate.Outcome, addresses string, reasons ...translate.Reason) *translate.Verdict {
	v := &translate.Verdict{Outcome: outcome, Reasons: reasons}
	for _, text := range strings.Fields(addresses) {
		a := netip.MustParseAddrPort(text)
		v.Addresses = append(v.Addresses, translate.Address{IP: a.Addr(), Ports: []int32{int32(a.Port())}})
	}
	return v
}

func at(addresses ...string) (list points) {
	for _, a := range addresses {
		list = append(list, networkingv1.IngressLoadBalancerIngress{IP: a, Ports: []networkingv1.IngressPortStatus{{Port: 80, Protocol: "TCP"}}})
	}
	return list
}

func TestAnAddressIsShownWhileItIsServedAndMeant(t *testing.T) {
	missing := translate.Reason{Code: "ServiceNotFound", Message: "Service shop/web is missing: create it"}
	refused := translate.Reason{Code: "TrafficManagerRefused", Message: "pools/x: no"}
	hostname := points{{Hostname: "lb.example"}}
	for _, c := range []struct {
		name      string
		entry     Entry
		now, want points
		ours      []string
	}{
		{"live", Entry{Verdict: verdict(translate.Complete, "10.0.0.1:80"), Live: true}, nil, at("10.0.0.1"), nil},
		{"live though degraded", Entry{Verdict: verdict(translate.Degraded, "10.0.0.1:80", missing), Live: true}, nil, at("10.0.0.1"), nil},
		{"live, what another controller wrote before", Entry{Verdict: verdict(translate.Complete, "10.0.0.1:80"), Live: true}, hostname, at("10.0.0.1"), nil},
		{"not live yet", Entry{Verdict: verdict(translate.Complete, "10.0.0.1:80")}, nil, nil, nil},
		{"not live any more: it may still serve", Entry{Verdict: verdict(translate.Complete, "10.0.0.1:80"), Problems: []translate.Reason{refused}}, at("10.0.0.1"), at("10.0.0.1"), nil},
		{"on the way to another address", Entry{Verdict: verdict(translate.Complete, "10.0.0.2:80")}, at("10.0.0.1"), nil, nil},
		{"on the way to one more address", Entry{Verdict: verdict(translate.Complete, "10.0.0.1:80 10.0.0.2:80")}, at("10.0.0.1"), at("10.0.0.1"), nil},
		{"rejected", Entry{Verdict: verdict(translate.Rejected, "", missing)}, at("10.0.0.1"), nil, nil},
		{"left, nobody else there", Entry{}, at("10.0.0.1"), nil, []string{"10.0.0.1"}},
		{"left, the next one wrote already", Entry{}, append(at("10.0.0.1", "10.0.0.9"), hostname...), append(at("10.0.0.9"), hostname...), []string{"10.0.0.1"}},
		{"left, nothing of it is ours", Entry{}, at("10.0.0.1"), at("10.0.0.1"), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := wanted(c.entry, c.now, c.ours)
			if len(got)+len(c.want) > 0 {
				if d := cmp.Diff(c.want, got); d != "" {
					t.Errorf("-want +got:\n%s", d)
				}
			}
		})
	}
}

func TestEachVerdictIsPutIntoEvents(t *testing.T) {
	missing := translate.Reason{Code: "ServiceNotFound", Message: "Service shop/web is missing: create it"}
	unknown := translate.Reason{Code: "UnknownAnnotation", Message: "did you mean port?"}
	refused := translate.Reason{Code: "TrafficManagerRefused", Message: "pools/x: no"}
	good := told{false, "Programmed", "served on 10.0.0.1:80, [2001:db8::1]:443"}
	const places = "10.0.0.1:80 [2001:db8::1]:443"
	for _, c := range []struct {
		name    string
		entry   Entry
		settled bool
		want    []told
	}{
		{"programmed", Entry{Verdict: verdict(translate.Complete, places), Live: true}, true, []told{good}},
		{"programmed, with a warning", Entry{Verdict: verdict(translate.Complete, places, unknown), Live: true}, true,
			[]told{good, {true, "UnknownAnnotation", "did you mean port?"}}},
		{"under way", Entry{Verdict: verdict(translate.Complete, places)}, false, nil},
		{"refused by the traffic manager", Entry{Verdict: verdict(translate.Complete, places), Problems: []translate.Reason{refused}}, true,
			[]told{{true, "TrafficManagerRefused", "pools/x: no"}}},
		{"degraded", Entry{Verdict: verdict(translate.Degraded, places, missing, unknown), Live: true}, true,
			[]told{{true, "ServiceNotFound", "Service shop/web is missing: create it; did you mean port?"}}},
		{"rejected", Entry{Verdict: verdict(translate.Rejected, "", missing)}, true, []told{{true, "ServiceNotFound", "Service shop/web is missing: create it"}}},
		{"left", Entry{}, true, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, settled := tellings(c.entry)
			if d := cmp.Diff(c.want, got, cmp.AllowUnexported(told{})); d != "" || settled != c.settled {
				t.Errorf("settled %v, want %v; -want +got:\n%s", settled, c.settled, d)
			}
		})
	}
}

func TestTheEventLogHoldsErrorsAloneUnlessVerbose(t *testing.T) {
	for _, verbose := range []bool{false, true} {
		var out bytes.Buffer
		log := slog.New(EventLog(slog.NewTextHandler(&out, nil), verbose)).With("a", 1).WithGroup("g")
		log.Info("fine", "b", 2)
		log.Warn("careful", "b", 3)
		log.Error("bad\nIngress forged")
		text := out.String()
		if strings.Contains(text, "fine") != verbose || !strings.Contains(text, "careful") || strings.Count(text, "\n") != map[bool]int{false: 2, true: 3}[verbose] {
			t.Errorf("verbose %v:\n%s", verbose, text)
		}
		for line := range strings.Lines(text) {
			if !strings.Contains(line, `msg="ingresscontroller: `) || !strings.Contains(line, "a=1") {
				t.Errorf("verbose %v: line %q", verbose, line)
			}
		}
		if !strings.Contains(text, "g.b=3") {
			t.Errorf("attributes are lost:\n%s", text)
		}
	}
}

// Names of Events are legal whatever the Ingress is called and the verdict says,
// and differ where these do.
func TestEventNamesAreLegalAndTellApart(t *testing.T) {
	name := rapid.StringMatching(`[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,100}[a-z0-9])?){0,2}`)
	rapid.Check(t, func(t *rapid.T) {
		ingress := corev1.ObjectReference{Name: name.Draw(t, "name"), UID: "u"}
		ingress.Name = ingress.Name[:min(len(ingress.Name), 253)]
		if len(validation.IsDNS1123Subdomain(ingress.Name)) > 0 {
			t.Skip()
		}
		e := pendingEvent{told: told{true, "Reason", rapid.String().Draw(t, "message")}, at: time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 7), first: true}
		got := eventName(ingress, e)
		if problems := validation.IsDNS1123Subdomain(got); len(problems) > 0 {
			t.Fatalf("%q: %v", got, problems)
		}
		later := e
		later.at = later.at.Add(time.Second)
		if eventName(ingress, later) != got {
			t.Fatal("the same after a restart has another name: it would be told twice")
		}
		e.first, later.first = false, false
		if eventName(ingress, later) == eventName(ingress, e) {
			t.Fatal("told again later it has the same name: it would not be told")
		}
	})
}

func TestCutKeepsWholeCharacters(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text, size := rapid.String().Draw(t, "text"), rapid.IntRange(3, 20).Draw(t, "size")
		got := cut(text, size)
		if len(got) > size || !utf8.ValidString(got) || len(text) <= size && got != text {
			t.Fatalf("cut(%q, %d) = %q", text, size, got)
		}
	})
}
