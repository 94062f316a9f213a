package vtm

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"vtm-ingress/sim/dataplane"
)

// SetFaults replaces all faults that are set; none heals everything. It returns
// when they are in effect: members that stop have ended, and those that start
// again answer. A rule that is wrong changes nothing.
func (c *Cluster) SetFaults(rules []FaultRule) error {
	if len(rules) > maxFaults {
		return fmt.Errorf("faults: %d rules are more than the %d allowed", len(rules), maxFaults)
	}
	for _, r := range rules {
		if err := r.check(); err != nil {
			return fmt.Errorf("fault %q: %w", r, err)
		}
		if r.Member != "" && c.member(r.Member) == nil {
			return fmt.Errorf("fault %q: there is no member %s", r, r.Member)
		}
		if r.Kind == "cut" && r.Arg != "clients" && r.Arg != "nodes" && c.member(r.Arg) == nil {
			return fmt.Errorf("fault %q: there is no member %s", r, r.Arg)
		}
	}
	if err := c.change(); err != nil {
		return err
	}
	defer func() { <-c.changing }()
	// A restart happens once: it is not kept among the faults.
	restarts := slices.DeleteFunc(slices.Clone(rules), func(r FaultRule) bool { return r.Kind != "restart" })
	rules = slices.DeleteFunc(slices.Clone(rules), func(r FaultRule) bool { return r.Kind == "restart" })
	for _, name := range c.Names() {
		if concerns(restarts, name, "restart") {
			c.stopMember(c.member(name)) // settleFrom starts it, unless it shall be stopped
		}
	}
	c.mu.Lock()
	before := slices.Clone(c.faults)
	for _, r := range restarts {
		r.Kind = "stop"
		before = append(before, r)
	}
	c.faults = rules
	c.hits = make(map[int]uint64)
	c.mu.Unlock()
	return errors.Join(c.settleFrom(before)...)
}

// Faults returns those that are set.
func (c *Cluster) Faults() []FaultRule {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.faults)
}

// settle brings gates and members in line with the faults; the caller holds
// changing.
func (c *Cluster) settle() { c.settleFrom(c.Faults()) }

func (c *Cluster) settleFrom(before []FaultRule) (errs []error) {
	rules := c.Faults()
	for _, name := range c.Names() {
		m := c.member(name)
		var shut uint32
		if concerns(rules, name, "freeze", "isolate") {
			shut = gateREST | gateClients | gateNodes
		}
		for _, r := range rules {
			if r.Kind == "cut" && concerns([]FaultRule{r}, name, "cut") {
				switch r.Arg {
				case "clients":
					shut |= gateClients
				case "nodes":
					shut |= gateNodes
				}
			}
		}
		m.gate.set(shut)
		tm := c.running(name)
		switch stop := concerns(rules, name, "stop"); {
		case stop && tm != nil:
			c.stopMember(m)
		case !stop && tm == nil:
			if err := c.startMember(m); err != nil {
				errs = append(errs, fmt.Errorf("traffic manager %s cannot start again: %w", name, err))
			}
		}
		if tm = c.running(name); tm == nil {
			continue
		}
		if concerns(rules, name, "down") {
			tm.sockets.cut()
		}
		if err := tm.changeCertificate(concerns(rules, name, "certificate")); err != nil {
			errs = append(errs, err)
		}
		limit, now := int64(0), concerns(rules, name, "licence-expired")
		if now {
			limit = developerBandwidth
		}
		tm.data.LimitBandwidth(limit)
		if now != concerns(before, name, "licence-expired") {
			e := dataplane.Event{Level: "SERIOUS", Section: "licensekeys", Tag: "expired", Text: licenceExpired}
			if !now {
				e = dataplane.Event{Level: "INFO", Section: "licensekeys", Tag: "usinglicense", Text: "The licence key is valid"}
			}
			tm.logEvent(e)
		}
	}
	for _, name := range c.Names() {
		tm := c.running(name)
		if tm == nil {
			continue
		}
		// First, so that whoever is behind already waits like those that follow.
		tm.linkChanged()
		// Who could not be reached before is compared as a whole as soon as possible.
		for _, other := range c.others(name) {
			if !reach(before, name, other) || c.running(other) == nil {
				tm.fellBehind(other)
			}
		}
	}
	return errs
}

// changeCertificate has the REST API present another certificate, or its own
// again. Connections end, so that clients look at it.
func (t *TrafficManager) changeCertificate(other bool) error {
	if t.certificate == nil || other == (t.otherCertificate.Load() != nil) {
		return nil
	}
	var made *tls.Certificate
	if other {
		var err error
		if made, err = selfSigned(t.o, "other certificate"); err != nil {
			return fmt.Errorf("another certificate for traffic manager %s: %w", t.o.Name, err)
		}
	}
	t.otherCertificate.Store(made)
	t.sockets.cut()
	return nil
}

// reach tells whether faults let two members hear each other.
func reach(rules []FaultRule, a, b string) bool {
	for _, r := range rules {
		on := func(name string) bool { return r.Member == "" || r.Member == name }
		switch r.Kind {
		case "freeze", "isolate", "stop":
			if on(a) || on(b) {
				return false
			}
		case "cut":
			if r.Arg == a && on(b) || r.Arg == b && on(a) {
				return false
			}
		}
	}
	return true
}

func (c *Cluster) reach(a, b string) bool {
	if c.running(a) == nil || c.running(b) == nil {
		return false
	}
	return reach(c.rules(), a, b)
}

// rules are the faults that are set; the caller must not change them.
func (c *Cluster) rules() []FaultRule {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.faults
}

// faulty tells whether one of these kinds is set for a member.
func (c *Cluster) faulty(member string, kinds ...string) bool {
	return concerns(c.rules(), member, kinds...)
}

func (c *Cluster) held(member string) bool     { return c.faulty(member, "hold") }
func (c *Cluster) frozen(member string) bool   { return c.faulty(member, "freeze") }
func (c *Cluster) isolated(member string) bool { return c.faulty(member, "isolate") }

// diskError says why nothing can be stored.
func (t *TrafficManager) diskError() error {
	if t.cluster != nil && t.cluster.faulty(t.o.Name, "disk-full") {
		return errors.New("no space left on device")
	}
	return nil
}

// requestFaults are what befalls one request.
type requestFaults struct {
	latency, slow       time.Duration
	repeat              time.Duration
	status              int
	dropBefore          bool
	dropAfter, truncate bool
	garbage             bool
	unauthorised        bool
}

// faultsOf decides what befalls a request. The dice are thrown by kind, path and
// how many requests fitted before: other requests do not change them.
func (c *Cluster) faultsOf(member string, r *http.Request) requestFaults {
	c.mu.Lock()
	defer c.mu.Unlock()
	var f requestFaults
	for i, rule := range c.faults {
		kind, _ := faultKind(rule.Kind)
		if !kind.PerRequest || rule.Member != "" && rule.Member != member || rule.Method != "" && rule.Method != r.Method || !rule.fits(r.URL.Path) {
			continue
		}
		n := c.hits[i]
		c.hits[i]++
		if rule.Nth != 0 && n+1 != uint64(rule.Nth) {
			continue
		}
		if rule.Chance != 0 && float64(c.o.World.Jitter("fault/"+rule.Kind+"/"+r.URL.Path, n, time.Second)) >= rule.Chance*float64(time.Second) {
			continue
		}
		switch rule.Kind {
		case "latency":
			d, _ := time.ParseDuration(rule.Arg)
			f.latency += d
		case "slow":
			d, _ := time.ParseDuration(rule.Arg)
			f.slow += d
		case "repeat":
			f.repeat, _ = time.ParseDuration(rule.Arg)
		case "status":
			f.status, _ = strconv.Atoi(rule.Arg)
		case "drop":
			f.dropBefore = f.dropBefore || rule.Arg == "before"
			f.dropAfter = f.dropAfter || rule.Arg == "after"
		case "garbage":
			f.garbage = true
		case "truncate":
			f.truncate = true
		case "unauthorised":
			f.unauthorised = true
		}
	}
	return f
}

// fits matches the condition path: against the whole path if it begins with a
// slash, else against what is below config/active or below the version.
func (r FaultRule) fits(requested string) bool {
	if r.Path == "" {
		return true
	}
	requested = strings.TrimSuffix(requested, "/")
	if strings.HasPrefix(r.Path, "/") {
		ok, _ := path.Match(r.Path, requested)
		return ok
	}
	parts := strings.SplitN(strings.TrimPrefix(requested, "/"), "/", 4) // api, tm, version, rest
	if len(parts) < 4 {
		return false
	}
	below := strings.TrimPrefix(parts[3], "config/active/")
	ok, _ := path.Match(r.Path, below)
	return ok
}

// misbehave carries out those of a request's faults that concern its connection,
// and returns the writer to answer with, and all of them.
func (t *TrafficManager) misbehave(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, requestFaults) {
	f := t.cluster.faultsOf(t.o.Name, r)
	if f.latency > 0 {
		t.rest(r, f.latency)
	}
	if f.dropBefore {
		panic(http.ErrAbortHandler)
	}
	if f.truncate || f.dropAfter || f.slow > 0 {
		w = &brokenWriter{ResponseWriter: w, t: t, r: r, faults: f}
	}
	return w, f
}

// repeated marks the context of a request that takes effect once more.
type repeated struct{}

// repeat lets a request take effect once more, later. Nobody hears the answer. It may
// be called while the request is served only.
func (t *TrafficManager) repeat(r *http.Request, after time.Duration) (*http.Request, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxFileBody+1))
	if err != nil {
		return nil, err
	}
	with := func(ctx context.Context) *http.Request {
		again := r.Clone(ctx)
		again.Body = io.NopCloser(bytes.NewReader(body))
		return again
	}
	ctx, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(r.Context()), repeated{}, true))
	t.loops.Go(func() {
		defer cancel()
		timer := t.o.World.Clock().NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C():
			t.answer(httptest.NewRecorder(), with(ctx), requestFaults{})
		case <-t.ended:
		}
	})
	return with(r.Context()), nil
}

// rest waits, at most until the client is gone.
func (t *TrafficManager) rest(r *http.Request, d time.Duration) {
	timer := t.o.World.Clock().NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C():
	case <-r.Context().Done():
	}
}

// brokenWriter spoils how an answer is sent: http.ErrAbortHandler closes the
// connection.
type brokenWriter struct {
	http.ResponseWriter
	t      *TrafficManager
	r      *http.Request
	faults requestFaults
}

func (b *brokenWriter) WriteHeader(status int) {
	if b.faults.dropAfter {
		panic(http.ErrAbortHandler)
	}
	b.ResponseWriter.WriteHeader(status)
	if b.faults.truncate && b.Header().Get("Content-Length") == "" {
		panic(http.ErrAbortHandler)
	}
}

func (b *brokenWriter) Write(body []byte) (int, error) {
	if b.faults.truncate {
		_, _ = b.ResponseWriter.Write(body[:len(body)/2])
		b.flush()
		panic(http.ErrAbortHandler)
	}
	sent := 0
	for part := range slices.Chunk(body, 1024) {
		b.t.rest(b.r, b.faults.slow)
		n, err := b.ResponseWriter.Write(part)
		sent += n
		if err != nil {
			return sent, err
		}
		b.flush()
	}
	return sent, nil
}

func (b *brokenWriter) flush() { _ = http.NewResponseController(b.ResponseWriter).Flush() }

// MemberInfo is what the control API tells of a member.
type MemberInfo struct {
	Name    string `json:"name"`
	Running bool   `json:"running"`
	REST    string `json:"rest,omitempty"`    // "host:port"
	Admin   string `json:"admin,omitempty"`   // "host:port"
	Control string `json:"control,omitempty"` // "host:port"
	State   string `json:"state,omitempty"`   // failed, pending or working, as it says itself
	// Raised are the Traffic IP addresses that it has raised, sorted.
	Raised []string `json:"raised"`
}

// Info lists the members in their order.
func (c *Cluster) Info() []MemberInfo {
	var list []MemberInfo
	for _, name := range c.Names() {
		m := c.member(name)
		if m == nil {
			continue
		}
		info := MemberInfo{Name: name, Raised: []string{}}
		if m.control != nil {
			info.Control = m.control.address()
		}
		if tm := c.running(name); tm != nil {
			info.Running, info.REST, info.Admin = true, tm.RESTAddress(), tm.AdminAddress()
			info.State = map[machineState]string{failed: "failed", pending: "pending", working: "working"}[tm.health.state()]
			info.Raised = tm.health.allRaised()
		}
		list = append(list, info)
	}
	return list
}

// allRaised lists the addresses that are raised here, sorted.
func (h *health) allRaised() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := []string{}
	for _, address := range slices.SortedFunc(maps.Keys(h.raised), dataplane.CompareAddresses) {
		if h.raised[address].raised {
			list = append(list, address)
		}
	}
	return list
}
