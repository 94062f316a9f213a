package dns_test

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	names "vtm-ingress/sim/dns"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/network"
)

func init() {
	// The others sleep by the real clock, which lies decades after a bubble's.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
}

// ask sends one question over TCP, and over UDP, which must say the same.
func ask(t *testing.T, s *names.Server, kind uint16, name string) *dns.Msg {
	t.Helper()
	question := new(dns.Msg).SetQuestion(name, kind).SetEdns0(4096, false)
	reply := exchange(t, s, question)
	datagram, _, err := (&dns.Client{Net: "udp"}).Exchange(question, s.Address())
	if err != nil {
		t.Fatal(err)
	}
	if datagram.String() != reply.String() {
		t.Errorf("over UDP:\n%v\nover TCP:\n%v", datagram, reply)
	}
	return reply
}

func exchange(t *testing.T, s *names.Server, m *dns.Msg) *dns.Msg {
	t.Helper()
	reply, _, err := (&dns.Client{Net: "tcp"}).Exchange(m, s.Address())
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func start(t *testing.T, zone *names.Zone) *names.Server {
	t.Helper()
	s, err := names.Start(names.Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler), Address: "127.0.0.1:0", Zone: zone,
		Map: func(a netip.Addr) netip.Addr {
			if a == netip.MustParseAddr("10.0.0.1") {
				return netip.MustParseAddr("127.64.0.1")
			}
			return a
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestHostsAreAnsweredWithTheAddressThatStandsForTheirs(t *testing.T) {
	zone := names.NewZone(func(host string) []netip.Addr {
		if host != "shop.example" {
			return nil
		}
		return []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")}
	})
	s := start(t, zone)
	var got []string
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		for _, record := range ask(t, s, kind, "SHOP.example.").Answer {
			switch record := record.(type) {
			case *dns.A:
				got = append(got, record.A.String())
			case *dns.AAAA:
				got = append(got, record.AAAA.String())
			}
		}
	}
	if want := []string{"127.64.0.1", "2001:db8::1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if reply := ask(t, s, dns.TypeA, "nowhere.example."); reply.Rcode == dns.RcodeSuccess && len(reply.Answer) > 0 {
		t.Errorf("an unknown name: %v", reply)
	}
	if reply := ask(t, s, dns.TypeA, "not.at.all.example."); reply.Rcode != dns.RcodeNameError {
		t.Errorf("an unknown name: %v", reply)
	}
	zone.Set("shop.example")
	if reply := ask(t, s, dns.TypeA, "shop.example."); len(reply.Answer) != 0 {
		t.Errorf("a name taken away: %v", reply)
	}
	zone.Forget("shop.example")
	if reply := ask(t, s, dns.TypeA, "shop.example."); len(reply.Answer) != 1 {
		t.Errorf("a name given back: %v", reply)
	}
}

func TestTXTRecordsComeAndGoByDynamicUpdates(t *testing.T) {
	s := start(t, names.NewZone(nil))
	if reply := ask(t, s, dns.TypeSOA, "shop.example."); len(reply.Answer) != 1 {
		t.Fatalf("a registered domain is a zone: %v", reply)
	}
	long := strings.Repeat("x", 300)
	record := func(text string) []dns.RR {
		return []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: "_acme-challenge.shop.example.", Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 1},
			Txt: []string{text[:len(text)/2], text[len(text)/2:]},
		}}
	}
	texts := func() []string {
		var list []string
		for _, r := range ask(t, s, dns.TypeTXT, "_acme-challenge.shop.example.").Answer {
			list = append(list, strings.Join(r.(*dns.TXT).Txt, ""))
		}
		slices.Sort(list)
		return list
	}
	for _, text := range []string{"one", long} {
		update := new(dns.Msg).SetUpdate("shop.example.")
		update.Insert(record(text))
		if reply := exchange(t, s, update); reply.Rcode != dns.RcodeSuccess {
			t.Fatalf("update: %v", reply)
		}
	}
	if got := texts(); !slices.Equal(got, []string{"one", long}) {
		t.Errorf("records %q", got)
	}
	update := new(dns.Msg).SetUpdate("shop.example.")
	update.Remove(record("one"))
	exchange(t, s, update)
	if got := texts(); !slices.Equal(got, []string{long}) {
		t.Errorf("records %q", got)
	}
	update = new(dns.Msg).SetUpdate("shop.example.")
	update.Insert([]dns.RR{&dns.A{Hdr: dns.RR_Header{Name: "shop.example.", Rrtype: dns.TypeA, Class: dns.ClassINET}, A: []byte{10, 0, 0, 1}}})
	if reply := exchange(t, s, update); reply.Rcode != dns.RcodeRefused {
		t.Errorf("somebody else's address is accepted: %v", reply)
	}
}

func TestHostsFollowTheIngresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: 1})
		api, err := kube.Start(kube.Options{World: n.World(), Address: "127.3.0.1:6443", PlainHTTP: true})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		watching, err := kubeclient.New(n.World(), "dns", api.Config("dns"))
		if err != nil {
			t.Fatal(err)
		}
		owner, err := kubeclient.New(n.World(), "owner", api.Config("owner"))
		if err != nil {
			t.Fatal(err)
		}
		ingresses := names.NewIngresses(watching)
		ended := make(chan struct{})
		go func() { defer close(ended); _ = ingresses.Run(ctx) }()

		create := func(name, host, address string) {
			path := networkingv1.PathTypePrefix
			_, err := owner.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{
				ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"vtm.pulsesecure.net/ip-address": address}},
				Spec: networkingv1.IngressSpec{
					Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
						Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: &path, Backend: networkingv1.IngressBackend{
							Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
						}}},
					}}}},
				},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		at := func(host string) string {
			if list := ingresses.Addresses(host); len(list) > 0 {
				return list[0].String()
			}
			return ""
		}
		create("old", "shop.example", "10.0.0.1")
		create("young", "shop.example", "10.0.0.2")
		create("wild", "*.shop.example", "10.0.0.3")
		for host, want := range map[string]string{
			"shop.example": "10.0.0.1", "a.shop.example": "10.0.0.3", "a.b.shop.example": "", "bank.example": "",
		} {
			if got := at(host); got != want {
				t.Errorf("%s is at %q, not %q", host, got, want)
			}
		}
		if err := owner.NetworkingV1().Ingresses("default").Delete(ctx, "old", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if got := at("shop.example"); got != "10.0.0.2" {
			t.Errorf("after the older one went it is at %q", got)
		}
		cancel()
		<-ended
		watching.Close()
		owner.Close()
		api.Close()
		n.Close()
		time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
	})
}
