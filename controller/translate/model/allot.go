package model

import "vtm-ingress/internal/mutation"

// plainPort is the port that redirects begin at.
const plainPort = 80

// maxPatterns bounds how many patterns of one host stand on one listener: they
// can only be tried one after another, for each request to that host, so that
// without a bound one owner could make all requests slow.
const maxPatterns = 400

// Claim is one owner's wish for a place.
type Claim struct {
	Site Site
	Port uint16
	// Exclusive claims want the whole site, all its ports; others share it.
	Exclusive bool
	// Alone claims want the whole place: this port of the site.
	Alone bool
	// TLS claims want what comes in decrypted.
	TLS bool
	// Redirect claims want port 80 of the site to redirect to Port. Where Optional,
	// they do without if they can't have it.
	Redirect, Optional bool
	// Challenge claims want port 80 of the site to answer a certificate authority.
	Challenge bool
	Share     *Share
}

// Conflict is why a claim is refused.
type Conflict int

// The conflicts.
const (
	AddressTaken       Conflict = iota // one of the two wants the site for itself
	PortTaken                          // one of the two wants the place for itself
	TransportDiffers                   // one of the two decrypts, the other doesn't
	PortRedirected                     // port 80 is redirected by the other
	PortServed                         // port 80, to be redirected, is served by the other
	RedirectDiffers                    // port 80 is redirected to another port by the other
	CertificateDiffers                 // the other has another certificate for Host
	PortAnswers                        // port 80 answers a certificate authority for the other
	PortNeeded                         // port 80, to answer a certificate authority, is served by the other
	TooManyPatterns                    // Host has too many patterns, the other's among them
)

// Refusal says why a claim, or an optional redirect, can't be granted.
type Refusal struct {
	Why  Conflict
	By   Owner // the older owner that has what is wanted
	Host string
}

// Grant is what became of a claim.
type Grant struct {
	Refused *Refusal // nil: it is granted
	// Redirect: port 80 redirects for it. Lost: why not, if that was optional.
	Redirect bool
	Lost     *Refusal
}

// Allotment says who got what of one site: the older keeps what it has. A claim that is
// refused holds nothing, so that it refuses nobody. The zero value is a site that nobody
// claimed.
type Allotment struct {
	// Holder is the oldest owner that got something.
	Holder Owner
	// Redirecting is the oldest owner for whom port 80 redirects, to RedirectTo;
	// 0: it doesn't.
	Redirecting Owner
	RedirectTo  uint16
	// Answering is the oldest owner for whom port 80 answers a certificate authority;
	// none has no UID.
	Answering Owner

	taken     bool
	exclusive bool
	places    map[uint16]*holding
}

// holding is what is granted of one place.
type holding struct {
	first        Owner
	alone, tls   bool
	certificates map[string]certificate // by host
	patterns     map[Host]int
}

type certificate struct {
	name  string
	first Owner
}

// Grant grants the claim of one more owner, of a lower rank than all before it, as far as
// nothing of theirs speaks against it.
func (a *Allotment) Grant(c *Claim) (grant Grant) {
	refused := a.conflict(c)
	var lost *Refusal
	if c.Redirect {
		lost = a.redirectConflict(c)
	}
	if refused == nil && c.Challenge {
		if h := a.places[plainPort]; h != nil {
			refused = &Refusal{Why: PortNeeded, By: h.first}
		}
	}
	if refused == nil && !c.Optional {
		refused = lost
	}
	if refused != nil {
		return Grant{Refused: refused}
	}
	owner := c.Share.Owner
	if !a.taken {
		a.taken, a.exclusive, a.Holder = true, c.Exclusive, owner
	}
	h := a.places[c.Port]
	if h == nil {
		h = &holding{first: owner, alone: c.Alone, tls: c.TLS}
		if a.places == nil {
			a.places = map[uint16]*holding{}
		}
		a.places[c.Port] = h
	}
	for host, name := range c.Share.Certificates {
		if h.certificates == nil {
			h.certificates = map[string]certificate{}
		}
		if _, known := h.certificates[host]; !known {
			h.certificates[host] = certificate{name, owner}
		}
	}
	for host, n := range c.Share.Patterns {
		if h.patterns == nil {
			h.patterns = map[Host]int{}
		}
		h.patterns[host] += n
	}
	if c.Challenge && a.Answering.UID == "" {
		a.Answering = owner
	}
	switch {
	case !c.Redirect:
	case lost != nil:
		grant.Lost = lost
	default:
		grant.Redirect = true
		if a.RedirectTo == 0 {
			a.Redirecting, a.RedirectTo = owner, c.Port
		}
	}
	return grant
}

func (a *Allotment) conflict(c *Claim) *Refusal {
	if a.taken && !mutation.On(mutation.AddressShared) && (a.exclusive || c.Exclusive) {
		return &Refusal{Why: AddressTaken, By: a.Holder}
	}
	if c.Port == plainPort && a.RedirectTo != 0 && !mutation.On(mutation.PlainBesideRedirect) {
		return &Refusal{Why: PortRedirected, By: a.Redirecting}
	}
	if c.Port == plainPort && a.Answering.UID != "" {
		return &Refusal{Why: PortAnswers, By: a.Answering}
	}
	h := a.places[c.Port]
	if h == nil {
		h = &holding{first: c.Share.Owner, tls: c.TLS}
	} else if h.alone || c.Alone {
		return &Refusal{Why: PortTaken, By: h.first}
	}
	if h.tls != c.TLS && !mutation.On(mutation.TLSBesidePlain) {
		return &Refusal{Why: TransportDiffers, By: h.first}
	}
	var found *Refusal
	least := func(why Conflict, by Owner, host string) {
		if found == nil || host < found.Host {
			found = &Refusal{why, by, host}
		}
	}
	for host, name := range c.Share.Certificates {
		if other, ok := h.certificates[host]; ok && other.name != name && !mutation.On(mutation.CertificatesMixed) {
			least(CertificateDiffers, other.first, host)
		}
	}
	if found != nil {
		return found
	}
	for host, n := range c.Share.Patterns {
		if n+h.patterns[host] > maxPatterns {
			least(TooManyPatterns, h.first, string(host))
		}
	}
	return found
}

func (a *Allotment) redirectConflict(c *Claim) *Refusal {
	if h := a.places[plainPort]; h != nil {
		return &Refusal{Why: PortServed, By: h.first}
	}
	if to := a.RedirectTo; to != 0 && to != c.Port {
		return &Refusal{Why: RedirectDiffers, By: a.Redirecting}
	}
	return nil
}

// CountPatterns fills Patterns from Routes.
func (s *Share) CountPatterns() {
	s.Patterns = nil
	for i := range s.Routes {
		if s.Routes[i].Path.Kind == Pattern {
			if s.Patterns == nil {
				s.Patterns = map[Host]int{}
			}
			s.Patterns[s.Routes[i].Host]++
		}
	}
}

// Equal reports whether two grants are the same.
func (g Grant) Equal(o Grant) bool {
	same := func(a, b *Refusal) bool { return a == b || a != nil && b != nil && *a == *b }
	return g.Redirect == o.Redirect && same(g.Refused, o.Refused) && same(g.Lost, o.Lost)
}
