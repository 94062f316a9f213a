package node

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// echo answers each request with what it was, as JSON (echoAnswer), on every port of
// the container; on the port given by --tls-port over TLS.
//
// The request may ask for more: ?status=503 (or the path /status/503), ?delay=200ms, ?body=1000 (that many
// bytes instead of JSON), ?header=Name:value (in the answer; several times). GET /ready answers 200 or 503, as PUT /ready?value=false
// has set it; it begins with 200.
//
// After the stop signal it goes on for --drain (0 s), with "Connection: close" on
// each answer, then finishes what it has begun.
type echo struct{}

// echoAnswer is the body of an answer.
type echoAnswer struct {
	Pod           string      `json:"pod"`
	Namespace     string      `json:"namespace"`
	Node          string      `json:"node"`
	PodIP         string      `json:"podIP"`
	Method        string      `json:"method"`
	Host          string      `json:"host"`
	Path          string      `json:"path"` // as sent
	Query         string      `json:"query"`
	Headers       http.Header `json:"headers"`
	RemoteAddress string      `json:"remoteAddress"`
	TLS           bool        `json:"tls"`
}

// echoBodyLimit bounds what ?body= may ask for, in bytes.
const echoBodyLimit = 1 << 30

// echoServer is one running echo.
type echoServer struct {
	c        *Container
	notReady atomic.Bool
	stopping atomic.Bool

	mu      sync.Mutex
	active  map[net.Conn]bool // with a request whose answer is not all sent
	drained chan struct{}     // closed once waited for and nothing is active; nil before
}

// connState keeps account of active connections. A handler's return is not enough:
// the end of its answer is sent after that.
func (s *echoServer) connState(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateActive:
		s.active[conn] = true
	case http.StateIdle, http.StateHijacked, http.StateClosed:
		delete(s.active, conn)
	}
	if s.drained != nil && len(s.active) == 0 {
		close(s.drained)
		s.drained = nil
	}
}

// whenDrained is closed when no request is in flight any more.
func (s *echoServer) whenDrained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(chan struct{})
	if len(s.active) == 0 {
		close(done)
	} else {
		s.drained = done
	}
	return done
}

func (echo) Run(ctx context.Context, c *Container) int {
	flags := flag.NewFlagSet("echo", flag.ContinueOnError)
	flags.SetOutput(c.Output)
	drain := flags.Duration("drain", 0, "how long to go on after the stop signal")
	tlsPort := flags.Int("tls-port", 0, "a port of the container that speaks TLS")
	if err := flags.Parse(c.Args); err != nil {
		return 2
	}
	s := &echoServer{c: c, active: map[net.Conn]bool{}}
	server := &http.Server{Handler: s, ConnState: s.connState, ReadHeaderTimeout: time.Minute, BaseContext: func(net.Listener) context.Context { return ctx },
		// Whoever only tries to connect is no news.
		ErrorLog: log.New(io.Discard, "", 0)}
	var serving sync.WaitGroup
	defer serving.Wait()
	defer server.Close()
	var listeners []net.Listener
	for _, port := range c.Ports {
		l, err := c.Listen(port)
		if err == nil && port == *tlsPort {
			l, err = overTLS(c, l)
		}
		if err != nil {
			fmt.Fprintf(c.Output, "port %d: %v\n", port, err)
			return 1
		}
		fmt.Fprintf(c.Output, "listening on port %d\n", port)
		listeners = append(listeners, l)
		serving.Go(func() { server.Serve(l) })
	}
	select {
	case <-ctx.Done():
		return 137
	case <-c.Stop:
	}
	fmt.Fprintf(c.Output, "stopping, draining for %s\n", *drain)
	s.stopping.Store(true)
	if *drain > 0 {
		timer := c.World.Clock().NewTimer(*drain)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return 137
		case <-timer.C():
		}
	}
	for _, l := range listeners {
		l.Close()
	}
	select {
	case <-ctx.Done():
		return 137
	case <-s.whenDrained():
		return 0
	}
}

func (s *echoServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.stopping.Load() {
		w.Header().Set("Connection", "close")
	}
	if r.URL.Path == "/ready" {
		s.ready(w, r)
		return
	}
	query := r.URL.Query()
	if text := query.Get("delay"); text != "" {
		delay, err := time.ParseDuration(text)
		if err != nil {
			http.Error(w, "delay: "+err.Error(), http.StatusBadRequest)
			return
		}
		timer := s.c.World.Clock().NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-r.Context().Done():
			return
		}
	}
	status := http.StatusOK
	text, inPath := strings.CutPrefix(r.URL.Path, "/status/")
	if !inPath {
		text = query.Get("status")
	}
	if text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 200 || n > 999 {
			http.Error(w, "status: a number from 200 to 999", http.StatusBadRequest)
			return
		}
		status = n
	}
	for _, text := range query["header"] {
		name, value, ok := strings.Cut(text, ":")
		if !ok || name == "" {
			http.Error(w, "header: a name, a colon and a value", http.StatusBadRequest)
			return
		}
		w.Header().Add(name, strings.TrimSpace(value))
	}
	if text := query.Get("body"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || n > echoBodyLimit {
			http.Error(w, fmt.Sprintf("body: a number from 0 to %d", echoBodyLimit), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", text)
		w.WriteHeader(status)
		chunk := bytes.Repeat([]byte("x"), 32<<10)
		for ; n > 0; n -= int64(len(chunk)) {
			if _, err := w.Write(chunk[:min(n, int64(len(chunk)))]); err != nil {
				return
			}
		}
		return
	}
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.Encode(echoAnswer{
		Pod: s.c.Pod, Namespace: s.c.Namespace, Node: s.c.Node, PodIP: s.c.PodIPs[0].String(),
		Method: r.Method, Host: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery,
		Headers: r.Header, RemoteAddress: r.RemoteAddr, TLS: r.TLS != nil,
	})
}

func (s *echoServer) ready(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPut {
		value, err := strconv.ParseBool(r.URL.Query().Get("value"))
		if err != nil {
			http.Error(w, "value: true or false", http.StatusBadRequest)
			return
		}
		s.notReady.Store(!value)
	}
	if s.notReady.Load() && r.Method != http.MethodPut {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
		return
	}
	io.WriteString(w, "ok\n")
}

// overTLS wraps a listener with a self-signed certificate for the pod's addresses.
func overTLS(c *Container, l net.Listener) (net.Listener, error) {
	random := c.World.Rand("node/echo/" + c.Pod)
	key, err := ecdsa.GenerateKey(elliptic.P256(), random)
	if err != nil {
		return nil, err
	}
	now := c.World.Clock().Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: c.Pod},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0),
		DNSNames: []string{c.Pod, "localhost"},
	}
	for _, ip := range c.PodIPs {
		template.IPAddresses = append(template.IPAddresses, ip.AsSlice())
	}
	der, err := x509.CreateCertificate(random, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"http/1.1"}}), nil
}
