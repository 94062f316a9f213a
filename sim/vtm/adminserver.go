package vtm

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"

	"vtm-ingress/sim/vtm/admin"
)

// DefaultAdminPort is where a real traffic manager has its admin pages.
const DefaultAdminPort = 9090

// maxAdminHeader bounds the header of a request for a page, in bytes.
const maxAdminHeader = 16 << 10

// adminServer serves the admin pages of one traffic manager.
type adminServer struct {
	listener  *cuttableListener
	server    *http.Server
	stop      context.CancelFunc // ends the context of all requests
	serving   sync.WaitGroup     // the server's goroutine, and one for each connection
	admission admission
}

// serveAdmin starts the admin pages, when the configuration is there.
func (t *TrafficManager) serveAdmin() (*adminServer, error) {
	if t.certificate == nil {
		return nil, errors.New("the admin pages need TLS: leave PlainHTTP or AdminPort away")
	}
	pages, err := admin.New(admin.Options{
		View: newAdminView(t), Now: t.o.World.Clock().Now, Random: t.o.World.Rand("vtm/" + t.o.Name + "/admin"), Log: t.o.Log,
	})
	if err != nil {
		return nil, err
	}
	at := net.JoinHostPort(t.o.Address, strconv.Itoa(max(t.o.AdminPort, 0))) // AnyPort is 0 here
	l, err := t.o.World.Listen("vtm/"+t.o.Name+"/admin", "tcp", at)
	if err != nil {
		return nil, fmt.Errorf("the admin pages of traffic manager %s cannot listen on %s: %w", t.o.Name, at, err)
	}
	if t.gate != nil {
		l = gatedListener{l, t.gate, gateREST}
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &adminServer{
		listener: &cuttableListener{Listener: l, refuse: func() bool { return false }, now: t.o.World.Clock().Now, open: make(map[*cuttableConn]struct{})},
		stop:     stop,
	}
	s.server = &http.Server{
		Handler:           pages,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxAdminHeader,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1 only, as REST
		ErrorLog:     slog.NewLogLogger(t.o.Log.Handler(), slog.LevelDebug),
		BaseContext:  func(net.Listener) context.Context { return ctx },
		ConnState: func(c net.Conn, state http.ConnState) {
			s.admission.changed(c, state)
			switch state {
			case http.StateNew:
				s.serving.Add(1)
			case http.StateClosed:
				s.serving.Done()
			}
		},
	}
	secure := tls.NewListener(s.listener, &tls.Config{
		Certificates: []tls.Certificate{*t.certificate}, MinVersion: tls.VersionTLS12, Time: t.o.World.Clock().Now,
	})
	s.serving.Go(func() { _ = s.server.Serve(secure) }) // ends with close
	return s, nil
}

func (s *adminServer) close() {
	if s == nil {
		return
	}
	s.stop()
	_ = s.server.Close()
	s.listener.cut() // a connection that was accepted while the server closed
	s.serving.Wait()
}

// AdminAddress is "host:port" of the admin pages; "" without Options.AdminPort.
func (t *TrafficManager) AdminAddress() string {
	if t.admin == nil {
		return ""
	}
	return t.admin.listener.Addr().String()
}
