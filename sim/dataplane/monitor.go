package dataplane

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"time"

	"k8s.io/utils/clock"
)

// monitorKey names a running monitor of a pool: node is "" when it watches the
// pool as a whole.
type monitorKey struct{ monitor, node string }

// monitorRun is one monitor watching one node, or one machine for a whole pool.
type monitorRun struct {
	pool    *pool
	key     monitorKey
	conf    *Monitor
	address string // asked, as configured
	status  *regexp.Regexp
	body    *regexp.Regexp
	cancel  context.CancelFunc
}

// The longest pause between two tests of a failed node is its delay times this:
// back_off doubles the delay with each failure.
const maxBackOff = 4

// maxMonitorBody is how much of an answer is compared with body_regex.
const maxMonitorBody = 64 << 10

// setMonitors starts, stops and restarts the pool's monitors so that they are
// those that the configuration wants. Tests that go on are not disturbed. The
// caller holds DataPlane.mu.
func (p *pool) setMonitors() {
	conf := p.conf.Load()
	wanted := make(map[monitorKey]*Monitor)
	if p.inUse {
		for _, name := range conf.Monitors {
			m := p.d.monitors[name]
			switch {
			case m == nil || !monitorEmulated(m.Type):
			case m.Scope == "poolwide":
				wanted[monitorKey{monitor: name}] = m
			default:
				for _, n := range conf.Nodes {
					if n.State != "disabled" {
						wanted[monitorKey{name, n.Address}] = m
					}
				}
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	changed := false
	for _, key := range sortedMonitors(p.runs) {
		run, m := p.runs[key], wanted[key]
		if m == run.conf {
			continue
		}
		run.cancel()
		delete(p.runs, key)
		if m == nil {
			// Nobody watches any more, so nobody could bring the node back.
			changed = p.verdict(key, true, "") || changed
		}
	}
	for _, key := range sortedMonitors(wanted) {
		if p.runs[key] == nil {
			p.startMonitor(key, wanted[key])
		}
	}
	if changed {
		p.refresh()
	}
}

func sortedMonitors[V any](m map[monitorKey]V) []monitorKey {
	return slices.SortedFunc(maps.Keys(m), func(a, b monitorKey) int {
		return cmp.Or(cmp.Compare(a.monitor, b.monitor), cmp.Compare(a.node, b.node))
	})
}

// stopMonitors stops all and forgets their verdicts.
func (p *pool) stopMonitors() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, run := range p.runs {
		run.cancel()
		delete(p.runs, key)
	}
}

func monitorEmulated(kind string) bool {
	return kind == "connect" || kind == "http" || kind == "ping"
}

// startMonitor begins to watch. The caller holds p.mu.
func (p *pool) startMonitor(key monitorKey, m *Monitor) {
	run := &monitorRun{pool: p, key: key, conf: m, address: key.node}
	if key.node == "" {
		run.address = m.Machine
	}
	var err error
	if run.status, err = regexp.Compile(m.StatusRegex); err == nil {
		run.body, err = regexp.Compile(m.BodyRegex)
	}
	if err != nil {
		p.d.event(Event{Level: "SERIOUS", Section: "monitors/" + key.monitor, Tag: "monitorfail",
			Text: fmt.Sprintf("Monitor does not run: %v", err)})
		return
	}
	ctx, cancel := context.WithCancel(p.d.ctx)
	run.cancel = cancel
	p.runs[key] = run
	p.d.tasks.spawn(func() { run.watch(ctx) })
}

// watch tests until ctx ends.
func (r *monitorRun) watch(ctx context.Context) {
	d := r.pool.d
	actor := d.actor("pools/" + r.pool.name + "/monitors/" + r.key.monitor + "/" + r.key.node)
	test, end := r.tester(actor)
	defer end()
	delay := max(r.conf.Delay, time.Second)
	// The first tests of many monitors are spread over one delay.
	pause := d.options.World.Jitter(actor, 0, delay)
	failures := 0
	for {
		if !sleep(ctx, d.options.World.Clock(), pause) {
			return
		}
		limited, cancel := context.WithTimeout(ctx, max(r.conf.Timeout, time.Second))
		err := test(limited)
		cancel()
		if ctx.Err() != nil {
			return
		}
		pause = delay
		if err == nil {
			failures = 0
			r.report(true, "")
			continue
		}
		failures++
		if failures < r.conf.Failures {
			continue
		}
		r.report(false, err.Error())
		if r.conf.BackOff {
			pause = min(delay<<min(failures-r.conf.Failures, 8), delay*maxBackOff)
		}
	}
}

// tester returns the test of this monitor's type and what to call at the end.
func (r *monitorRun) tester(actor string) (test func(context.Context) error, end func()) {
	d := r.pool.d
	if r.conf.Type != "http" {
		return func(ctx context.Context) error {
			to, err := d.options.AddressMap.HostPort(r.address)
			if err != nil {
				return err
			}
			conn, err := d.options.World.Dial(ctx, actor, "tcp", to)
			if err != nil {
				return err
			}
			return conn.Close()
		}, func() {}
	}
	scheme := "http"
	if r.conf.UseSSL {
		scheme = "https"
	}
	// A monitor asks whether the node answers, not who it is.
	client := d.options.World.HTTPClient(actor, &tls.Config{InsecureSkipVerify: true})
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return func(ctx context.Context) error {
		to, err := d.options.AddressMap.HostPort(r.address)
		if err != nil {
			return err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+to+r.conf.Path, nil)
		if err != nil {
			return err
		}
		req.Close = true
		req.Host = r.address
		if r.conf.HostHeader != "" {
			req.Host = r.conf.HostHeader
		}
		if r.conf.Authorization != "" {
			req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(r.conf.Authorization)))
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if code := fmt.Sprint(res.StatusCode); !r.status.MatchString(code) {
			return fmt.Errorf("status %s does not match %s", code, r.conf.StatusRegex)
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, maxMonitorBody))
		if err != nil {
			return err
		}
		if !r.body.Match(body) {
			return fmt.Errorf("the body does not match %s", r.conf.BodyRegex)
		}
		return nil
	}, client.CloseIdleConnections
}

// report tells the pool a verdict, unless the monitor was stopped meanwhile.
func (r *monitorRun) report(ok bool, why string) {
	p := r.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs[r.key] != r {
		return
	}
	if p.verdict(r.key, ok, why) {
		p.refresh()
	}
}

// verdict records what a monitor found and returns whether that is new. The
// caller holds p.mu.
func (p *pool) verdict(key monitorKey, ok bool, why string) bool {
	failing := p.poolwide
	var watched *node
	if key.node != "" {
		for _, n := range p.nodes {
			if n.address == key.node {
				watched = n
			}
		}
		if watched == nil {
			return false
		}
		failing = watched.monitoring
	}
	if failing[key.monitor] == !ok {
		return false
	}
	e := Event{Level: "INFO", Section: "monitors/" + key.monitor, Tag: "monitorok", More: []string{"pools/" + p.name}, Text: "Monitor is working"}
	if ok {
		delete(failing, key.monitor)
	} else {
		failing[key.monitor] = true
		e.Level, e.Tag, e.Text = "WARN", "monitorfail", "Monitor has detected a failure: "+why
	}
	if watched != nil {
		e.More = append(e.More, "nodes/"+watched.address)
	}
	p.d.event(e)
	if watched != nil {
		p.announce(watched, "A monitor has detected a failure")
	}
	return true
}

// sleep waits for d on the clock; false when ctx ended first.
func sleep(ctx context.Context, c clock.Clock, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := c.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
		return true
	case <-ctx.Done():
		return false
	}
}
