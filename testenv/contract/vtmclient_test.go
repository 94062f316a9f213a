package contract_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/network"
	simvtm "vtm-ingress/sim/vtm"
)

// manager is an emulated traffic manager in a bubble, and a client of it.
type manager struct {
	*simvtm.TrafficManager
	world  outside.World
	client *vtm.Client
}

// withManager runs f beside a strict traffic manager in a bubble.
func withManager(t *testing.T, f func(*testing.T, *manager)) {
	t.Helper()
	withManagerOf(t, true, f)
}

// withManagerOf has one that is strict, or as lenient as the real one.
func withManagerOf(t *testing.T, strict bool, f func(*testing.T, *manager)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: 3})
		defer time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
		defer net.Close()
		world := net.World()
		tm, err := simvtm.Start(simvtm.Options{
			World: world, Log: slog.New(slog.DiscardHandler), Name: "vtm-1.test", Address: "127.1.0.1",
			Users: map[string]string{"admin": "secret", "other": "secret"}, Strict: strict, PlainHTTP: true, PerClientTransports: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer tm.Close()
		m := &manager{TrafficManager: tm, world: world}
		m.client = m.clientFor(t, world, "controller", "secret")
		defer m.client.Close()
		f(t, m)
	})
}

func (m *manager) clientFor(t *testing.T, world outside.World, actor, password string) *vtm.Client {
	t.Helper()
	client, err := vtm.NewClient(vtm.Options{
		World: world, Log: slog.New(slog.DiscardHandler), Actor: actor,
		Endpoints: []string{"http://" + m.RESTAddress()}, Username: "admin", Password: password,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func put(t *testing.T, c *vtm.Client, r *vtm.Resource) *vtm.Resource {
	t.Helper()
	stored, err := c.Put(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func TestTheClientReadsBackWhatItWrote(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		for _, r := range []*vtm.Resource{
			vtm.New(vtm.Pools, "k8s_shop web?#%é", vtm.Properties{"basic": {
				"note": "a <b> & \"c\"\u2028", "monitors": []string{"Connect"}, "node_delete_behavior": "drain",
				"nodes_table": []any{map[string]any{"node": "10.0.0.2:80", "weight": 1}, map[string]any{"node": "10.0.0.1:80", "state": "draining"}},
			}}),
			vtm.NewFile(vtm.Rules, "k8s_rule: 1", []byte("# \x7f é\nconnection.discard();\n")),
			vtm.NewFile(vtm.Rules, "k8s_empty", []byte{}),
			vtm.New(vtm.TrafficIPGroups, "k8s_10.0.0.1", vtm.Properties{"basic": {"ipaddresses": []string{"10.0.0.1"}, "machines": []string{"vtm-1.test"}}}),
			vtm.New(vtm.VirtualServers, "k8s_10.0.0.1_80", vtm.Properties{"basic": {
				"enabled": true, "port": 80, "pool": "discard", "listen_on_any": false, "listen_on_traffic_ips": []string{"k8s_10.0.0.1"}, "request_rules": []string{"k8s_rule: 1", "/k8s_empty"},
			}}),
		} {
			stored := put(t, m.client, r)
			got, err := m.client.Get(t.Context(), r.ID)
			if err != nil {
				t.Fatal(err)
			}
			if !vtm.Equal(got, stored) {
				t.Errorf("%s: the answer to PUT and GET differ: %s", r.ID, cmp.Diff(stored, got))
			}
			for section, keys := range r.Properties() {
				for key, want := range keys {
					if diff := cmp.Diff(want, got.Get(section, key)); diff != "" {
						t.Errorf("%s: %s/%s (-written +read): %s", r.ID, section, key, diff)
					}
				}
			}
			if r.Type.IsFile() && string(got.Content) != string(r.Content) {
				t.Errorf("%s: read %q, wrote %q", r.ID, got.Content, r.Content)
			}
			names, err := m.client.List(t.Context(), r.Type)
			if err != nil || !strings.Contains(strings.Join(names, "\n"), r.Name) {
				t.Errorf("%s is not in its list: %q, %v", r.ID, names, err)
			}
		}
	})
}

// What the client takes for a key's default is the traffic manager's.
func TestDefaultsAreTheTrafficManagers(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		for _, r := range []*vtm.Resource{
			vtm.New(vtm.Pools, "p", vtm.Properties{"basic": {}}),
			vtm.New(vtm.Monitors, "m", vtm.Properties{"basic": {}}),
			vtm.New(vtm.Persistence, "s", vtm.Properties{"basic": {}}),
			vtm.New(vtm.TrafficIPGroups, "g", vtm.Properties{"basic": {}}),
			vtm.New(vtm.VirtualServers, "v", vtm.Properties{"basic": {"port": 80, "pool": "discard"}}),
		} {
			for section, keys := range put(t, m.client, r).Properties() {
				for key, value := range keys {
					if want, ok := vtm.Default(r.Type, section, key); ok && !cmp.Equal(value, want) {
						t.Errorf("%s %s/%s: %#v on the traffic manager, %#v to the client", r.Type, section, key, value, want)
					}
				}
			}
		}
	})
}

func TestAPutLeavesOtherKeysAlone(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		put(t, m.client, vtm.New(vtm.Pools, "p", vtm.Properties{"basic": {"note": "n"}, "connection": {"max_connect_time": 7}}))
		stored := put(t, m.client, vtm.New(vtm.Pools, "p", vtm.Properties{"basic": {"passive_monitoring": false}}))
		if stored.Get("basic", "note") != "n" || stored.Get("connection", "max_connect_time") != int64(7) {
			t.Errorf("changed too: %v", stored.Properties())
		}
	})
}

func TestTheTrafficManagersErrorsAreUnderstood(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		ctx := t.Context()
		_, err := m.client.Put(ctx, vtm.New(vtm.Pools, "p", vtm.Properties{"basic": {"unheard_of": 1, "node_delete_behavior": "explode"}}))
		if vtm.KindOf(err) != vtm.Refused || !strings.Contains(err.Error(), "basic/unheard_of: ") || !strings.Contains(err.Error(), "basic/node_delete_behavior: ") {
			t.Errorf("refusal: %v", err)
		}
		if _, err := m.client.Get(ctx, vtm.ID{Type: vtm.Pools, Name: "p"}); !errors.Is(err, vtm.ErrNotFound) {
			t.Errorf("missing: %v", err)
		}
		put(t, m.client, vtm.New(vtm.Pools, "p", nil))
		for range 2 {
			if err := m.client.Delete(ctx, vtm.ID{Type: vtm.Pools, Name: "p"}); err != nil {
				t.Errorf("delete: %v", err)
			}
		}
		other := m.clientFor(t, m.world, "other", "wrong")
		defer other.Close()
		if _, err := other.List(ctx, vtm.Pools); vtm.KindOf(err) != vtm.Unauthorised || strings.Contains(err.Error(), "wrong") {
			t.Errorf("wrong password: %v", err)
		}
		for _, test := range []struct {
			fault simvtm.Fault
			kinds []vtm.Kind
		}{
			{simvtm.Fault{Garbage: true}, []vtm.Kind{vtm.Garbage}},
			{simvtm.Fault{Status: 503}, []vtm.Kind{vtm.Outage}},
			{simvtm.Fault{WrongPassword: true}, []vtm.Kind{vtm.Unauthorised}},
			{simvtm.Fault{Down: true}, []vtm.Kind{vtm.Outage, vtm.Unreachable}},
		} {
			m.SetFault(test.fault)
			_, err := m.client.List(ctx, vtm.Pools)
			matched := false
			for _, kind := range test.kinds {
				matched = matched || vtm.KindOf(err) == kind
			}
			if err == nil || !matched {
				t.Errorf("%+v: %v", test.fault, err)
			}
		}
		m.SetFault(simvtm.Fault{})
		if _, err := m.client.List(ctx, vtm.Pools); err != nil {
			t.Errorf("after it was healed: %v", err)
		}
	})
}

func TestTheClientKnowsMembersAndVersion(t *testing.T) {
	withManager(t, func(t *testing.T, m *manager) {
		members, err := m.client.Members(t.Context())
		if err != nil || !cmp.Equal(members, []string{"vtm-1.test"}) {
			t.Errorf("members %q, %v", members, err)
		}
		information, err := m.client.Information(t.Context())
		if err != nil || information.Version == "" || information.UUID == "" {
			t.Errorf("information %+v, %v", information, err)
		}
	})
}

func TestTheTrafficManagersOwnCertificateCanBeTrusted(t *testing.T) {
	tm, err := simvtm.Start(simvtm.Options{
		World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "127.0.0.1", Address: "127.0.0.1",
		RESTPort: simvtm.AnyPort, Users: map[string]string{"admin": "secret"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer tm.Close()
	for name, tls := range map[string]vtm.TLS{
		"fingerprint": {Fingerprint: tm.Fingerprint()},
		"CA":          {CA: tm.CertificatePEM()},
	} {
		client, err := vtm.NewClient(vtm.Options{
			World: outside.Real(), Log: slog.New(slog.DiscardHandler), Actor: "test",
			Endpoints: []string{"https://" + tm.RESTAddress()}, Username: "admin", Password: "secret", TLS: tls,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Members(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		client.Close()
	}
}
