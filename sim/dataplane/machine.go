package dataplane

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"vtm-ingress/sim/trafficscript"
)

// ruleObjects are what rules ask for by name, and the counters that they keep.
type ruleObjects struct {
	machine atomic.Pointer[trafficscript.Machine]
	tables  atomic.Pointer[trafficscript.Tables] // nil: none

	rates     sync.Map // name -> *rateClass
	levels    sync.Map // name -> *levelClass
	bandwidth sync.Map // name -> *BandwidthClass
	auth      sync.Map // name -> *Authenticator

	counters trafficscript.Counters
	fetcher  *fetcher

	// Under DataPlane.mu.

	locations map[string]*Location
	managers  map[string]*TrafficManager
}

// Counters are the counters of counter.increment and counter64.increment.
func (d *DataPlane) Counters() *trafficscript.Counters { return &d.objects.counters }

// applyObjects puts changes of what rules ask for into effect. The caller holds
// d.mu.
func (d *DataPlane) applyObjects(u *Update) {
	o := &d.objects
	update(&o.rates, u.Rates, func(old *rateClass, conf *Rate) *rateClass { return old.with(d.options.World.Clock(), conf) })
	update(&o.levels, u.ServiceLevels, func(old *levelClass, conf *ServiceLevel) *levelClass { return old.with(conf) })
	update(&o.bandwidth, u.BandwidthClasses, func(_, conf *BandwidthClass) *BandwidthClass { return conf })
	update(&o.auth, u.Authenticators, func(_, conf *Authenticator) *Authenticator { return conf })
	for _, name := range []string{trafficscript.PlacesFile, trafficscript.HostsFile, trafficscript.UsersFile} {
		if _, changed := u.ExtraFiles[name]; changed {
			tables, err := trafficscript.ReadTables(d.extraFile)
			if err != nil {
				d.event(Event{Level: "WARN", Section: "rules", Tag: "confmod", Text: err.Error()})
			}
			o.tables.Store(tables)
			break
		}
	}
	if o.machine.Load() != nil && len(u.Locations)+len(u.TrafficManagers) == 0 {
		return
	}
	keep(&o.locations, u.Locations)
	keep(&o.managers, u.TrafficManagers)
	o.machine.Store(d.newMachine())
}

// update changes the entries of a map by name; make gets the entry as it was, nil
// if there was none.
func update[C, T any](m *sync.Map, changes map[string]*C, make func(old *T, conf *C) *T) {
	for name, conf := range changes {
		if conf == nil {
			m.Delete(name)
			continue
		}
		m.Store(name, make(find[T](m, name), conf))
	}
}

func find[T any](m *sync.Map, name string) *T {
	v, _ := m.Load(name)
	found, _ := v.(*T)
	return found
}

func keep[C any](m *map[string]*C, changes map[string]*C) {
	for name, conf := range changes {
		if *m == nil {
			*m = make(map[string]*C)
		}
		if conf == nil {
			delete(*m, name)
		} else {
			(*m)[name] = conf
		}
	}
}

// processID is sys.getpid: always the same, so that runs repeat.
const processID = 4711

// newMachine makes what rules see of the traffic manager. The caller holds d.mu.
func (d *DataPlane) newMachine() *trafficscript.Machine {
	o := &d.objects
	m := &trafficscript.Machine{
		HostName: d.options.Name, ProcessID: processID, RESTPort: 9070,
		Environment: map[string]string{"ZEUSHOME": "/usr/local/zeus"},
		Counters:    &o.counters,
		File:        d.extraFile,
		ServiceLevel: func(class string) (trafficscript.ServiceLevel, bool) {
			c := find[levelClass](&o.levels, class)
			if c == nil {
				return trafficscript.ServiceLevel{}, false
			}
			return c.state(d.now()), true
		},
		Place:          func(a netip.Addr) (trafficscript.Place, bool) { return o.tables.Load().Place(a) },
		Authenticate:   d.authenticate,
		BandwidthClass: func(class string) bool { return find[BandwidthClass](&o.bandwidth, class) != nil },
		PoolHasRoom:    d.poolHasRoom,
		Dial:           d.dialForRule,
		Rates:          rateClasses{&o.rates},
		Resolver:       resolver{o},
		Fetcher:        o.fetcher,
	}
	if d.own.IsValid() && !d.own.IsUnspecified() {
		m.Interfaces = []trafficscript.Interface{{
			Name: "eth0", MAC: "02:00:00:00:00:01", Address: netip.PrefixFrom(d.own, d.own.BitLen()), Up: true, Loopback: d.own.IsLoopback(),
		}}
	}
	if tm := o.managers[d.options.Name]; tm != nil {
		m.Location = tm.Location
		if l := o.locations[tm.Location]; l != nil {
			m.Coordinates = trafficscript.Coordinates{Latitude: l.Latitude, Longitude: l.Longitude, Known: true}
		}
	}
	return m
}

// poolHasRoom tells whether a node of the pool has fewer requests than it may.
func (d *DataPlane) poolHasRoom(name string) (room, known bool) {
	p := d.pool(name)
	if p == nil {
		return false, false
	}
	free := below(p.conf.Load().limit())
	for _, tier := range *p.usable.Load() {
		if slices.ContainsFunc(tier, free) {
			return true, true
		}
	}
	return false, true
}

// extraFile returns an extra file as rules see it.
func (d *DataPlane) extraFile(name string) (trafficscript.File, bool) {
	f := find[File](&d.files, name)
	if f == nil {
		return trafficscript.File{}, false
	}
	return trafficscript.File{Content: f.Content, Modified: f.Modified}, true
}

// authenticate answers for an authenticator of the catalog from the user's table.
func (d *DataPlane) authenticate(ctx context.Context, authenticator, user string, password *string) map[string]string {
	if find[Authenticator](&d.objects.auth, authenticator) == nil {
		return map[string]string{"Error": "authenticator '" + authenticator + "' does not exist"}
	}
	return d.objects.tables.Load().Authenticate(ctx, authenticator, user, password)
}

// dialForRule opens a connection for tcp.connect or udp.sendTo.
func (d *DataPlane) dialForRule(ctx context.Context, network, address string) (net.Conn, error) {
	to, err := d.options.AddressMap.HostPort(address)
	if err != nil {
		return nil, err
	}
	if !d.dials.enter() {
		return nil, errClosed
	}
	defer d.dials.leave()
	// Named after the client too: its rules run one at a time.
	from := ""
	if c, ok := ctx.Value(clientKey{}).(*client); ok {
		from = c.RemoteAddr().String()
	}
	return d.options.World.Dial(ctx, d.actor("rules/"+from+"/"+address), network, to)
}

// resolver answers from the user's table, and knows addresses as they are.
type resolver struct{ o *ruleObjects }

func (r resolver) LookupHost(ctx context.Context, host string, ipv6 bool) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() == ipv6 {
		return a, nil
	}
	return r.o.tables.Load().LookupHost(ctx, host, ipv6)
}

func (r resolver) LookupAddress(ctx context.Context, address netip.Addr) (string, error) {
	return r.o.tables.Load().LookupAddress(ctx, address)
}

// hostPort returns an address for a name of the user's table.
func (r resolver) hostPort(ctx context.Context, address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	for _, ipv6 := range []bool{false, true} {
		if a, err := r.LookupHost(ctx, host, ipv6); err == nil {
			return net.JoinHostPort(a.String(), port), nil
		}
	}
	return "", fmt.Errorf("the host '%s' is no address, and the extra file '%s' does not have it", host, trafficscript.HostsFile)
}

// scriptLimits returns the limits of one run.
func (g *Global) scriptLimits() trafficscript.Limits {
	return trafficscript.Limits{
		Instructions: g.MaxInstructions, RegexSteps: g.Script.RegexMatchLimit, RegexWarnPercent: g.Script.RegexMatchWarnPercent,
		MemoryWarning: g.Script.MemoryWarning, TimeWarning: g.Script.ExecutionTimeWarning,
	}
}
