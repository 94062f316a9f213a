package contract_test

import (
	"fmt"
	"strings"
	"testing"

	"vtm-ingress/controller/vtm"
)

// decisionLimit is a tenth of the traffic manager's global setting
// trafficscript!max_instr.
const decisionLimit = 10_000

func TestADecisionIsShortHoweverManyIngressesThereAre(t *testing.T) {
	crowd := func(n int, routes func(i int) []route) (all []ingress) {
		for i := range n {
			all = append(all, ingress{name: fmt.Sprintf("i%d", i), created: int64(i), routes: routes(i)})
		}
		return all
	}
	prefix := func(host, path string) route { return route{host: host, kind: "Prefix", path: path, service: "s1"} }
	type request struct{ host, target, pool string }
	for name, c := range map[string]struct {
		ingresses []ingress
		requests  []request
	}{
		"10,000 Ingresses with a host and four paths each": {
			crowd(10_000, func(i int) []route {
				host := fmt.Sprintf("app%d.example.com", i)
				return []route{prefix(host, "/"), prefix(host, "/a"), prefix(host, "/b/c"), {host, "Exact", "/d", "s2"}}
			}),
			[]request{
				{"app0.example.com", "/x", "i0_s1"}, {"app9999.example.com", "/b/c/d", "i9999_s1"}, {"app5000.example.com", "/d", "i5000_s2"},
				{"nobody.example.com", "/", ""}, {"", "/", ""}, {strings.Repeat("a.", 2000), "/" + strings.Repeat("b/", 2000), ""},
			},
		},
		"10,000 paths of one host": {
			crowd(10_000, func(i int) []route { return []route{prefix("a.example.com", fmt.Sprintf("/api/v%d/thing%d", i%7, i))} }),
			[]request{{"a.example.com", "/api/v0/thing0", "i0_s1"}, {"a.example.com", "/api/v3/thing9999", ""}, {"a.example.com", "/api/v3/thing9998/x?y", ""}, {"a.example.com", "/api/v3/thing9999/", ""}},
		},
		"10,000 paths of every host, others of wildcards": {
			crowd(10_000, func(i int) []route {
				return []route{{"", "Exact", fmt.Sprintf("/p%d", i), "s1"}, prefix("*.example.com", fmt.Sprintf("/p%d/q", i))}
			}),
			[]request{{"a.example.com", "/p77", "i77_s1"}, {"a.example.com", "/p9876/q/r", "i9876_s1"}, {"b.c", "/none", ""}},
		},
		"as many patterns as there may be": {
			crowd(400, func(i int) []route {
				star := func(host string) route { return route{host, "ImplementationSpecific", fmt.Sprintf("/*/%d", i), "s1"} }
				return []route{star(""), star("*.example.com"), star("a.example.com")}
			}),
			[]request{{"a.example.com", "/x/399", "i399_s1"}, {"a.example.com", "/x/none", ""}, {"b.example.com", "/x/y/z", ""}},
		},
		"900 paths, each going on where another ends": {
			crowd(900, func(i int) []route { return []route{prefix("a.example.com", strings.Repeat("/a", i+1))} }),
			[]request{{"a.example.com", "/a/b", "i0_s1"}, {"a.example.com", strings.Repeat("/a", 900), "i0_s1"}, {"a.example.com", "/b", ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			result := translated(c.ingresses, false)
			s, err := serverOf(result)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range c.requests {
				got, err := s.decide(r.host, r.target)
				if err != nil {
					t.Fatal(err)
				}
				want := "k8s_ns_" + r.pool + "_80"
				if r.pool == "" {
					want = reference(c.ingresses, false, r.host, r.target)
				}
				if got != want {
					t.Errorf("host %.80q, target %.80q: %s, want %s", r.host, r.target, got, want)
				}
			}
			if s.instructions >= decisionLimit {
				t.Errorf("a decision takes %d instructions, want less than %d", s.instructions, decisionLimit)
			}
			largest, libraries := 0, 0
			for id, resource := range result.Desired {
				if id.Type == vtm.Rules {
					libraries++
					largest = max(largest, len(resource.Content))
				}
			}
			t.Logf("%d instructions at most, %d rules, the largest of %d bytes", s.instructions, libraries, largest)
		})
	}
}
