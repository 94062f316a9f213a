package dataplane

import (
	"cmp"
	"context"
	"errors"
	"log"
	"log/slog"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/trafficscript"
)

// Options of a data plane.
type Options struct {
	World outside.World
	Log   *slog.Logger
	Name  string // the traffic manager's name, as in Traffic IP Groups

	// Address is this machine's own: what listen_on_any means beyond the Traffic
	// IP addresses raised here, and the traffic manager's name in
	// listen_on_hosts. With an unspecified one ("", "0.0.0.0") listen_on_any is a
	// wildcard socket, beside which Linux allows no other socket on the same port.
	Address    string
	AddressMap *AddressMap
	// Elsewhere reports whether an address is another machine's of the cluster. It may
	// be nil, and is called under locks.
	Elsewhere func(netip.Addr) bool

	// Events is told what happens, from any goroutine and under locks: it never
	// calls back into the data plane and never blocks.
	Events func(Event)

	// AllowPrograms: monitors of type program run their scripts on this machine.
	AllowPrograms bool

	// Libraries remember what rules were compiled to. Data planes may share them: mostly
	// they have the same rules. Nil: this one has its own.
	Libraries *trafficscript.Libraries

	// PerClientTransports gives each client connection connections to nodes of its
	// own, named after it. Under simulation that is what makes runs repeat; with
	// real sockets it costs throughput.
	PerClientTransports bool
}

var errClosed = errors.New("the traffic manager is stopping")

// DataPlane is the data plane of one traffic manager.
type DataPlane struct {
	options Options
	own     netip.Addr

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	tasks  group // goroutines that live as long as what they serve
	dials  group // connections being opened

	// Read by requests, changed by Apply.

	global      atomic.Pointer[Global]
	pools       sync.Map // name -> *pool
	rules       sync.Map // name -> *rule
	keys        sync.Map // name -> *serverKey
	clientKeys  sync.Map // name -> *serverKey
	persistence sync.Map // name -> *Persistence
	sessions    *sessionCaches
	cas         sync.Map // name -> *File: certificate authorities
	files       sync.Map // name -> *File: extra files
	scripts     sync.Map // name -> *File: of monitors
	protection  sync.Map // name -> *guard
	tickets     ticketKeys
	tlsEpoch    atomic.Int64 // grows with what virtual servers' TLS depends on beside themselves
	data        *trafficscript.Store
	localData   *trafficscript.Store
	objects     ruleObjects

	buffers   buffers
	datagrams buffers     // of any size
	proxyLog  *log.Logger // where net/http writes what clients and nodes do wrong: level debug

	stats     globalStats
	bandwidth bandwidth
	cache     webCache

	rebind chan struct{} // an endpoint could not be bound: try again later

	mu          sync.Mutex // serialises Apply, State and Close
	closed      bool
	groups      map[string]*TrafficIPGroup
	servers     map[string]*vserver
	monitors    map[string]*Monitor
	monitoredBy map[string]map[string]bool // monitor -> pools
	listeners   map[string]map[string]bool // Traffic IP Group -> virtual servers that name it
	anywhere    map[string]bool            // virtual servers with listen_on_any
	importers   map[string]map[string]bool // library -> rules that import it
	libraries   *trafficscript.Libraries
	endpoints   map[place]*endpoint
	draining    []*socket // of UDP: their flows end, nobody else is served
	generations map[*generation]struct{}
	uses        usage
}

// New returns a data plane without configuration. Close ends it.
func New(o Options) *DataPlane {
	ctx, cancel := context.WithCancel(context.Background())
	own, err := netip.ParseAddr(o.Address)
	if err != nil {
		own = netip.IPv4Unspecified()
	}
	if o.Libraries == nil {
		o.Libraries = &trafficscript.Libraries{}
	}
	d := &DataPlane{
		options: o, own: own.Unmap(),
		ctx: ctx, cancel: cancel,
		data:        trafficscript.NewStore(storeSize("")),
		localData:   trafficscript.NewStore(storeSize("")),
		proxyLog:    slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug),
		rebind:      make(chan struct{}, 1),
		sessions:    newSessionCaches(defaultSessionCaches),
		groups:      make(map[string]*TrafficIPGroup),
		servers:     make(map[string]*vserver),
		monitors:    make(map[string]*Monitor),
		monitoredBy: make(map[string]map[string]bool),
		listeners:   make(map[string]map[string]bool),
		anywhere:    make(map[string]bool),
		importers:   make(map[string]map[string]bool),
		endpoints:   make(map[place]*endpoint),
		generations: make(map[*generation]struct{}),
		datagrams:   buffers{size: maxDatagram},
		uses:        newUsage(),
		libraries:   o.Libraries,
	}
	for _, m := range []*meter{&d.stats.bytesIn, &d.stats.bytesOut, &d.stats.reqs, &d.stats.ssl} {
		m.hourly = true
	}
	d.global.Store(defaultGlobal())
	d.objects.fetcher = &fetcher{d}
	d.objects.machine.Store(d.newMachine())
	d.tasks.spawn(d.rebindLoop)
	d.tasks.spawn(d.expiryLoop)
	return d
}

func (d *DataPlane) now() time.Time { return d.options.World.Clock().Now() }

func (d *DataPlane) event(e Event) {
	if d.options.Events != nil {
		d.options.Events(e)
	}
}

// actor names who acts for this traffic manager.
func (d *DataPlane) actor(what string) string { return "vtm/" + d.options.Name + "/" + what }

func (d *DataPlane) pool(name string) *pool {
	p, _ := d.pools.Load(name)
	found, _ := p.(*pool)
	return found
}

// sorted returns the keys of a map in order: whatever shows outside happens in
// an order that does not change from run to run.
func sorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// Apply puts a change into effect and returns when it is: new sockets listen (or
// an Event tells why not), closed ones refuse. What the change does not touch is
// not disturbed; a request under way ends with the configuration it began with.
// The work is proportional to the change.
func (d *DataPlane) Apply(u Update) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	touched := make(map[string]bool) // pools whose monitors are looked at
	d.applyGlobal(u.Global, touched)
	for _, name := range sorted(u.ServerKeys) {
		d.applyServerKey(name, u.ServerKeys[name])
	}
	storeFiles(&d.cas, u.CAs)
	d.tickets.apply(u.TicketKeys)
	if len(u.CAs) > 0 || len(u.TicketKeys) > 0 || u.Global != nil {
		d.tlsEpoch.Add(1)
	}
	storeFiles(&d.files, u.ExtraFiles)
	storeFiles(&d.scripts, u.MonitorScripts)
	d.applyProtection(u.Protection)
	for _, name := range sorted(u.ClientKeys) {
		d.applyClientKey(name, u.ClientKeys[name])
	}
	for _, name := range sorted(u.Persistence) {
		if p := u.Persistence[name]; p != nil {
			d.persistence.Store(name, p)
		} else {
			d.persistence.Delete(name)
		}
	}
	d.applyObjects(&u)
	for _, name := range sorted(u.Monitors) {
		if m := u.Monitors[name]; m != nil {
			d.monitors[name] = m
		} else {
			delete(d.monitors, name)
		}
		for p := range d.monitoredBy[name] {
			touched[p] = true
		}
	}
	for _, name := range sorted(u.Pools) {
		if conf := u.Pools[name]; conf != nil {
			d.applyPool(name, conf)
			touched[name] = true
		}
	}
	d.applyRules(u.Rules)

	// Listeners: first all claims, then the sockets, so that one change can hand
	// an address over without a gap.
	changed := make(map[place]bool)
	reclaim := make(map[string]bool)
	for name, g := range u.TrafficIPGroups {
		if g != nil {
			d.groups[name] = g
		} else {
			delete(d.groups, name)
		}
		maps.Copy(reclaim, d.listeners[name])
		maps.Copy(reclaim, d.anywhere)
	}
	for _, name := range sorted(u.VirtualServers) {
		d.applyServer(name, u.VirtualServers[name])
		reclaim[name] = true
	}
	var gone []*vserver
	for _, name := range sorted(reclaim) {
		v := d.servers[name]
		d.claim(v, changed)
		if v.deleted {
			delete(d.servers, name)
			gone = append(gone, v)
		}
	}
	d.resolve(changed)
	for _, v := range gone {
		v.stop()
	}

	for _, name := range sorted(u.Pools) {
		if p := d.pool(name); p != nil && u.Pools[name] == nil {
			d.deletePool(p)
		}
	}
	for name := range d.uses.settle(d.global.Load().VariablePoolUse) {
		touched[name] = true
	}
	for _, name := range sorted(u.VirtualServers) {
		if v := d.servers[name]; v != nil {
			d.tellExpiry(v)
		}
	}
	for _, name := range sorted(touched) {
		if p := d.pool(name); p != nil {
			p.inUse = d.uses.inUse(name)
			p.setMonitors()
		}
	}
}

// storeFiles takes changes of uploaded files into use.
func storeFiles(m *sync.Map, changes map[string]*File) {
	for name, f := range changes {
		if f == nil {
			m.Delete(name)
		} else {
			m.Store(name, f)
		}
	}
}

// file returns the content of an uploaded file, and false if there is none.
func file(m *sync.Map, name string) (string, bool) {
	f, ok := m.Load(name)
	if !ok {
		return "", false
	}
	return f.(*File).Content, true
}

func (d *DataPlane) applyGlobal(g *Global, touched map[string]bool) {
	if g == nil {
		return
	}
	old := d.global.Swap(g)
	d.data.Resize(storeSize(g.Script.DataSize))
	d.localData.Resize(storeSize(g.Script.DataLocalSize))
	if old.VariablePoolUse != g.VariablePoolUse {
		d.compileAll()
	}
	if old.Sessions != g.Sessions {
		d.sessions.configure(g.Sessions)
	}
	if old.IdleTimeout == g.IdleTimeout && old.VariablePoolUse == g.VariablePoolUse && reflect.DeepEqual(old.TLS, g.TLS) {
		return
	}
	d.pools.Range(func(name, p any) bool {
		touched[name.(string)] = true
		if old.IdleTimeout != g.IdleTimeout || !reflect.DeepEqual(old.TLS, g.TLS) {
			p := p.(*pool)
			p.update(p.conf.Load())
		}
		return true
	})
}

func (d *DataPlane) applyPool(name string, conf *Pool) {
	p := d.pool(name)
	if p == nil {
		p = newPool(d, name)
		p.update(conf)
		d.pools.Store(name, p)
	} else {
		d.watchedBy(p, p.conf.Load().Monitors, false)
		p.update(conf)
	}
	d.watchedBy(p, conf.Monitors, true)
	d.uses.failover(name, conf.FailurePool)
	for _, m := range conf.Monitors {
		if mon := d.monitors[m]; mon == nil {
			d.missing("pools/"+name, "monitor", m)
		} else if !d.runsMonitor(mon) {
			d.event(Event{Level: "WARN", Section: "pools/" + name, Tag: "confmod", Text: "Monitor '" + m + "' " + mon.notRun()})
		}
	}
	if f := conf.FailurePool; f != "" && d.pool(f) == nil {
		d.missing("pools/"+name, "failure pool", f)
	}
}

// watchedBy keeps the index from monitors to pools.
func (d *DataPlane) watchedBy(p *pool, monitors []string, on bool) {
	for _, m := range monitors {
		pools := d.monitoredBy[m]
		switch {
		case on && pools == nil:
			d.monitoredBy[m] = map[string]bool{p.name: true}
		case on:
			pools[p.name] = true
		default:
			delete(pools, p.name)
			if len(pools) == 0 {
				delete(d.monitoredBy, m)
			}
		}
	}
}

func (d *DataPlane) deletePool(p *pool) {
	d.pools.Delete(p.name)
	d.watchedBy(p, p.conf.Load().Monitors, false)
	d.uses.failover(p.name, "")
	p.close(true)
	if d.uses.pools[p.name] > 0 {
		d.missing("pools/"+p.name, "pool", p.name)
	}
}

// missing tells of a reference to something that does not exist.
func (d *DataPlane) missing(section, kind, name string) {
	d.event(Event{Level: "WARN", Section: section, Tag: "confmod", Text: "The " + kind + " '" + name + "' is used but does not exist: create it"})
}

// Close ends everything: listeners, connections, monitors. It returns when all
// has ended. What is under way is cut off.
func (d *DataPlane) Close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return
	}
	d.closed = true
	d.cancel()
	for _, e := range d.endpoints {
		if e.socket != nil {
			e.socket.close()
		}
	}
	d.endDraining(func(*socket) bool { return true })
	waits := []<-chan struct{}{d.dials.close()}
	for g := range d.generations {
		g.close()
		waits = append(waits, g.clients.close())
	}
	d.mu.Unlock()
	d.pools.Range(func(_, p any) bool {
		p.(*pool).close(false)
		return true
	})
	waits = append(waits, d.tasks.close())
	for _, ended := range waits {
		<-ended
	}
}
