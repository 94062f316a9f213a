package dns

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"vtm-ingress/internal/outside"
)

// ttl of every answer, in seconds: names of a sandbox come and go.
const ttl = 1

// Options of a server.
type Options struct {
	World outside.World
	Log   *slog.Logger
	// Address it listens on, as "127.3.0.2:53".
	Address string
	Zone    *Zone
	// Map gives the address of this machine that stands for one of the zone; nil:
	// itself.
	Map func(netip.Addr) netip.Addr
	// Keys, if any, are those of which one must sign dynamic updates (TSIG, RFC 8945):
	// base64, by name with a dot at its end.
	Keys map[string]string
}

// Server is a running DNS server.
type Server struct {
	o       Options
	address string
	servers []*dns.Server
	ended   sync.WaitGroup
}

// Start listens and answers until Close.
func Start(o Options) (*Server, error) {
	if o.Map == nil {
		o.Map = func(a netip.Addr) netip.Addr { return a }
	}
	listener, err := o.World.Listen("dns", "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("DNS server at %s: %w", o.Address, err)
	}
	s := &Server{o: o, address: listener.Addr().String()}
	packets, err := o.World.ListenPacket("dns", "udp", s.address)
	if err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("DNS server at %s, UDP: %w", s.address, err)
	}
	s.serve(&dns.Server{Listener: listener})
	s.serve(&dns.Server{PacketConn: packets})
	return s, nil
}

func (s *Server) serve(server *dns.Server) {
	server.Handler = dns.HandlerFunc(s.answer)
	server.TsigSecret = s.o.Keys
	server.ReadTimeout, server.WriteTimeout = 5*time.Second, 5*time.Second
	// By default it refuses dynamic updates before the handler sees them.
	server.MsgAcceptFunc = func(h dns.Header) dns.MsgAcceptAction {
		if opcode := int(h.Bits>>11) & 0xf; opcode == dns.OpcodeUpdate && h.Bits>>15 == 0 {
			return dns.MsgAccept
		}
		return dns.DefaultMsgAcceptFunc(h)
	}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	failed := make(chan struct{})
	s.ended.Go(func() {
		defer close(failed)
		if err := server.ActivateAndServe(); err != nil {
			s.o.Log.Debug("DNS server ended", "error", err)
		}
	})
	select { // a server that has not begun can't be shut down
	case <-started:
	case <-failed:
	}
	s.servers = append(s.servers, server)
}

// Address is where it listens, over TCP and UDP.
func (s *Server) Address() string { return s.address }

// Close ends it and waits.
func (s *Server) Close() {
	for _, server := range s.servers {
		_ = server.Shutdown()
	}
	s.ended.Wait()
}

func (s *Server) answer(w dns.ResponseWriter, request *dns.Msg) {
	reply := new(dns.Msg)
	switch {
	case request.Opcode == dns.OpcodeUpdate:
		reply.SetReply(request)
		signature := request.IsTsig()
		if len(s.o.Keys) > 0 && (signature == nil || w.TsigStatus() != nil) {
			reply.Rcode = dns.RcodeNotAuth
			break
		}
		reply.Rcode = s.update(request.Ns)
		if signature != nil {
			reply.SetTsig(signature.Hdr.Name, signature.Algorithm, 300, s.o.World.Clock().Now().Unix())
		}
	case len(request.Question) != 1:
		reply.SetRcode(request, dns.RcodeFormatError)
	default:
		reply.SetReply(request)
		reply.Authoritative = true
		s.question(reply, request.Question[0])
	}
	if err := w.WriteMsg(reply); err != nil {
		s.o.Log.Debug("DNS answer", "error", err)
	}
}

func (s *Server) question(reply *dns.Msg, q dns.Question) {
	header := func(kind uint16) dns.RR_Header {
		return dns.RR_Header{Name: q.Name, Rrtype: kind, Class: dns.ClassINET, Ttl: ttl}
	}
	addresses := s.o.Zone.Addresses(q.Name)
	texts := s.o.Zone.Text(q.Name)
	apex := isApex(q.Name)
	if len(addresses) == 0 && len(texts) == 0 && !apex {
		reply.Rcode = dns.RcodeNameError
	}
	for _, a := range addresses {
		a = s.o.Map(a)
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header(dns.TypeA), A: net.IP(a.AsSlice())})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header(dns.TypeAAAA), AAAA: net.IP(a.AsSlice())})
		}
	}
	if q.Qtype == dns.TypeTXT {
		for _, text := range texts {
			reply.Answer = append(reply.Answer, &dns.TXT{Hdr: header(dns.TypeTXT), Txt: pieces(text)})
		}
	}
	if apex && q.Qtype == dns.TypeSOA {
		reply.Answer = append(reply.Answer, startOfAuthority(q.Name))
	}
	if len(reply.Answer) == 0 {
		reply.Ns = append(reply.Ns, startOfAuthority(apexOf(q.Name)))
	}
}

// update carries out a dynamic update: TXT records only, as DNS-01 needs (RFC 8555
// section 8.4).
func (s *Server) update(changes []dns.RR) (rcode int) {
	for _, change := range changes {
		h := change.Header()
		text, isText := change.(*dns.TXT)
		if h.Rrtype != dns.TypeTXT && h.Class != dns.ClassANY {
			return dns.RcodeRefused
		}
		switch {
		case h.Class == dns.ClassANY: // delete all of that name, RFC 2136 section 2.5.2
			s.o.Zone.RemoveText(h.Name, "")
		case h.Class == dns.ClassNONE && isText: // delete one, section 2.5.4
			s.o.Zone.RemoveText(h.Name, strings.Join(text.Txt, ""))
		case h.Class == dns.ClassINET && isText:
			s.o.Zone.AddText(h.Name, strings.Join(text.Txt, ""))
		default:
			return dns.RcodeFormatError
		}
	}
	return dns.RcodeSuccess
}

// isApex: each name of two labels is a zone of its own, as a registered domain is.
func isApex(name string) bool { return dns.CountLabel(name) == 2 }

func apexOf(name string) string {
	labels := dns.SplitDomainName(name)
	if len(labels) > 2 {
		labels = labels[len(labels)-2:]
	}
	return dns.Fqdn(strings.Join(labels, "."))
}

func startOfAuthority(zone string) *dns.SOA {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.sandbox.invalid.", Mbox: "hostmaster.sandbox.invalid.",
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}

// pieces cuts a text into character strings of at most 255 bytes (RFC 1035 section
// 3.3.14).
func pieces(text string) []string {
	var out []string
	for len(text) > 255 {
		out, text = append(out, text[:255]), text[255:]
	}
	return append(out, text)
}
