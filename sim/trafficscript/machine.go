package trafficscript

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Machine is what rules see beyond their transaction: the traffic manager and
// what it can ask. One Machine may serve any number of transactions at the same
// time, so that its functions must allow that. What is nil or empty is not there,
// and the functions of the language say so as for any other missing thing.
type Machine struct {
	HostName    string            // full: "server1.example.com"
	ProcessID   int               // sys.getpid
	RESTPort    int               // sys.getRestApiPort
	Environment map[string]string // sys.getenv
	Interfaces  []Interface       // sys.getnetworkinterfaces
	Location    string            // geo.getLocation: where this traffic manager is
	Coordinates Coordinates       // geo.getLocationLonLat

	Counters *Counters // counter.increment, counter64.increment

	// File returns an extra file by its name, which has no folder.
	File func(name string) (File, bool)

	// ServiceLevel returns the state of a service level monitoring class.
	ServiceLevel func(class string) (ServiceLevel, bool)

	// Place returns where an address is.
	Place func(netip.Addr) (Place, bool)

	// Authenticate asks an authenticator about a user; a nil password is not
	// checked. The result has the fields OK and Error beside the user's own.
	Authenticate func(ctx context.Context, authenticator, user string, password *string) map[string]string

	// BandwidthClass tells whether there is a bandwidth class of this name.
	BandwidthClass func(class string) bool

	// PoolHasRoom tells whether a node of the pool would take one more connection
	// without a queue; known is false if there is no such pool.
	PoolHasRoom func(pool string) (room, known bool)

	// Dial opens connections for tcp.* and udp.*: network is "tcp" or "udp",
	// address "ip:port".
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	Rates    RateClasses
	Resolver Resolver
	Fetcher  Fetcher
}

// Interface is one address of a network interface.
type Interface struct {
	Name      string       // "eth0"
	MAC       string       // "02:00:00:00:00:01"
	Address   netip.Prefix // with the length of its network
	Broadcast netip.Addr   // invalid: none
	Up        bool
	Loopback  bool
}

// Coordinates are degrees, north and east positive. Known is false when there
// are none.
type Coordinates struct {
	Latitude, Longitude float64
	Known               bool
}

// Place is where an address is, as far as it is known.
type Place struct {
	Country, CountryCode string // "Germany", "DE"
	Region, RegionCode   string
	City                 string
	Coordinates          Coordinates
}

// File is an extra file.
type File struct {
	Content  string
	Modified time.Time
}

// ServiceLevel is the state of a service level monitoring class, in percent.
type ServiceLevel struct {
	Conforming float64 // of the requests
	Threshold  float64 // serious_threshold
}

// RateClasses limit how often something happens. A context makes a class of its
// own with the same limits; "" is the class itself.
type RateClasses interface {
	// Take counts one use now if the class allows it; known is false if there is
	// no such class.
	Take(class, context string) (taken, known bool)
	// Wait counts one use as soon as the class allows it. It returns an error
	// when ctx is done before.
	Wait(ctx context.Context, class, context string) (known bool, err error)
	// Backlog returns how many wait.
	Backlog(class, context string) int
}

// Resolver asks the name servers.
type Resolver interface {
	// LookupHost returns a host's address of one family.
	LookupHost(ctx context.Context, host string, ipv6 bool) (netip.Addr, error)
	// LookupAddress returns an address's host.
	LookupAddress(ctx context.Context, address netip.Addr) (string, error)
}

// Fetcher sends requests for http.request.*.
type Fetcher interface {
	// Fetch sends one request and returns the answer with its whole body, which
	// is at most max bytes long. Redirects are not followed.
	Fetch(ctx context.Context, f *Fetch, max int) (*Response, error)
}

// Fetch is a request by a rule. Its header lines frame nothing: no
// Content-Length and its kin.
type Fetch struct {
	Request
	URL          string   // http: or https:
	Certificates []string // http.request.ssl.get: PEM of the authorities; nil: none is asked
}

// machine is never nil.
func (r *run) machine() *Machine {
	if m := r.tx.Machine; m != nil {
		return m
	}
	return &Machine{}
}

// Counters are the numbered user counters, 1 to 10 of 32 bits and 1 to 10 of 64.
// They may be used from several goroutines; nil ones count nothing.
type Counters struct {
	mu      sync.Mutex
	counts  [maxCounter]uint32
	counts2 [maxCounter]uint64
}

const maxCounter = 10

// Value returns a counter of 32 bits; 0 for one that does not exist.
func (c *Counters) Value(number int) uint32 {
	if c == nil || number < 1 || number > maxCounter {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts[number-1]
}

// Value64 returns a counter of 64 bits; 0 for one that does not exist.
func (c *Counters) Value64(number int) uint64 {
	if c == nil || number < 1 || number > maxCounter {
		return 0
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts2[number-1]
}

// increment wraps around, as decrements do.
func (c *Counters) increment(number int, by int32, wide bool) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if wide {
		c.counts2[number-1] += uint64(int64(by))
	} else {
		c.counts[number-1] += uint32(by)
	}
}

// machineFunctions are sys.* of the machine, its extra files, its counters and
// custom events.
var machineFunctions = []function{
	fact("sys.hostname", func(r *run) value {
		host, _, _ := strings.Cut(r.machine().HostName, ".")
		return stringValue(host)
	}),
	fact("sys.domainname", func(r *run) value {
		_, domain, _ := strings.Cut(r.machine().HostName, ".")
		return stringValue(domain)
	}),
	fact("sys.getpid", func(r *run) value { return intValue(int64(r.machine().ProcessID)) }),
	fact("sys.getRestApiPort", func(r *run) value { return intValue(int64(r.machine().RESTPort)) }),
	fact("sys.isFIPS", func(*run) value { return intValue(0) }),
	fn("sys.getenv", 1, 1, func(r *run, a []value) value { return r.text(r.machine().Environment[r.toString(a[0])]) }),
	fn("sys.getnetworkinterfaces", 0, 1, networkInterfaces),

	fn("resource.exists", 1, 1, func(r *run, a []value) value {
		_, ok := r.file(a[0])
		return boolValue(ok)
	}),
	fn("resource.get", 1, 1, func(r *run, a []value) value {
		f, _ := r.file(a[0])
		return r.text(f.Content)
	}),
	fn("resource.getLines", 1, 1, func(r *run, a []value) value {
		f, _ := r.file(a[0])
		return r.lines(f.Content)
	}),
	fn("resource.getMD5", 1, 1, func(r *run, a []value) value {
		f, ok := r.file(a[0])
		if !ok || !r.work(len(f.Content)) {
			return value{}
		}
		return stringValue(md5Sum(f.Content))
	}),
	fn("resource.getMTime", 1, 1, func(r *run, a []value) value {
		f, ok := r.file(a[0])
		if !ok {
			return intValue(0)
		}
		return intValue(f.Modified.Unix())
	}),

	counterFunction("counter.increment", false),
	counterFunction("counter64.increment", true),
	fn("event.emit", 2, 2, func(r *run, a []value) value {
		name, message := r.toString(a[0]), r.toString(a[1])
		if name == "" || name != oneLine(name) || strings.Contains(name, "/") {
			r.warn("invalidemit", "'%s' is no name of a custom event: it cannot be empty, nor hold '/' or control codes", oneLine(firstBytes(name, 256)))
			return value{}
		}
		r.log(LevelInfo, "customevent", name+": "+message)
		return value{}
	}),
}

// file returns an extra file. Names with a folder have none.
func (r *run) file(v value) (File, bool) {
	name, find := r.toString(v), r.machine().File
	if find == nil || name == "" || strings.ContainsAny(name, "/\x00") {
		return File{}, false
	}
	f, ok := find(name)
	if !ok {
		return File{}, false
	}
	return f, true
}

func counterFunction(name string, wide bool) function {
	return fn(name, 1, 2, func(r *run, a []value) value {
		number, by := r.toInt(a[0]), r.intArg(a, 1, 1)
		switch {
		case number < 1 || number > maxCounter:
			r.misuse("%s: there is no counter %d: use 1 to %d", name, number, maxCounter)
		case by != int64(int32(by)):
			r.misuse("%s: %d has more than 32 bits", name, by)
		default:
			r.machine().Counters.increment(int(number), int32(by), wide)
		}
		return value{}
	})
}

// networkInterfaces gives an array of hashes.
func networkInterfaces(r *run, a []value) value {
	loopback, up := true, false
	if len(a) > 0 {
		h := r.toHash(a[0])
		if h == nil {
			return arrayValue(nil)
		}
		if v, ok := h.fields["include_lo"]; ok {
			loopback = v.truth()
		}
		up = h.fields["up"].truth()
	}
	var list []value
	for _, i := range r.machine().Interfaces {
		if i.Loopback && !loopback || up && !i.Up {
			continue
		}
		if !r.alloc(8 * valueSize) {
			break
		}
		h := &aggregate{}
		h.put("IfName", stringValue(i.Name))
		h.put("MacAddr", stringValue(i.MAC))
		h.put("IP", stringValue(i.Address.Addr().String()))
		h.put("netmask", stringValue(netmask(i.Address)))
		h.put("Bcast", value{})
		if i.Broadcast.IsValid() {
			h.put("Bcast", stringValue(i.Broadcast.String()))
		}
		h.put("pppdest", value{})
		h.put("up", boolValue(i.Up))
		list = append(list, aggregateValue(h))
	}
	return arrayValue(list)
}

// netmask gives "255.255.255.0".
func netmask(p netip.Prefix) string {
	mask := make([]byte, p.Addr().BitLen()/8)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	addr, ok := netip.AddrFromSlice(mask)
	if !ok {
		return ""
	}
	return addr.String()
}
