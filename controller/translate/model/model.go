package model

import (
	"cmp"
	"net/netip"
	"sort"
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
	// Certificates names the certificate for each host, of an owner that decrypts.
	Certificates map[string]string
	// Patterns counts the routes by pattern of each host that has some; nil: none
	// has.
	Patterns map[Host]int
}

// Of returns the routes of a host, in their order.
func (s *Share) Of(host Host) []Route {
	probe := Route{Host: host}
	begin := sort.Search(len(s.Routes), func(i int) bool { return compareHosts(s.Routes[i], probe) >= 0 })
	end := begin
	for end < len(s.Routes) && s.Routes[end].Host == host {
		end++
	}
	return s.Routes[begin:end]
}

// Hosts returns the hosts of the routes, in their order, each once.
func (s *Share) Hosts() []Host {
	var hosts []Host
	for i := range s.Routes {
		if i == 0 || s.Routes[i].Host != s.Routes[i-1].Host {
			hosts = append(hosts, s.Routes[i].Host)
		}
	}
	return hosts
}

// Place is what tells listeners apart.
type Place struct {
	Site Site
	Port uint16
}
