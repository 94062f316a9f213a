package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/internal/outside"
)

// Server is a running certificate authority.
type Server struct {
	directory string
	trust     []byte
	roots     func() []byte

	server *http.Server
	ended  sync.WaitGroup
	fault  atomic.Pointer[string]
}

// The faults of a Server.
const (
	Down    = "down"    // connections end without an answer
	Garbage = "garbage" // HTML with status 200
)

// Fault makes all requests fail, until it is called with "".
func (s *Server) Fault(fault string) { s.fault.Store(&fault) }

// failing is handler with the faults.
func (s *Server) failing(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := s.fault.Load()
		switch {
		case fault == nil || *fault == "":
			handler.ServeHTTP(w, r)
		case *fault == Garbage:
			garbage(w)
		default:
			panic(http.ErrAbortHandler)
		}
	})
}

// garbage is what somebody in between may answer.
func garbage(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/html")
	_, _ = w.Write([]byte("<html><body>It works!</body></html>\n"))
}

// DirectoryURL is where an ACME client begins (RFC 8555, section 7.1.1).
func (s *Server) DirectoryURL() string { return s.directory }

// TrustPEM is the certificate of the directory's own HTTPS, which an ACME client
// must trust. It has nothing to do with the certificates that are issued.
func (s *Server) TrustPEM() []byte { return s.trust }

// RootsPEM are the roots of the certificates that are issued, for those who verify
// a host.
func (s *Server) RootsPEM() []byte { return s.roots() }

// Close ends all requests and waits for them.
func (s *Server) Close() {
	_ = s.server.Close()
	s.ended.Wait()
}

// serve starts HTTPS at address. path is that of the directory.
func serve(world outside.World, log *slog.Logger, actor, address, path string, handler http.Handler) (*Server, error) {
	listener, err := world.Listen(actor, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("ACME server at %s: %w", address, err)
	}
	address = listener.Addr().String()
	certificate, trust, err := ownCertificate(world, actor, address)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("ACME server at %s: certificate: %w", address, err)
	}
	s := &Server{directory: "https://" + address + path, trust: trust}
	s.server = &http.Server{
		Handler:           s.failing(handler),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// HTTP/1.1 alone: one request at a time on a connection, in an order that repeats.
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	secure := tls.NewListener(listener, &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, Time: world.Clock().Now,
	})
	connections := &counted{wait: &s.ended}
	s.server.ConnState = connections.state
	s.ended.Go(func() {
		if err := s.server.Serve(secure); !errors.Is(err, http.ErrServerClosed) {
			log.Error("ACME server ended", "error", err)
		}
	})
	return s, nil
}

// counted makes a server's end wait for the goroutines of its connections.
type counted struct{ wait *sync.WaitGroup }

func (c *counted) state(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew: // by the goroutine that accepts
		c.wait.Add(1)
	case http.StateClosed, http.StateHijacked:
		c.wait.Done()
	}
}

// ownCertificate is that of an HTTPS server at address.
func ownCertificate(world outside.World, actor, address string) (tls.Certificate, []byte, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	key, err := outside.NewKey(world.Rand(actor + "/https"))
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := world.Clock().Now()
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "ACME server of the sandbox"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true, // so that a client can name it as its CA file
		DNSNames:              []string{"localhost"},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = append(template.DNSNames, host)
	}
	der, err := x509.CreateCertificate(nil, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, toPEM(der), nil
}

func toPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// deadline bounds what the server itself does over the network for one request.
func deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 15*time.Second)
}
