package vtm

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"vtm-ingress/sim/dataplane"
)

// restListeners are the sockets of the REST API. They are where the program was told
// at first, and move when rest_api of the traffic manager's own entry in
// traffic_managers says so.
type restListeners struct {
	home string // "host:port" that the program was told, with the port that it got
	port string // of home

	mu      sync.Mutex // guards all below; held while sockets open and close, which does not wait
	open    []*cuttableListener
	serve   func(net.Listener) // has connections served; nil until the server is there
	problem string             // why they are not where the configuration says; "" if they are
	closed  bool
}

// listenREST opens a socket of the REST API.
func (t *TrafficManager) listenREST(address string) (*cuttableListener, error) {
	l, err := t.o.World.Listen("vtm/"+t.o.Name+"/rest", "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("the REST API cannot listen on %s: %w", address, err)
	}
	if t.gate != nil {
		l = gatedListener{l, t.gate, gateREST}
	}
	return &cuttableListener{Listener: l, refuse: t.refuses, now: t.o.World.Clock().Now, open: make(map[*cuttableConn]struct{})}, nil
}

// listenHome opens the socket that the program was told.
func (t *TrafficManager) listenHome() error {
	port := t.o.RESTPort // after a stop the one it had before
	switch port {
	case 0:
		port = 9070
	case AnyPort:
		port = 0
	}
	l, err := t.listenREST(net.JoinHostPort(t.o.Address, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	t.sockets.home = l.Addr().String()
	_, t.sockets.port, _ = net.SplitHostPort(t.sockets.home)
	t.sockets.open = []*cuttableListener{l}
	return nil
}

// restAddresses are where an entry of traffic_managers puts the REST API. The port
// of the schema's default stands for the one that the program was told, so that
// whoever writes back what he read moves nothing; so do no addresses and "*".
func (t *TrafficManager) restAddresses(entry *resource) ([]string, error) {
	port := t.sockets.port
	if n := entry.number("rest_api", "port"); n != 9070 {
		port = strconv.Itoa(n)
	}
	bound := entry.list("rest_api", "bind_ips")
	if len(bound) == 0 || slices.Contains(bound, "*") {
		bound = []string{t.o.Address}
	}
	var list []string
	for _, ip := range bound {
		a, err := netip.ParseAddr(strings.TrimSpace(ip))
		if err != nil {
			return nil, fmt.Errorf("the REST API cannot listen on %s: that is no IP address", strconv.Quote(ip))
		}
		ip = a.String()
		switch {
		case t.elsewhere(a):
			return nil, fmt.Errorf("the REST API cannot listen on %s: that is another traffic manager's address", ip)
		case a.IsUnspecified():
			ip = t.o.Address // all of this machine's: it has one
		case t.o.AddressMap != nil && ip != t.o.Address:
			ip = t.o.AddressMap.Map(a).String()
		}
		if at := net.JoinHostPort(ip, port); !slices.Contains(list, at) {
			list = append(list, at)
		}
	}
	return list, nil
}

// placeREST has the REST API listen where its entry says. New sockets open before
// old ones close, connections that are open get the answer to their request, and
// if one of the sockets cannot be opened all stays as it was.
func (t *TrafficManager) placeREST(entry *resource) {
	rest := &t.sockets
	rest.mu.Lock()
	addresses, err := t.restAddresses(entry)
	var opened, kept, old []*cuttableListener
	moved := false
	if err == nil && !rest.closed {
		opened, kept, old, err = t.openREST(addresses)
	}
	if err == nil && !rest.closed {
		moved = len(opened)+len(old) > 0
		rest.open = kept
		for _, l := range old {
			_ = l.Close()
		}
		for _, l := range opened {
			if rest.serve != nil {
				rest.serve(l)
			}
		}
	}
	before := rest.problem
	if rest.problem = ""; err != nil {
		rest.problem = "Traffic manager '" + t.o.Name + "': " + err.Error()
	}
	problem := rest.problem
	rest.mu.Unlock()
	switch {
	case problem != "" && problem != before:
		t.logEvent(dataplane.Event{Level: "SERIOUS", Section: "general", Tag: "restlistenfail", Text: problem})
	case moved:
		t.logEvent(dataplane.Event{Level: "INFO", Section: "general", Tag: "restlisten", Text: "The REST API listens on " + strings.Join(addresses, ", ")})
	}
}

// openREST opens the sockets that are missing. kept are those that shall be open,
// in the order of addresses; old are those that shall close.
func (t *TrafficManager) openREST(addresses []string) (opened, kept, old []*cuttableListener, err error) {
	for _, address := range addresses {
		at := slices.IndexFunc(t.sockets.open, func(l *cuttableListener) bool { return l.Addr().String() == address })
		if at >= 0 {
			kept = append(kept, t.sockets.open[at])
			continue
		}
		var l *cuttableListener
		if l, err = t.listenREST(address); err != nil {
			for _, l := range opened {
				_ = l.Close()
			}
			return nil, nil, nil, err
		}
		opened, kept = append(opened, l), append(kept, l)
	}
	for _, l := range t.sockets.open {
		if !slices.Contains(kept, l) {
			old = append(old, l)
		}
	}
	return opened, kept, old, nil
}

// begin has the connections of all sockets served, those that are opened later too.
func (rest *restListeners) begin(serve func(net.Listener)) {
	rest.mu.Lock()
	defer rest.mu.Unlock()
	rest.serve = serve
	for _, l := range rest.open {
		serve(l)
	}
}

// left tells whether a connection's socket is no longer one of the REST API's, so
// that the connection shall end with its answer.
func (rest *restListeners) left(local net.Addr) bool {
	rest.mu.Lock()
	defer rest.mu.Unlock()
	return local != nil && !slices.ContainsFunc(rest.open, func(l *cuttableListener) bool { return l.Addr().String() == local.String() })
}

// cut ends all open connections of the present sockets.
func (rest *restListeners) cut() {
	rest.mu.Lock()
	open := slices.Clone(rest.open)
	rest.mu.Unlock()
	for _, l := range open {
		l.cut()
	}
}

// end closes the sockets; none is opened any more.
func (rest *restListeners) end() {
	rest.mu.Lock()
	defer rest.mu.Unlock()
	rest.closed = true
	for _, l := range rest.open {
		_ = l.Close()
	}
}

// address is "host:port" of the first socket.
func (rest *restListeners) address() string {
	rest.mu.Lock()
	defer rest.mu.Unlock()
	return rest.open[0].Addr().String()
}

// wrong is why the REST API is not where the configuration says; "" if it is.
func (rest *restListeners) wrong() string {
	rest.mu.Lock()
	defer rest.mu.Unlock()
	return rest.problem
}
