package dataplane

import (
	"cmp"
	"context"
	"fmt"
	"maps"
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
	test    monitorTest
	cancel  context.CancelFunc
}

// The longest pause between two tests of a failed node is its delay times this:
// back_off doubles the delay with each failure.
const maxBackOff = 4

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
			case m == nil || !p.d.runsMonitor(m):
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

// runsMonitor tells whether a monitor is carried out here. What the others watch
// counts as working.
func (d *DataPlane) runsMonitor(m *Monitor) bool {
	switch m.Type {
	case "ping", "connect", "http", "tcp_transaction":
		return true
	case "program":
		return d.options.AllowPrograms
	}
	return false
}

// notRun says why a monitor is not carried out.
func (m *Monitor) notRun() string {
	if m.Type == "program" {
		return "of type program does not run, since programs are not allowed here: what it watches counts as working"
	}
	return "of type " + m.Type + " is not emulated: what it watches counts as working"
}

// startMonitor begins to watch. The caller holds p.mu.
func (p *pool) startMonitor(key monitorKey, m *Monitor) {
	run := &monitorRun{pool: p, key: key, conf: m, address: key.node}
	if key.node == "" {
		run.address = m.Machine
	}
	actor := p.d.actor("pools/" + p.name + "/monitors/" + key.monitor + "/" + key.node)
	var err error
	if run.test, err = p.d.newMonitorTest(m, actor); err != nil {
		p.d.event(Event{Level: "SERIOUS", Section: "monitors/" + key.monitor, Tag: "monitorfail",
			Text: fmt.Sprintf("Monitor does not run: %v", err)})
		return
	}
	ctx, cancel := context.WithCancel(p.d.ctx)
	run.cancel = cancel
	p.runs[key] = run
	p.d.tasks.spawn(func() { run.watch(ctx, actor) })
}

// watch tests until ctx ends.
func (r *monitorRun) watch(ctx context.Context, actor string) {
	d := r.pool.d
	defer r.test.end()
	delay := max(r.conf.Delay, time.Second)
	// The first tests of many monitors are spread over one delay.
	pause := d.options.World.Jitter(actor, 0, delay)
	failures := 0
	for {
		if !sleep(ctx, d.options.World.Clock(), pause) {
			return
		}
		limited, cancel := context.WithTimeout(ctx, max(r.conf.Timeout, time.Second))
		err := r.ask(limited, failures)
		cancel()
		if ctx.Err() != nil {
			return
		}
		r.tell(err)
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

// ask tests once.
func (r *monitorRun) ask(ctx context.Context, failures int) error {
	to, err := r.pool.d.options.AddressMap.HostPort(r.address)
	if err != nil {
		return err
	}
	return r.test.run(ctx, target{configured: r.address, at: to, failuresLeft: max(r.conf.Failures-failures, 0)})
}

// tell writes down a test of a verbose monitor.
func (r *monitorRun) tell(err error) {
	if !r.conf.Verbose {
		return
	}
	result := "passed"
	if err != nil {
		result = "failed: " + err.Error()
	}
	r.pool.d.event(Event{Level: "INFO", Section: "monitors/" + r.key.monitor, Tag: "monitortest",
		More: []string{"pools/" + r.pool.name}, Text: "Test of " + r.address + " " + result})
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
