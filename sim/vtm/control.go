package vtm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"vtm-ingress/sim/control"
)

// controlServer is the control API at one member's address. It goes on while the
// member is stopped. Whoever reaches it needs no password: it listens on loopback
// addresses only, and answers no browser.
type controlServer struct {
	listener net.Listener
	server   *http.Server
	stop     context.CancelFunc
	serving  sync.WaitGroup
}

func (c *Cluster) serveControl(m *member) (*controlServer, error) {
	address, err := netip.ParseAddr(m.o.Address)
	if err != nil || !address.IsLoopback() {
		return nil, fmt.Errorf("the control API of traffic manager %s needs a loopback address, not %s: leave it away with --no-control", m.o.Name, m.o.Address)
	}
	port := c.o.ControlPort
	switch port {
	case 0:
		port = 9071
	case AnyPort:
		port = 0
	}
	at := net.JoinHostPort(m.o.Address, strconv.Itoa(port))
	l, err := c.o.World.Listen("vtm/"+m.o.Name+"/control", "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("the control API of traffic manager %s cannot listen on %s: %w", m.o.Name, at, err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &controlServer{listener: l, stop: stop}
	s.server = &http.Server{
		Handler:           c.controlHandler(),
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog:    slog.NewLogLogger(c.o.Log.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				s.serving.Add(1)
			case http.StateClosed:
				s.serving.Done()
			}
		},
	}
	s.serving.Go(func() { _ = s.server.Serve(l) }) // ends with close
	return s, nil
}

func (s *controlServer) address() string { return s.listener.Addr().String() }

func (s *controlServer) close() {
	s.stop()
	_ = s.server.Close()
	s.serving.Wait()
}

// controlHandler serves
//
//	GET    /                           members, address map and faults, as JSON
//	GET    /faults                     the faults that are set, as text
//	PUT    /faults                     replaces them; text as ParseFaults reads it
//	DELETE /faults                     heals everything
//	POST   /members                    a new member joins
//	DELETE /members/NAME               a member leaves
//	GET    /members/NAME/log           its event log, as text; with ?follow also what comes
//	POST   /members/NAME/reactivate    a recovered machine may host addresses
func (c *Cluster) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { c.showControl(w) })
	control.HandleFaults(mux, func() string { return FormatFaults(c.Faults()) }, func(text string) error {
		rules, err := ParseFaults(text)
		if err != nil {
			return err
		}
		return c.SetFaults(rules)
	})
	mux.HandleFunc("POST /members", func(w http.ResponseWriter, _ *http.Request) {
		if _, err := c.Join(); err != nil {
			control.Refuse(w, http.StatusConflict, err)
			return
		}
		c.showControl(w)
	})
	mux.HandleFunc("DELETE /members/{name}", func(w http.ResponseWriter, r *http.Request) {
		// Not by this request's goroutine, if it is its own control API that ends.
		name := r.PathValue("name")
		if m := c.member(name); m != nil && m.control != nil && m.control.address() == localAddress(r) {
			control.Refuse(w, http.StatusConflict, fmt.Errorf("ask another member to let %s leave", name))
			return
		}
		if err := c.Leave(name); err != nil {
			control.Refuse(w, http.StatusConflict, err)
			return
		}
		c.showControl(w)
	})
	mux.HandleFunc("GET /members/{name}/log", func(w http.ResponseWriter, r *http.Request) {
		tm := c.running(r.PathValue("name"))
		if tm == nil {
			control.Refuse(w, http.StatusNotFound, errors.New("no such member runs"))
			return
		}
		tm.showLog(w, r)
	})
	mux.HandleFunc("POST /members/{name}/reactivate", func(w http.ResponseWriter, r *http.Request) {
		tm := c.running(r.PathValue("name"))
		if tm == nil {
			control.Refuse(w, http.StatusNotFound, errors.New("no such member runs"))
			return
		}
		tm.Reactivate()
		w.WriteHeader(http.StatusNoContent)
	})
	return control.Local(mux)
}

func localAddress(r *http.Request) string {
	a, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if a == nil {
		return ""
	}
	return a.String()
}

// showLog sends the event log, and with the query follow each line as it comes,
// until the client goes or the traffic manager ends.
func (t *TrafficManager) showLog(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	response := http.NewResponseController(w)
	_ = response.SetReadDeadline(time.Time{}) // it would end the request
	seen := uint64(0)
	for {
		var events []Event
		events, seen = t.EventsSince(seen)
		for _, e := range events {
			if _, err := io.WriteString(w, e.String()+"\n"); err != nil {
				return
			}
		}
		if !r.URL.Query().Has("follow") || response.Flush() != nil || t.AwaitEvent(r.Context(), seen) != nil {
			return
		}
	}
}

// controlView is the answer to GET /.
type controlView struct {
	Time       time.Time     `json:"time"`
	Members    []MemberInfo  `json:"members"`
	AddressMap []mappedEntry `json:"address_map"`
	Faults     []string      `json:"faults"`
}

type mappedEntry struct {
	From  string            `json:"from"`
	To    string            `json:"to"`
	Ports map[uint16]uint16 `json:"ports,omitempty"`
}

func (c *Cluster) showControl(w http.ResponseWriter) {
	v := controlView{Time: c.o.World.Clock().Now().UTC(), Members: c.Info(), AddressMap: []mappedEntry{}, Faults: []string{}}
	for _, e := range c.o.AddressMap.Entries() {
		m := mappedEntry{From: e.From.String(), To: e.To.String()}
		for _, p := range e.Ports {
			if m.Ports == nil {
				m.Ports = make(map[uint16]uint16)
			}
			m.Ports[p.From] = p.To
		}
		v.AddressMap = append(v.AddressMap, m)
	}
	if text := strings.TrimSpace(FormatFaults(c.Faults())); text != "" {
		v.Faults = strings.Split(text, "\n")
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client may be gone
}
