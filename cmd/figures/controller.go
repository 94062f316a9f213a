package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/vtm"
)

// controllerGroup measures the controller with thousands of Ingresses: half of
// them on one shared address, half on addresses of their own, each with its own
// Service.
func controllerGroup(ctx context.Context, report func(figure)) error {
	for _, part := range []group{growthFigures, startFigures, tlsFigures, lateFigures, writeCounts} {
		if err := part(ctx, report); err != nil {
			return err
		}
	}
	return nil
}

// One more Ingress is measured rounds times samples times. In a hundred changes the
// controller collects its memory once or twice, and the difference is a sixth of their
// work.
const samples, rounds = 100, 3

// growthFigures measures at 100, 1,000 and 5,000 Ingresses.
func growthFigures(ctx context.Context, report func(figure)) error {
	s, err := newSetup(ctx, false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.startController(ctx); err != nil {
		return err
	}
	there, next := 0, 20_000
	cpu := map[int]float64{}
	for _, n := range []int{100, 1000, 5000} {
		if err := s.grow(ctx, there, n); err != nil {
			return err
		}
		there = n
		var times []time.Duration
		for range rounds {
			more, used, err := s.oneMore(ctx, next)
			if err != nil {
				return err
			}
			next += samples
			times = append(times, more...)
			cpu[n] += used / rounds
		}
		fmt.Fprintf(os.Stderr, "one more Ingress live at N = %d: p50 %v, p99 %v, max %v of %d; CPU of the controller for one change %.1f ms\n",
			n, percentile(times, 50), percentile(times, 99), percentile(times, 100), len(times), cpu[n])
		if n == 100 {
			continue
		}
		report(atMost(fmt.Sprintf("one_more_ingress_live_p50_with_%d", n), milliseconds(percentile(times, 50)), "ms", 20))
		report(atMost(fmt.Sprintf("one_more_ingress_live_p99_with_%d", n), milliseconds(percentile(times, 99)), "ms", 150))
	}
	report(atMost("cpu_for_one_change_with_5000", round(cpu[5000], 1), "ms", 20))
	report(atMost("cpu_for_one_change_5000_to_100", round(cpu[5000]/cpu[100], 2), "times", 1.5))
	if err := s.burst(ctx, next, report); err != nil {
		return err
	}
	rss, err := s.controller.rssMegabytes()
	if err != nil {
		return err
	}
	report(atMost("rss_with_5000", round(rss, 1), "MB", 150))
	return nil
}

// grow makes the Ingresses from..to-1 and waits until all are served.
func (s *setup) grow(ctx context.Context, from, to int) error {
	begin := time.Now()
	if err := s.services(ctx, from, to); err != nil {
		return err
	}
	if err := each(ctx, from, to, s.create); err != nil {
		return err
	}
	if err := s.allServed(ctx, from, to); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%d Ingresses more are served after %.1f s\n", to-from, time.Since(begin).Seconds())
	return s.quiet(ctx)
}

func (s *setup) allServed(ctx context.Context, from, to int) error {
	v := newVisitor()
	defer v.http.CloseIdleConnections()
	return each(ctx, from, to, func(ctx context.Context, n int) error {
		at, _ := place(n)
		if _, err := until(ctx, func(ctx context.Context) bool { return v.served(ctx, at, hostOf(n)) }); err != nil {
			return fmt.Errorf("Ingress %d at %s: %w", n, at, err)
		}
		return nil
	})
}

// oneMore creates one Ingress after the other, and takes the time from the API
// server's acknowledgement to the first right answer on the data plane, and what
// the controller's CPU worked for one, in ms. They are gone after.
func (s *setup) oneMore(ctx context.Context, first int) (times []time.Duration, cpu float64, err error) {
	if err := s.services(ctx, first, first+samples); err != nil {
		return nil, 0, err
	}
	if err := s.quiet(ctx); err != nil {
		return nil, 0, err
	}
	v := newVisitor()
	defer v.http.CloseIdleConnections()
	before, err := s.controller.cpuSeconds()
	if err != nil {
		return nil, 0, err
	}
	for n := first; n < first+samples; n++ {
		at, _ := place(n)
		if err := s.create(ctx, n); err != nil {
			return nil, 0, err
		}
		took, err := until(ctx, func(ctx context.Context) bool { return v.served(ctx, at, hostOf(n)) })
		if err != nil {
			return nil, 0, fmt.Errorf("Ingress %d at %s: %w", n, at, err)
		}
		times = append(times, took)
		time.Sleep(20 * time.Millisecond) // its status and Event are written
	}
	after, err := s.controller.cpuSeconds()
	if err != nil {
		return nil, 0, err
	}
	err = each(ctx, first, first+samples, s.remove)
	if err == nil {
		err = s.quiet(ctx)
	}
	return times, (after - before) / samples * 1000, err
}

func (s *setup) remove(ctx context.Context, n int) error {
	return s.client.NetworkingV1().Ingresses(namespace).Delete(ctx, nameOf(n), metav1.DeleteOptions{})
}

// burst makes 100 changes within a second: of each four, two new Ingresses, one
// changed host, one deletion.
func (s *setup) burst(ctx context.Context, first int, report func(figure)) error {
	const changes, bunch = 100, 4
	if err := s.services(ctx, first, first+3*changes); err != nil {
		return err
	}
	// What is changed and deleted is there before.
	if err := each(ctx, first, first+2*changes/bunch, s.create); err != nil {
		return err
	}
	if err := s.allServed(ctx, first, first+2*changes/bunch); err != nil {
		return err
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	changed, deleted, made := first, first+changes/bunch, first+2*changes/bunch
	moved := func(n int) string { return fmt.Sprintf("moved-%d.example", n) }
	began := time.Now()
	for i := range changes / bunch {
		patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/rules/0/host","value":%q}]`, moved(changed+i))
		_, err := s.client.NetworkingV1().Ingresses(namespace).Patch(ctx, nameOf(changed+i), types.JSONPatchType, []byte(patch), metav1.PatchOptions{})
		if err = errors.Join(err, s.remove(ctx, deleted+i), s.create(ctx, made+2*i), s.create(ctx, made+2*i+1)); err != nil {
			return err
		}
		time.Sleep(time.Until(began.Add(time.Duration(i+1) * 900 * time.Millisecond / (changes / bunch))))
	}
	spread, last := time.Since(began), time.Now()
	v := newVisitor()
	defer v.http.CloseIdleConnections()
	err := each(ctx, 0, changes/bunch, func(ctx context.Context, i int) error {
		_, err := until(ctx, func(ctx context.Context) bool {
			where := func(n int) netip.AddrPort { at, _ := place(n); return at }
			return v.served(ctx, where(changed+i), moved(changed+i)) && !v.served(ctx, where(changed+i), hostOf(changed+i)) &&
				!v.served(ctx, where(deleted+i), hostOf(deleted+i)) &&
				v.served(ctx, where(made+2*i), hostOf(made+2*i)) && v.served(ctx, where(made+2*i+1), hostOf(made+2*i+1))
		})
		return err
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "100 changes within %v\n", spread)
	report(atMost("100_changes_consistent_after", round(time.Since(last).Seconds(), 2), "s", 1))
	// For what follows.
	for _, span := range [][2]int{{changed, changed + changes/bunch}, {made, made + 2*changes/bunch}} {
		if err := each(ctx, span[0], span[1], s.remove); err != nil {
			return err
		}
	}
	return s.quiet(ctx)
}

// startFigures measures starts with 5,000 Ingresses: with traffic managers that
// hold nothing, beside a bare client that sends the same, and with all that is
// there programmed.
func startFigures(ctx context.Context, report func(figure)) error {
	s, err := newSetup(ctx, false)
	if err != nil {
		return err
	}
	defer s.close()
	const n = 5000
	if err := s.services(ctx, 0, n); err != nil {
		return err
	}
	if err := each(ctx, 0, n, s.create); err != nil {
		return err
	}
	// Of each the fastest: whatever else the machine does makes one of them slower.
	var starts, bares []time.Duration
	for range 5 {
		start, bare, err := s.startBesideBare(ctx, n)
		if err != nil {
			return err
		}
		starts, bares = append(starts, start), append(bares, bare)
	}
	report(atMost("start_with_5000_new_to_bare_client", round(slices.Min(starts).Seconds()/slices.Min(bares).Seconds(), 2), "times", 1.2))

	if err := s.quiet(ctx); err != nil {
		return err
	}
	if err := s.stopController(); err != nil {
		return err
	}
	begin := time.Now()
	if err := s.startController(ctx); err != nil {
		return err
	}
	report(atMost("start_with_5000_programmed", round(time.Since(begin).Seconds(), 2), "s", 10))
	if err := s.quiet(ctx); err != nil {
		return err
	}
	writes, err := s.writes(ctx)
	if err != nil {
		return err
	}
	report(atMost("start_with_5000_programmed_writes", float64(writes), "writes", 0))
	return nil
}

// startBesideBare gives how long the controller takes to bring n Ingresses to
// traffic managers that hold nothing, and what a bare client takes for the same. The
// controller runs on.
func (s *setup) startBesideBare(ctx context.Context, n int) (start, bare time.Duration, err error) {
	if s.controller != nil {
		if err := s.stopController(); err != nil {
			return 0, 0, err
		}
	}
	if err := s.emptyFleet(ctx); err != nil {
		return 0, 0, err
	}
	bare, requests, err := s.bareStart(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := s.emptyFleet(ctx); err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	if err := s.startController(ctx); err != nil {
		return 0, 0, err
	}
	start = time.Since(begin)
	if err := s.allServed(ctx, 0, n); err != nil {
		return 0, 0, err
	}
	fmt.Fprintf(os.Stderr, "start with nothing on the traffic managers: %v, %v with the check that all is served; a bare client's %d PUTs take %v\n",
		start, time.Since(begin), requests, bare)
	return start, bare, nil
}

// bareStart sends what the controller would send to traffic managers that hold
// nothing, stage by stage, as many requests at a time.
func (s *setup) bareStart(ctx context.Context) (time.Duration, int, error) {
	steps, err := s.plan(ctx)
	if err != nil {
		return 0, 0, err
	}
	pair, err := reconcile.NewSelfSigned(s.world, "figures/self-signed")
	if err != nil {
		return 0, 0, err
	}
	bodies := make([]string, len(steps))
	for i, step := range steps {
		bodies[i] = string(step.Send.Content)
		if !step.ID.Type.IsFile() {
			properties := step.Send.Properties()
			if step.ID.Type == vtm.ServerKeys { // the relay's, which a plan leaves open
				properties["basic"]["public"], properties["basic"]["private"] = string(pair.Certificate), string(pair.PrivateKey)
			}
			body, err := json.Marshal(map[string]any{"properties": properties})
			if err != nil {
				return 0, 0, err
			}
			bodies[i] = string(body)
		}
	}
	begin := time.Now()
	for from := 0; from < len(steps); {
		to := from
		for to < len(steps) && steps[to].Stage == steps[from].Stage {
			to++
		}
		failures := make(chan error, fleetClients)
		var writing sync.WaitGroup
		for i, c := range s.fleet.clients {
			writing.Go(func() {
				for k := from + i; k < to; k += fleetClients {
					if err := c.put(ctx, s.fleet.members[0], steps[k].ID.String(), bodies[k]); err != nil {
						failures <- err
						return
					}
				}
			})
		}
		writing.Wait()
		select {
		case err := <-failures:
			return 0, 0, err
		default:
		}
		from = to
	}
	return time.Since(begin), len(steps), nil
}

func (s *setup) plan(ctx context.Context) ([]reconcile.Step, error) {
	settings, err := s.loaded()
	if err != nil {
		return nil, err
	}
	o := controller.Options{World: s.world, Log: slog.New(slog.DiscardHandler), Actor: "figures"}
	client, err := controller.NewClient(o, settings)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	relay, err := controller.RelayOf(settings)
	if err != nil {
		return nil, err
	}
	kubernetes, err := config.KubernetesConfig(settings)
	if err != nil {
		return nil, err
	}
	view, err := inspect.Look(ctx, inspect.Options{
		World: s.world, Log: o.Log, Settings: settings, Client: client, Relay: relay, Actor: "figures", Kubernetes: kubernetes,
	})
	if err != nil {
		return nil, err
	}
	return view.Plan.Steps, nil
}

// lateFigures is the first line once more, with traffic managers that replicate
// as they do by default: at least 5 s after the last request, at most 20 s after
// the change.
func lateFigures(ctx context.Context, report func(figure)) error {
	s, err := newSetup(ctx, true)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.startController(ctx); err != nil {
		return err
	}
	if err := s.grow(ctx, 0, 100); err != nil {
		return err
	}
	const few = 12
	if err := s.services(ctx, 20_000, 20_000+few); err != nil {
		return err
	}
	v := newVisitor()
	defer v.http.CloseIdleConnections()
	var times []time.Duration
	for n := 20_000; n < 20_000+few; n++ {
		if err := s.create(ctx, n); err != nil {
			return err
		}
		at, _ := place(n)
		took, err := until(ctx, func(ctx context.Context) bool { return v.served(ctx, at, hostOf(n)) })
		if err != nil {
			return fmt.Errorf("Ingress %d at %s: %w", n, at, err)
		}
		times = append(times, took)
	}
	fmt.Fprintf(os.Stderr, "one more Ingress live, with late replication: %v\n", times)
	// Told beside the others: what the traffic managers wait for is not ours.
	report(atMost("one_more_ingress_live_p50_replicated_late", milliseconds(percentile(times, 50)), "ms", 21_000))
	return nil
}

// tlsFigures measures an address with 2,500 certificates.
func tlsFigures(ctx context.Context, report func(figure)) error {
	s, err := newSetup(ctx, false)
	if err != nil {
		return err
	}
	defer s.close()
	const rows, more = 2500, 40
	if err := s.service(ctx, "figures", "figures", corev1.ServiceExternalTrafficPolicyLocal); err != nil {
		return err
	}
	err = each(ctx, 0, rows+more, func(ctx context.Context, n int) error { return s.secret(ctx, n, false) })
	if err == nil {
		err = each(ctx, 0, rows, s.createTLS)
	}
	if err == nil {
		err = s.startController(ctx)
	}
	if err != nil {
		return err
	}
	at := netip.AddrPortFrom(sharedTLS, tlsPort)
	v := newVisitor()
	if _, err := until(ctx, func(ctx context.Context) bool { return v.servedTLS(ctx, at, hostOf(rows-1)) }); err != nil {
		return fmt.Errorf("Ingress %d at %s: %w", rows-1, at, err)
	}
	if err := s.quiet(ctx); err != nil {
		return err
	}
	server, err := s.virtualServerOf(ctx, sharedTLS)
	if err != nil {
		return err
	}
	status, body, err := s.fleet.clients[0].do(ctx, http.MethodGet, s.fleet.members[0], server, "")
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("GET %s: %d %w", server, status, err)
	}
	if n := strings.Count(string(body), `"certificate"`); n < rows {
		return fmt.Errorf("%s has %d certificates, not %d", server, n, rows)
	}
	var document struct {
		Properties struct {
			SSL struct {
				Rows []any `json:"server_cert_host_mapping"`
			} `json:"ssl"`
		} `json:"properties"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return err
	}
	table := document.Properties.SSL.Rows
	p50, _, err := timed(42, func(i int) error {
		// One row more or less each time, as with a new Ingress; all at the end.
		text, err := json.Marshal(map[string]any{"properties": map[string]any{"ssl": map[string]any{"server_cert_host_mapping": table[(i+1)%2:]}}})
		if err != nil {
			return err
		}
		return s.fleet.clients[0].put(ctx, s.fleet.members[0], server, string(text))
	})
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "PUT of a virtual server with %d certificates, %d kB: p50 %v\n", rows, len(body)/1024, p50)
	report(atMost("put_virtual_server_with_2500_certificates_p50", milliseconds(p50), "ms", 60))

	var times []time.Duration
	for n := rows; n < rows+more; n++ {
		if err := s.createTLS(ctx, n); err != nil {
			return err
		}
		took, err := until(ctx, func(ctx context.Context) bool { return v.servedTLS(ctx, at, hostOf(n)) })
		if err != nil {
			return fmt.Errorf("Ingress %d at %s: %w", n, at, err)
		}
		times = append(times, took)
		time.Sleep(150 * time.Millisecond) // each is a change alone: those that follow closely are gathered
	}
	fmt.Fprintf(os.Stderr, "one more TLS Ingress live beside %d: p50 %v, max %v\n", rows, percentile(times, 50), percentile(times, 100))
	report(atMost("one_more_tls_ingress_live_p50_with_2500", milliseconds(percentile(times, 50)), "ms", 60))
	return nil
}

// virtualServerOf finds the path of the controller's virtual server at an address.
func (s *setup) virtualServerOf(ctx context.Context, address netip.Addr) (string, error) {
	status, text, err := s.fleet.clients[0].do(ctx, http.MethodGet, s.fleet.members[0], "virtual_servers", "")
	if err != nil || status != http.StatusOK {
		return "", fmt.Errorf("GET virtual_servers: %d %w", status, err)
	}
	var list struct {
		Children []struct {
			Name string `json:"name"`
		} `json:"children"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return "", err
	}
	for _, c := range list.Children {
		if strings.Contains(c.Name, "_"+address.String()+"_") {
			return "virtual_servers/" + c.Name, nil
		}
	}
	return "", fmt.Errorf("no virtual server at %s: %s", address, text)
}

// writeCounts counts what the controller writes for small changes.
func writeCounts(ctx context.Context, report func(figure)) error {
	s, err := newSetup(ctx, false)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.startController(ctx); err != nil {
		return err
	}
	if err := s.grow(ctx, 0, 20); err != nil {
		return err
	}
	// Ten pools of the policy Cluster have every node; one has a Deployment of its own.
	if err := s.deployment(ctx, "lone"); err != nil {
		return err
	}
	if err := s.service(ctx, nameOf(100), "lone", corev1.ServiceExternalTrafficPolicyLocal); err != nil {
		return err
	}
	const everywhere = 10
	for n := 200; n < 200+everywhere; n++ {
		if err := s.service(ctx, nameOf(n), "figures", corev1.ServiceExternalTrafficPolicyCluster); err != nil {
			return err
		}
	}
	if err := s.service(ctx, "figures", "figures", corev1.ServiceExternalTrafficPolicyLocal); err != nil {
		return err
	}
	err = errors.Join(s.create(ctx, 100), each(ctx, 200, 200+everywhere, s.create), s.secret(ctx, 0, false), s.createTLS(ctx, 0),
		s.allServed(ctx, 100, 101), s.allServed(ctx, 200, 200+everywhere))
	if err != nil {
		return err
	}
	exactly := func(name string, want int, change func() error) error {
		if err := s.quiet(ctx); err != nil {
			return err
		}
		before, err := s.writes(ctx)
		if err != nil {
			return err
		}
		if err := change(); err != nil {
			return err
		}
		_, err = until(ctx, func(ctx context.Context) bool { now, err := s.writes(ctx); return err == nil && now > before })
		if err == nil {
			err = s.quiet(ctx)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		after, err := s.writes(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s: %d writes\n", name, after-before)
		// Above and below both fall short.
		report(atMost(fmt.Sprintf("%s_beside_%d", name, want), math.Abs(float64(after-before-want)), "writes", 0))
		return nil
	}
	scale := func(n int) func() error {
		return func() error {
			_, err := s.client.AppsV1().Deployments(namespace).Patch(ctx, "lone", types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n), metav1.PatchOptions{})
			return err
		}
	}
	label := func(value string) func() error {
		return func() error {
			_, err := s.client.CoreV1().Nodes().Patch(ctx, "node-2", types.MergePatchType,
				fmt.Appendf(nil, `{"metadata":{"labels":{"node.kubernetes.io/exclude-from-external-load-balancers":%s}}}`, value), metav1.PatchOptions{})
			return err
		}
	}
	newPath := func(n int, path string) func() error {
		return func() error {
			patch, err := json.Marshal([]map[string]any{{"op": "add", "path": "/spec/rules/0/http/paths/-", "value": pathTo(path, nameOf(n))}})
			if err == nil {
				_, err = s.client.NetworkingV1().Ingresses(namespace).Patch(ctx, nameOf(n), types.JSONPatchType, patch, metav1.PatchOptions{})
			}
			return err
		}
	}
	if err := exactly("endpoint_added_writes", 1, scale(2)); err != nil {
		return err
	}
	if err := exactly("endpoint_removed_writes", 1, scale(1)); err != nil {
		return err
	}
	if err := exactly("node_removed_from_10_pools_writes", everywhere, label(`""`)); err != nil {
		return err
	}
	if err := exactly("node_added_to_10_pools_writes", everywhere, label("null")); err != nil {
		return err
	}
	if err := exactly("new_path_on_shared_address_writes", 1, newPath(2, "/more")); err != nil {
		return err
	}
	if err := exactly("new_path_on_dedicated_address_writes", 1, newPath(3, "/more")); err != nil {
		return err
	}
	if err := exactly("renewed_secret_writes", 1, func() error { return s.secret(ctx, 0, true) }); err != nil {
		return err
	}
	return s.resyncs(ctx, report)
}

// resyncs lets ten go by in which nothing changes.
func (s *setup) resyncs(ctx context.Context, report func(figure)) error {
	if err := s.stopController(); err != nil {
		return err
	}
	s.settings["resync-period"] = "1s"
	if err := s.startController(ctx); err != nil {
		return err
	}
	if err := pause(ctx, 10*time.Second+500*time.Millisecond); err != nil {
		return err
	}
	writes, err := s.writes(ctx)
	if err != nil {
		return err
	}
	report(atMost("start_and_ten_resyncs_writes", float64(writes), "writes", 0))
	return nil
}
