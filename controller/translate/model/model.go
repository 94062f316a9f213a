package model

import (
	"cmp"
	"net/netip"
)

// Owner is who asked for a part of the model.
type Owner struct {
	Namespace, Name string
	UID             string
	Created         int64 // seconds since 1970, UTC
}

// Compare orders owners by rank: negative when o goes before p. The older one
// goes first; of one age, the one that is first by namespace, then name. Nothing
// else counts, so that rank survives restarts and edits.
func (o Owner) Compare(p Owner) int {
	return cmp.Or(
		cmp.Compare(o.Created, p.Created),
		cmp.Compare(o.Namespace, p.Namespace),
		cmp.Compare(o.Name, p.Name),
	)
}

func (o Owner) String() string { return o.Namespace + "/" + o.Name }

// Site is where listeners listen: on one address that is brought up for them, or
// on all addresses of a group that exists already. Exactly one field is set.
type Site struct {
	Address netip.Addr
	Group   string
}

// Backend is what answers requests.
type Backend struct {
	Owner Owner
	// Name is unique among the owner's backends.
	Name string
	// Nodes are "host:port" or "[v6]:port", sorted, each once. Empty: nothing can
	// answer now, and requests for it get 503.
	Nodes []string
}

// Route sends requests for a host and path to a backend.
type Route struct {
	Host    Host
	Path    Path
	Backend string // Backend.Name of the same owner
}

// Share is what one owner wants on a listener.
type Share struct {
	Owner Owner
	// Routes in the order in which they are tried (SortRoutes).
	Routes []Route
	// Default is the Backend.Name for requests that no route of any share takes,
	// empty for none.
	Default string
}

// Claim is one owner's wish for a place.
type Claim struct {
	Site Site
	Port uint16
	// Exclusive claims want the whole site, all its ports; others share it.
	Exclusive bool
	Share     *Share
}

// Place is what tells listeners apart.
type Place struct {
	Site Site
	Port uint16
}

// Listener accepts requests at one place.
type Listener struct {
	Place
	Exclusive bool
	// Shares in order of rank, at least one: an older owner's routes are tried
	// before a younger one's, and default backends after all routes, the oldest
	// first. An exclusive listener has one.
	Shares []*Share
}

// Holder is the oldest owner, in whose name the listener stands.
func (l *Listener) Holder() Owner { return l.Shares[0].Owner }

// Allotment says who got what.
type Allotment struct {
	Listeners map[Place]*Listener
	// Holders gives the oldest owner on each site.
	Holders map[Site]Owner
	// Refused maps a claim's index to the older owner that holds its site.
	Refused map[int]Owner
}

// Allot grants claims in the order given, which must be that of rank: the older
// keeps what it has. A site is either one exclusive owner's or shared. A claim
// that is refused holds nothing.
func Allot(claims []Claim) Allotment {
	out := Allotment{
		Listeners: make(map[Place]*Listener, len(claims)),
		Holders:   make(map[Site]Owner, len(claims)),
		Refused:   map[int]Owner{},
	}
	exclusive := make(map[Site]bool, len(claims))
	for i, claim := range claims {
		holder, taken := out.Holders[claim.Site]
		if taken && (exclusive[claim.Site] || claim.Exclusive) {
			out.Refused[i] = holder
			continue
		}
		if !taken {
			out.Holders[claim.Site], exclusive[claim.Site] = claim.Share.Owner, claim.Exclusive
		}
		place := Place{claim.Site, claim.Port}
		listener := out.Listeners[place]
		if listener == nil {
			listener = &Listener{Place: place, Exclusive: claim.Exclusive}
			out.Listeners[place] = listener
		}
		listener.Shares = append(listener.Shares, claim.Share)
	}
	return out
}
