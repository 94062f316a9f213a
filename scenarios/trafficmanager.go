package scenarios

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cucumber/godog"

	"vtm-ingress/testenv"
)

// rest sends a request as somebody who is not the controller, and decodes the
// answer into result, if that is not nil.
func (s *scenario) rest(ctx context.Context, method, path, body string, result any) error {
	status, answer, err := s.env.REST(ctx, method, path, []byte(body))
	if err != nil {
		return err
	}
	if status >= 300 {
		return fmt.Errorf("%s %s: status %d: %.300s", method, path, status, answer)
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(answer, result)
}

var foreignPath = map[string]string{
	"Traffic IP Group": "traffic_ip_groups/",
	"virtual server":   "virtual_servers/",
}

// makeForeign creates somebody's object and remembers how it looks.
func (s *scenario) makeForeign(ctx context.Context, path, body string) error {
	if err := s.rest(ctx, http.MethodPut, path, body, nil); err != nil {
		return err
	}
	_, answer, err := s.env.REST(ctx, http.MethodGet, path, nil)
	s.foreign[path] = string(answer)
	return err
}

// foreignGroup makes a Traffic IP Group whose addresses all traffic managers may host, or
// the first alone.
func (s *scenario) foreignGroup(ctx context.Context, name, address, alone string) error {
	var members struct{ Children []struct{ Name string } }
	if err := s.rest(ctx, http.MethodGet, "traffic_managers", "", &members); err != nil {
		return err
	}
	var machines []string
	for _, m := range members.Children {
		machines = append(machines, fmt.Sprintf("%q", m.Name))
	}
	if alone != "" {
		machines = machines[:1]
	}
	return s.makeForeign(ctx, foreignPath["Traffic IP Group"]+name, fmt.Sprintf(
		`{"properties":{"basic":{"ipaddresses":[%q],"machines":[%s],"note":"made by hand"}}}`, address, strings.Join(machines, ",")))
}

func (s *scenario) foreignServer(ctx context.Context, name string, port int) error {
	return s.makeForeign(ctx, foreignPath["virtual server"]+name, fmt.Sprintf(
		`{"properties":{"basic":{"port":%d,"pool":"discard","enabled":true,"note":"made by hand"}}}`, port))
}

func (s *scenario) foreignUnchanged(ctx context.Context, kind, name string) error {
	path := foreignPath[kind] + name
	status, answer, err := s.env.REST(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if string(answer) != s.foreign[path] {
		return fmt.Errorf("%s: status %d, was %s, is %s", path, status, s.foreign[path], answer)
	}
	return nil
}

func (s *scenario) foreignServerOn(ctx context.Context, name string, port int, group string) error {
	return s.makeForeign(ctx, foreignPath["virtual server"]+name, fmt.Sprintf(
		`{"properties":{"basic":{"port":%d,"pool":"discard","enabled":true,"listen_on_any":false,"listen_on_traffic_ips":[%q],"note":"made by hand"}}}`, port, group))
}

func (s *scenario) foreignDeleted(ctx context.Context, kind, name string) error {
	return s.rest(ctx, http.MethodDelete, foreignPath[kind]+name, "", nil)
}

// keptSettings puts settings where the page System > Ingress Controller of a
// traffic manager does; of several values each is one of a list.
func (s *scenario) keptSettings(ctx context.Context, table *godog.Table) error {
	type row struct {
		Name  string   `json:"name"`
		Value []string `json:"value"`
	}
	var rows []row
	for _, r := range table.Rows {
		rows = append(rows, row{r.Cells[0].Value, strings.Split(r.Cells[1].Value, ",")})
	}
	body, err := json.Marshal(map[string]any{"properties": map[string]any{"basic": map[string]any{"string_lists": rows}}})
	if err != nil {
		return err
	}
	return s.rest(ctx, http.MethodPut, "custom/vtm-ingress-controller", string(body), nil)
}

// ours lists the resources on the traffic manager whose names begin as ours do.
func (s *scenario) ours(ctx context.Context) ([]string, error) {
	var found []string
	for _, kind := range []string{"virtual_servers", "traffic_ip_groups", "rules", "pools", "persistence", "monitors", "ssl/server_keys"} {
		var list struct{ Children []struct{ Name string } }
		if err := s.rest(ctx, http.MethodGet, kind, "", &list); err != nil {
			return nil, err
		}
		for _, child := range list.Children {
			if strings.HasPrefix(child.Name, "k8s_") {
				found = append(found, kind+"/"+child.Name)
			}
		}
	}
	return found, nil
}

func (s *scenario) nothingLeft(ctx context.Context) error { return s.left(ctx) }

func (s *scenario) onlyLeft(ctx context.Context, name string) error { return s.left(ctx, name) }

func (s *scenario) left(ctx context.Context, names ...string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		found, err := s.ours(ctx)
		if err == nil && !slices.Equal(found, names) {
			err = fmt.Errorf("there are %q, not %q", found, names)
		}
		return err
	})
}

// kinds of resources that bear a mark: in their note, and rules in their first line.
var kinds = map[string]string{
	"pool": "pools", "virtual server": "virtual_servers", "monitor": "monitors", "persistence class": "persistence",
	"rule": "rules", "Traffic IP Group": "traffic_ip_groups",
}

// resourceHas waits until a resource that an Ingress owns has a value, written as
// JSON, for a key.
func (s *scenario) resourceHas(ctx context.Context, kind, ingress, section, key, value string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		found, err := s.ours(ctx)
		if err != nil {
			return err
		}
		var seen []string
		for _, path := range found {
			name, ok := strings.CutPrefix(path, kinds[kind]+"/")
			if !ok {
				continue
			}
			var resource struct {
				Properties map[string]map[string]any
			}
			if err := s.rest(ctx, http.MethodGet, kinds[kind]+"/"+url.PathEscape(name), "", &resource); err != nil {
				return err
			}
			note, _ := resource.Properties["basic"]["note"].(string)
			if !strings.Contains(note, " owner=Ingress/"+namespace+"/"+ingress+" ") {
				continue
			}
			is, err := json.Marshal(resource.Properties[section][key])
			if err != nil {
				return err
			}
			if string(is) == value {
				return nil
			}
			seen = append(seen, fmt.Sprintf("%s has %s", name, is))
		}
		return fmt.Errorf("no %s of Ingress %s has %s/%s %s: %s", kind, ingress, section, key, value, strings.Join(seen, ", "))
	})
}

func (s *scenario) poolHasNodes(ctx context.Context, ingress string, pods int) error {
	return s.poolHas(ctx, ingress, fmt.Sprint(pods, " nodes"), func(nodes []string) bool { return len(nodes) == pods })
}

// poolHas waits until the nodes of a pool of an Ingress, sorted, are as wanted.
func (s *scenario) poolHas(ctx context.Context, ingress, wanted string, good func(nodes []string) bool) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		found, err := s.ours(ctx)
		if err != nil {
			return err
		}
		var seen []string
		for _, path := range found {
			if !strings.HasPrefix(path, "pools/k8s_"+namespace+"_"+ingress+"_") {
				continue
			}
			var pool struct {
				Properties struct {
					Basic struct {
						Nodes []struct{ Node string } `json:"nodes_table"`
					}
				}
			}
			name := strings.TrimPrefix(path, "pools/")
			if err := s.rest(ctx, http.MethodGet, "pools/"+url.PathEscape(name), "", &pool); err != nil {
				return err
			}
			var nodes []string
			for _, n := range pool.Properties.Basic.Nodes {
				nodes = append(nodes, n.Node)
			}
			slices.Sort(nodes)
			if good(nodes) {
				return nil
			}
			seen = append(seen, fmt.Sprintf("%s has %d nodes: %s", name, len(nodes), strings.Join(nodes, " ")))
		}
		return fmt.Errorf("no pool of Ingress %s has %s: %s", ingress, wanted, strings.Join(seen, ", "))
	})
}

func (s *scenario) countWrites() { s.writesBefore = len(s.env.Writes()) }

func (s *scenario) newWrites() []testenv.Write { return s.env.Writes()[s.writesBefore:] }

func (s *scenario) noWrite() error {
	if writes := s.newWrites(); len(writes) > 0 {
		return fmt.Errorf("%d writes were made: %v", len(writes), writes)
	}
	return nil
}

// writesTo checks that from one to most writes were made, all of them to resources
// of one folder.
func (s *scenario) writesTo(folder string, most int) error {
	writes := s.newWrites()
	for _, w := range writes {
		if w.Method != http.MethodPut || !strings.HasPrefix(w.Path, folder) {
			return fmt.Errorf("not a change of %s: %v", folder, w)
		}
	}
	if len(writes) > most || len(writes) == 0 {
		return fmt.Errorf("%d writes were made, expected 1 to %d: %v", len(writes), most, writes)
	}
	return nil
}

func (s *scenario) poolWrites(most int) error { return s.writesTo("pools/", most) }

func (s *scenario) serverKeyWrites(most int) error { return s.writesTo("ssl/server_keys/", most) }

// serverKeys waits until the server keys of ours are those, separated by commas.
func (s *scenario) serverKeys(ctx context.Context, names string) error {
	return s.env.Eventually(ctx, func(ctx context.Context) error {
		found, err := s.ours(ctx)
		if err != nil {
			return err
		}
		var keys []string
		for _, path := range found {
			if name, ok := strings.CutPrefix(path, "ssl/server_keys/"); ok {
				keys = append(keys, name)
			}
		}
		if got := strings.Join(keys, ", "); got != names {
			return fmt.Errorf("the server keys are %q", got)
		}
		return nil
	})
}

// resyncPeriod is what lanes set resync_period to.
const resyncPeriod = time.Second

func (s *scenario) resyncsGoBy(ctx context.Context, n int) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-s.env.World().Clock().After(time.Duration(n)*resyncPeriod + resyncPeriod/2):
		return nil
	}
}

func (s *scenario) oneResyncGoesBy(ctx context.Context) error { return s.resyncsGoBy(ctx, 1) }

// clientsCutOff lets nothing through to virtual servers; REST still answers.
func (s *scenario) clientsCutOff() error { return s.env.Faults("cut clients") }

func (s *scenario) restAway()         { s.env.Fault(testenv.Away) }
func (s *scenario) restUnauthorized() { s.env.Fault(testenv.Unauthorized) }
func (s *scenario) restGarbage()      { s.env.Fault(testenv.Garbage) }
func (s *scenario) restHealthy()      { s.env.Fault(testenv.Healthy) }
