package vtm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"vtm-ingress/internal/facts"
	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/trafficscript"
)

// ClusterOptions say what a cluster is.
type ClusterOptions struct {
	// Options of all members. Name, Address, Certificate and Data are set for each
	// by what follows.
	Options
	// Members is how many there are: vtm-1, vtm-2 and so on; 1 to 16.
	Members int
	// Base is the address before that of the first member; the others follow.
	Base netip.Addr
	// Data is a folder that keeps the members' configurations, in a folder each by
	// their names; empty: memory only.
	Data string
	// ControlPort of every member's control API: 0 is 9071, AnyPort picks a free
	// one.
	ControlPort int
	// NoControl leaves the control API away: the Go API alone makes faults.
	NoControl bool
}

// maxMembers bounds a cluster.
const maxMembers = 16

// Cluster is several emulated traffic managers that replicate their configuration
// and take over each other's Traffic IP addresses. Its methods may be called from
// several goroutines.
type Cluster struct {
	// Set by StartCluster, never changed.
	o      ClusterOptions
	schema *schema
	wire   *wire

	libraries trafficscript.Libraries // of all members: mostly they have the same rules

	// changing holds a token while members start, stop, join and leave: that takes
	// its time, and under fake time only a wait on a channel lets time pass.
	changing chan struct{}
	closing  chan struct{} // closed by Close: nobody waits for changing any more

	mu      sync.Mutex // guards all below; a leaf: nothing is called with it held
	members map[string]*member
	next    int // number of the member that joins next
	faults  []FaultRule
	hits    map[int]uint64 // by index of a rule: how many requests fitted
	closed  bool
}

// member is one traffic manager, whether it runs or not. What it keeps outlives
// its stops; only whoever holds Cluster.changing reads or writes that.
type member struct {
	cluster *Cluster
	o       Options
	number  int
	gate    *gate
	control *controlServer // nil with NoControl

	// loaded is what its folder holds, read ahead by StartCluster; install takes it.
	loaded    []*resource
	loadError error

	tm       *TrafficManager // guarded by Cluster.mu; nil while it is stopped
	last     *TrafficManager // that ran before
	starting bool            // guarded by Cluster.mu: part of the first start
}

// StartCluster starts all members, each with its REST API answering. Members have
// replicated what is stored when it returns. Errors name what cannot be used; then
// nothing is left running.
func StartCluster(o ClusterOptions) (*Cluster, error) {
	if o.Members < 1 || o.Members > maxMembers {
		return nil, fmt.Errorf("a cluster of %d traffic managers: between 1 and %d are possible", o.Members, maxMembers)
	}
	if !o.Base.IsValid() {
		return nil, errors.New("a cluster needs the address before that of its first member")
	}
	if o.World == nil || o.Log == nil {
		return nil, errors.New("a cluster needs World and Log")
	}
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		return nil, err
	}
	return startCluster(o, sch)
}

func startCluster(o ClusterOptions, sch *schema) (_ *Cluster, err error) {
	c := &Cluster{
		o: o, schema: sch, wire: newWire(o.World, o.AddressMap),
		changing: make(chan struct{}, 1), closing: make(chan struct{}),
		members: make(map[string]*member), hits: make(map[int]uint64), next: 1,
	}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()
	for range o.Members {
		m := c.newMember()
		m.starting = true
		c.members[m.o.Name] = m
	}
	var reading sync.WaitGroup // the members' folders all at once
	known := newParsedFiles()
	for _, m := range c.members {
		if m.o.Data == "" {
			continue
		}
		reading.Go(func() {
			var d *disk
			if d, m.loadError = openDisk(m.o.Data, sch); m.loadError == nil {
				m.loaded, m.loadError = d.load(sch, known)
			}
		})
	}
	reading.Wait()
	for _, name := range c.Names() {
		if err := c.startMember(c.members[name]); err != nil {
			return nil, err
		}
	}
	for _, name := range c.Names() {
		c.member(name).starting = false
	}
	c.exchange()
	return c, nil
}

// newMember numbers the next member; it is not yet part of the cluster.
func (c *Cluster) newMember() *member {
	m := &member{cluster: c, number: c.next, o: c.o.Options}
	c.next++
	m.o.Name = "vtm-" + strconv.Itoa(m.number)
	address := c.o.Base
	for range m.number {
		address = address.Next()
	}
	m.o.Address = address.String()
	m.o.Data = ""
	if c.o.Data != "" {
		m.o.Data = filepath.Join(c.o.Data, m.o.Name)
	}
	m.gate = newGate(m.o.Name)
	return m
}

// elsewhere reports whether an address is that of another member, there or not:
// each member has one of the sixteen that follow Base.
func (t *TrafficManager) elsewhere(a netip.Addr) bool {
	if t.cluster == nil || a.String() == t.o.Address {
		return false
	}
	member := t.cluster.o.Base
	for range maxMembers {
		if member = member.Next(); member == a {
			return true
		}
	}
	return false
}

// startMember makes a member's traffic manager, or makes it anew after a stop.
func (c *Cluster) startMember(m *member) error {
	if m.control == nil && !c.o.NoControl {
		control, err := c.serveControl(m)
		if err != nil {
			return err
		}
		m.control = control
	}
	tm, err := start(m.o, c.schema, m)
	if err != nil {
		return err
	}
	c.mu.Lock()
	m.tm = tm
	c.mu.Unlock()
	tm.fellBehind(c.others(m.o.Name)...)
	for _, name := range c.others(m.o.Name) {
		if other := c.running(name); other != nil {
			other.sessions.owe(m.o.Name)
		}
	}
	return nil
}

// join makes t a member, with what it kept over a stop.
func (t *TrafficManager) join(m *member) {
	t.cluster, t.gate = m.cluster, m.gate
	t.store.keepsTombs = true
	t.replication = replication{
		wake: make(chan struct{}, 1), working: make(chan struct{}, 1),
		changed: make(map[target]struct{}), behind: make(map[string]*missed),
	}
	state := pending
	m.cluster.mu.Lock()
	if m.starting {
		state = working
	}
	m.cluster.mu.Unlock()
	if last := m.last; last != nil {
		t.uuid, t.certificate = last.uuid, last.certificate
		t.record.events, t.record.writes = last.record.events, last.record.writes
		if t.disk == nil {
			t.store, t.shelf = last.store, last.shelf
		}
		// Whoever knows the address must find it there again.
		if at, err := netip.ParseAddrPort(last.sockets.home); err == nil {
			t.o.RESTPort = int(at.Port())
		}
		if at, err := netip.ParseAddrPort(last.AdminAddress()); err == nil {
			t.o.AdminPort = int(at.Port())
		}
	}
	t.health = newHealth(t, state)
}

// stopMember kills a member: nothing that it had not yet done gets done.
func (c *Cluster) stopMember(m *member) {
	c.mu.Lock()
	tm := m.tm
	m.tm = nil
	c.mu.Unlock()
	if tm != nil {
		m.last = tm
		tm.Close()
	}
}

// exchange has all members give each other what they have, and returns when that
// is done or has failed.
func (c *Cluster) exchange() {
	ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
	defer cancel()
	for _, name := range c.Names() {
		if tm := c.running(name); tm != nil {
			tm.fellBehind(c.others(name)...)
			tm.replicate(ctx, true)
		}
	}
}

// Close ends all members and waits for them. A second call does nothing.
func (c *Cluster) Close() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
	}
	c.mu.Unlock()
	c.changing <- struct{}{}
	defer func() { <-c.changing }()
	for _, name := range c.Names() {
		m := c.member(name)
		m.gate.set(0)
		if m.control != nil {
			m.control.close()
		}
		c.stopMember(m)
	}
}

// change waits for the token of changing.
func (c *Cluster) change() error {
	select {
	case <-c.closing:
	default:
		select {
		case c.changing <- struct{}{}:
			return nil
		case <-c.closing:
		}
	}
	return errors.New("the cluster is closed")
}

// Names lists the members, those that are stopped too, in their order.
func (c *Cluster) Names() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.SortedFunc(maps.Keys(c.members), func(a, b string) int { return c.members[a].number - c.members[b].number })
}

// Member returns the traffic manager of that name that runs now, nil if there is
// none. After a stop and a start it is another one.
func (c *Cluster) Member(name string) *TrafficManager { return c.running(name) }

// Writes returns the newest accepted changes over REST of all members, those that
// are stopped too, oldest first; up to 50,000 of each. Members' changes of one
// instant are in the members' order. None once the cluster is closed.
func (c *Cluster) Writes() []Write {
	if c.change() != nil {
		return nil
	}
	defer func() { <-c.changing }()
	var all []Write
	for _, name := range c.Names() {
		tm := c.running(name)
		if tm == nil {
			tm = c.member(name).last
		}
		if tm != nil {
			list, _ := tm.Writes()
			all = append(all, list...)
		}
	}
	slices.SortStableFunc(all, func(a, b Write) int { return a.Time.Compare(b.Time) })
	return all
}

// AddressMap is that of all members.
func (c *Cluster) AddressMap() *dataplane.AddressMap { return c.o.AddressMap }

func (c *Cluster) member(name string) *member {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.members[name]
}

// running returns a member that is not stopped, or nil.
func (c *Cluster) running(name string) *TrafficManager {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.members[name]; m != nil {
		return m.tm
	}
	return nil
}

// others lists the other members, in their order.
func (c *Cluster) others(name string) []string {
	return slices.DeleteFunc(c.Names(), func(n string) bool { return n == name })
}

// stateOf is what a member says of itself when another one starts.
func (c *Cluster) stateOf(name string) machineState {
	c.mu.Lock()
	m := c.members[name]
	var tm *TrafficManager
	if m != nil {
		if m.starting {
			c.mu.Unlock()
			return working
		}
		tm = m.tm
	}
	c.mu.Unlock()
	if tm == nil {
		return failed
	}
	return tm.health.state()
}

// Join adds a member to the cluster: it takes over the configuration, and has an
// entry in traffic_managers. It returns when it is part of the cluster.
func (c *Cluster) Join() (*TrafficManager, error) {
	if err := c.change(); err != nil {
		return nil, err
	}
	defer func() { <-c.changing }()
	c.mu.Lock()
	if len(c.members) >= maxMembers {
		c.mu.Unlock()
		return nil, fmt.Errorf("no traffic manager can join the cluster: it has %d, which is the most", maxMembers)
	}
	m := c.newMember()
	c.members[m.o.Name] = m
	c.mu.Unlock()
	if err := c.startMember(m); err != nil {
		if m.control != nil {
			m.control.close()
		}
		c.mu.Lock()
		delete(c.members, m.o.Name)
		c.mu.Unlock()
		return nil, err
	}
	c.settle()
	c.exchange()
	return c.running(m.o.Name), nil
}

// Leave takes a member out of the cluster and ends it. Its entry in
// traffic_managers goes, and its folder, since the others have all that is in it;
// Traffic IP Groups that name it stay as they are.
func (c *Cluster) Leave(name string) error {
	if err := c.change(); err != nil {
		return err
	}
	defer func() { <-c.changing }()
	c.mu.Lock()
	m := c.members[name]
	if m == nil || len(c.members) == 1 {
		c.mu.Unlock()
		return fmt.Errorf("traffic manager %s cannot leave: it is no member, or the only one", name)
	}
	c.mu.Unlock()
	c.stopMember(m)
	if m.control != nil {
		m.control.close()
	}
	c.mu.Lock()
	delete(c.members, name)
	c.mu.Unlock()
	told := false
	for _, other := range c.Names() {
		tm := c.running(other)
		if tm == nil {
			continue
		}
		tm.health.leave(name)
		tm.forgetPeer(name)
		if !told {
			told = tm.removeEntry(name)
		}
	}
	c.exchange()
	if m.o.Data != "" {
		return os.RemoveAll(m.o.Data)
	}
	return nil
}
