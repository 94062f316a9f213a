package testenv

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"vtm-ingress/sim/dns"
)

func (s *system) ProveWildcards(provider string) error {
	authority := s.sandbox.Certificates
	s.Set("acme_dns_provider", provider)
	s.Set("acme_dns_resolvers", authority.DNSAddress())
	if provider == "rfc2136" {
		s.Set("acme_dns_server", authority.DNSAddress())
		return nil
	}
	listener, err := s.around.World.Listen("recorder", "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: dns.Recorder(authority.Names), ReadHeaderTimeout: 10 * time.Second}
	var ended sync.WaitGroup
	ended.Go(func() { _ = server.Serve(listener) }) // Close ends it
	s.besides.stop = append(s.besides.stop, func() { _ = server.Close(); ended.Wait() })
	if provider == "httpreq" {
		s.Set("acme_dns_endpoint", "http://"+listener.Addr().String()+"/acme")
		return nil
	}
	text, err := dns.Program(listener.Addr().String())
	if err != nil {
		return err
	}
	folder, err := os.MkdirTemp("", "vtm-ingress-")
	if err != nil {
		return err
	}
	s.besides.stop = append(s.besides.stop, func() { _ = os.RemoveAll(folder) })
	program := filepath.Join(folder, "dns.sh")
	s.Set("acme_dns_program", program)
	return os.WriteFile(program, []byte(text), 0o700)
}
