package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// dataplaneGroup measures how the emulated traffic manager carries traffic: the
// program vtm-sim beside httputil.ReverseProxy. Client, proxies and backend are
// processes of their own.
func dataplaneGroup(ctx context.Context, report func(figure)) error {
	for _, part := range []group{ruleFigures, proxyFigures, idleFigures, changeFigures} {
		if err := part(ctx, report); err != nil {
			return err
		}
	}
	return nil
}

const (
	// planeAddress of the traffic manager that carries load: in a block of its own.
	planeAddress = "127.1.213.1"
	planeREST    = planeAddress + ":9070"

	// Ports of its virtual servers.
	planePlain, planeRouted, planeSecure = 18080, 18081, 18443
	firstOfMany                          = 20000

	routedHosts = 1000
)

// plane is what is under load: a traffic manager and the reference, in front of the
// same backend.
type plane struct {
	backend, vtm, reference *program
	backendAddress          string
	rest                    *restClient

	plain, routed, secure           target
	referencePlain, referenceSecure target
}

func startPlane(ctx context.Context) (_ *plane, err error) {
	p := &plane{rest: newRESTClient()}
	defer func() {
		if err != nil {
			p.stop()
		}
	}()
	var addresses []string
	if p.backend, addresses, err = startServer(ctx, "backend", "a"); err != nil {
		return nil, err
	}
	p.backendAddress = addresses[0]
	if p.reference, addresses, err = startServer(ctx, "reference", "http://"+p.backendAddress); err != nil {
		return nil, err
	}
	p.referencePlain = target{address: addresses[0], host: routedHost(routedHosts / 2)}
	p.referenceSecure = target{address: addresses[1], host: routedHost(routedHosts / 2), secure: true}
	if p.vtm, err = startProgram(ctx, "vtm-sim", "--cluster=1", "--address="+planeAddress, "--address-map=loopback"); err != nil {
		return nil, err
	}
	if err = p.vtm.says("vtm-sim:"); err != nil {
		return nil, err
	}
	for _, r := range [][2]string{
		{"pools/app", planePool(p.backendAddress)},
		{"rules/route", routingRule(routedHosts)},
		{"ssl/server_keys/app", keyBody()},
		{"virtual_servers/plain", planeServer(planePlain, "app", "")},
		{"virtual_servers/routed", planeServer(planeRouted, "app", `,"request_rules":["route"]`)},
		{"virtual_servers/secure", strings.TrimSuffix(planeServer(planeSecure, "app", `,"ssl_decrypt":true`), "}}") + `,"ssl":{"server_cert_default":"app"}}}`},
	} {
		if err = p.rest.put(ctx, planeREST, r[0], r[1]); err != nil {
			return nil, err
		}
	}
	p.plain = p.referencePlain.at(planePlain)
	p.routed = p.referencePlain.at(planeRouted)
	p.secure = p.referenceSecure.at(planeSecure)
	return p, nil
}

// at is the same on a port of the traffic manager.
func (t target) at(port int) target {
	t.address = fmt.Sprintf("%s:%d", planeAddress, port)
	return t
}

// stop ends what was started.
func (p *plane) stop() {
	p.rest.http.CloseIdleConnections()
	for _, part := range []*program{p.vtm, p.reference, p.backend} {
		if part != nil {
			part.stop()
		}
	}
}

// planePool has as many idle connections to its nodes as the reference.
func planePool(node string) string {
	return fmt.Sprintf(`{"properties":{"basic":{"max_idle_connections_pernode":1024,"monitors":[],"nodes_table":[{"node":%q}]}}}`, node)
}

// planeServer keeps idle clients for as long as the reference, and tells nodes of
// clients as it does. more is what else section basic holds.
func planeServer(port int, pool, more string) string {
	return fmt.Sprintf(`{"properties":{"basic":{"enabled":true,"protocol":"http","port":%d,"pool":%q,"listen_on_any":true%s},`+
		`"connection":{"keepalive_timeout":600},"http":{"add_x_forwarded_for":true,"add_x_forwarded_proto":true}}}`, port, pool, more)
}

func routedHost(i int) string { return fmt.Sprintf("host%d.example.com", i) }

// median of an odd number of values.
func median(values []float64) float64 {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}

// proxyFigures takes turns in short rounds between the traffic manager and the
// reference: what else the machine does hits both, and what is compared are two
// rounds side by side.
func proxyFigures(ctx context.Context, report func(figure)) error {
	p, err := startPlane(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	const clients, turns, length = 32, 15, 700 * time.Millisecond
	targets := []target{p.referencePlain, p.plain, p.routed, p.referenceSecure, p.secure}
	conns := make([][]*loadConn, len(targets))
	for i, t := range targets {
		if conns[i], err = connectMany(ctx, t, clients); err != nil {
			return err
		}
		defer closeAll(conns[i])
		if _, err := load(ctx, conns[i], length); err != nil { // what is made once
			return err
		}
	}
	rounds := make([][]stretch, len(targets))
	cpu := make([]float64, len(targets))
	order := []int{0, 1, 2, 3, 4}
	for range turns {
		for _, i := range order {
			process := p.vtm
			if targets[i] == p.referencePlain || targets[i] == p.referenceSecure {
				process = p.reference
			}
			before, err := process.cpuSeconds()
			if err != nil {
				return err
			}
			r, err := load(ctx, conns[i], length)
			if err != nil {
				return err
			}
			after, err := process.cpuSeconds()
			if err != nil {
				return err
			}
			rounds[i] = append(rounds[i], r)
			cpu[i] += (after - before) / (r.perSecond * length.Seconds()) / turns
		}
		slices.Reverse(order)
	}
	for _, c := range []struct {
		name           string
		of, to         int
		least, mostP99 float64
	}{{"http", 1, 0, 0.9, 1.2}, {"rule_of_1000_hosts", 2, 0, 0.8, 0}, {"https", 4, 3, 0.9, 1.2}} {
		var speed, late, per, theirs, p99, theirP99 []float64
		for k, r := range rounds[c.of] {
			than := rounds[c.to][k]
			speed = append(speed, r.perSecond/than.perSecond)
			late = append(late, r.p99.Seconds()/than.p99.Seconds())
			per, theirs = append(per, r.perSecond), append(theirs, than.perSecond)
			p99, theirP99 = append(p99, milliseconds(r.p99)), append(theirP99, milliseconds(than.p99))
		}
		fmt.Fprintf(os.Stderr, "%s: %.0f requests/s (reference %.0f), p99 %v ms (%v), %.1f µs of CPU a request (%.1f)\n",
			c.name, median(per), median(theirs), median(p99), median(theirP99), cpu[c.of]*1e6, cpu[c.to]*1e6)
		report(atLeast(c.name+"_throughput_to_reference", round(median(speed), 3), "times", c.least))
		if c.mostP99 > 0 {
			report(atMost(c.name+"_p99_to_reference", round(median(late), 3), "times", c.mostP99))
		}
	}
	return nil
}

// idleFigures measures what 10,000 idle connections of clients take.
func idleFigures(ctx context.Context, report func(figure)) error {
	p, err := startPlane(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	const idle = 10_000
	// grown is what idle connections add to a process that works.
	grown := func(process *program, to target) (each, whole float64, err error) {
		busy, err := connectMany(ctx, to, 16)
		if err != nil {
			return 0, 0, err
		}
		defer closeAll(busy)
		// The work lets the collector run: what requests left behind, stacks that grew
		// among it, is not what an idle connection holds.
		settled := func() (float64, error) {
			if _, err := load(ctx, busy, 4*time.Second); err != nil {
				return 0, err
			}
			return process.rssMegabytes()
		}
		before, err := settled()
		if err != nil {
			return 0, 0, err
		}
		conns, err := connectMany(ctx, to, idle)
		if err != nil {
			return 0, 0, err
		}
		defer closeAll(conns)
		whole, err = settled()
		return (whole - before) * 1024 / idle, whole, err
	}
	theirs, _, err := grown(p.reference, p.referencePlain)
	if err != nil {
		return err
	}
	each, whole, err := grown(p.vtm, p.plain)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "an idle connection: %.1f KB (reference %.1f)\n", each, theirs)
	report(atMost("idle_connection_memory_to_reference", round(each/theirs, 2), "times", 1.2))
	report(atMost("rss_with_10000_idle_clients", round(whole, 1), "MB", 500))
	return nil
}

// changeFigures changes the configuration of one of 5,000 virtual servers under
// traffic.
func changeFigures(ctx context.Context, report func(figure)) error {
	p, err := startPlane(ctx)
	if err != nil {
		return err
	}
	defer p.stop()
	other, addresses, err := startServer(ctx, "backend", "b")
	if err != nil {
		return err
	}
	defer other.stop()
	nodes := []string{p.backendAddress, addresses[0]}
	const servers = 5000
	f := &fleet{members: []string{planeREST, planeREST, planeREST}}
	for range fleetClients {
		f.clients = append(f.clients, newRESTClient())
	}
	defer func() {
		for _, c := range f.clients {
			c.http.CloseIdleConnections()
		}
	}()
	if _, err := f.putAll(ctx, 2*servers, func(i int) (string, string) {
		if i < servers {
			return fmt.Sprintf("pools/many-%d", i), planePool(p.backendAddress)
		}
		i -= servers
		return fmt.Sprintf("virtual_servers/many-%d", i), planeServer(firstOfMany+i, fmt.Sprintf("many-%d", i), "")
	}); err != nil {
		return err
	}
	changed := servers / 2
	to := target{host: "shop.example"}
	at := func(i int) target { return to.at(firstOfMany + i) }
	// Steady traffic on what changes and beside it, on kept connections and new ones.
	traffic, stop := context.WithCancel(ctx)
	defer stop()
	var asked, lost atomic.Int64
	var asking sync.WaitGroup
	for i := range 8 {
		asking.Go(func() {
			to := at(changed)
			if i%2 == 1 {
				to = at(i)
			}
			steady(traffic, to, i/2%2 == 1, &asked, &lost)
		})
	}
	p50, p99, err := p.changes(ctx, at(changed), changed, nodes)
	stop()
	asking.Wait()
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "a change among %d virtual servers: p50 %v ms, p99 %v ms; %d requests meanwhile\n", servers, milliseconds(p50), milliseconds(p99), asked.Load())
	report(atMost("change_among_5000_p50", milliseconds(p50), "ms", 10))
	report(atMost("requests_lost_by_200_changes", float64(lost.Load()), "requests", 0))
	return nil
}

// steady asks 100 times a second until ctx ends, on one connection or on a new one
// each time.
func steady(ctx context.Context, to target, fresh bool, asked, lost *atomic.Int64) {
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	var c *loadConn
	for {
		select {
		case <-ctx.Done():
			if c != nil {
				c.Close()
			}
			return
		case <-pace.C:
		}
		var err error
		if c == nil {
			c, err = connect(context.WithoutCancel(ctx), to)
		}
		if err == nil {
			_, err = c.exchange()
		}
		asked.Add(1)
		if err != nil {
			fmt.Fprintln(os.Stderr, "a request was lost:", err)
			lost.Add(1)
		}
		if c != nil && (fresh || err != nil) {
			c.Close()
			c = nil
		}
	}
}

// changes moves a virtual server 200 times between two backends, by its pool's nodes
// and by its own pool in turn, and measures each time from sending the change to the
// first answer of the other backend.
func (p *plane) changes(ctx context.Context, to target, number int, nodes []string) (p50, p99 time.Duration, err error) {
	c, err := connect(ctx, to)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	if err := p.rest.put(ctx, planeREST, "pools/other", planePool(nodes[1])); err != nil {
		return 0, 0, err
	}
	pool := fmt.Sprintf("pools/many-%d", number)
	server := fmt.Sprintf("virtual_servers/many-%d", number)
	own := strings.TrimPrefix(pool, "pools/")
	steps := []struct{ path, body, from string }{
		{pool, planePool(nodes[1]), "b"},
		{pool, planePool(nodes[0]), "a"},
		{server, planeServer(firstOfMany+number, "other", ""), "b"},
		{server, planeServer(firstOfMany+number, own, ""), "a"},
	}
	times := make([]time.Duration, 200)
	for i := range times {
		time.Sleep(10 * time.Millisecond) // the traffic goes on between changes, too
		step := steps[i%len(steps)]
		begin := time.Now()
		failed := make(chan error, 1)
		go func() { failed <- p.rest.put(ctx, planeREST, step.path, step.body) }()
		for {
			name, err := c.exchange()
			if err != nil {
				return 0, 0, fmt.Errorf("while %s changed: %w", step.path, err)
			}
			if string(name) == step.from {
				break
			}
			if ctx.Err() != nil {
				return 0, 0, ctx.Err()
			}
		}
		times[i] = time.Since(begin)
		if err := <-failed; err != nil {
			return 0, 0, err
		}
	}
	slices.Sort(times)
	return times[len(times)/2], times[len(times)*99/100], nil
}
