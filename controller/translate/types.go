package translate

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/vtm"
)

// Input is all that a translation depends on.
type Input struct {
	Snapshot   *kube.Snapshot
	Settings   *config.Settings
	Appliance  Appliance
	Programmed Programmed
	// SelfSigned is the certificate of shared addresses where the setting
	// default_certificate names no usable one. It is used as long as the traffic
	// manager has none. Nil: there is none.
	SelfSigned *KeyPair
	// Relay is how log lines get to the traffic manager; nil: they don't.
	Relay *Relay
	// ACME is how far certificates are that are issued; nil: none is. Immutable: a
	// change is another one.
	ACME *ACME
}

// Appliance is what a translation must know of the traffic manager cluster
// besides our own resources.
type Appliance struct {
	// Members are the names of the cluster's traffic managers, sorted: the machines
	// of the Traffic IP Groups that we create.
	Members []string
	// Groups are the Traffic IP Groups that are not ours, by name.
	Groups map[string]Group
	// Servers are the virtual servers that are not ours, by name.
	Servers map[string]Server
}

// Group is a Traffic IP Group that is not ours.
type Group struct {
	Addresses []netip.Addr
	// Controller is the controller_id of the other controller that made it; "": none
	// did.
	Controller string
}

// Server is a virtual server that is not ours. Enabled or not, it keeps its
// address and port.
type Server struct {
	Any    bool     // listens on all addresses
	Groups []string // Traffic IP Groups it listens on
	Hosts  []string // addresses or host names it listens on
	Port   int
	// Controller is as a Group's.
	Controller string
}

// Programmed says what our marks on the traffic manager tell is served already:
// the only memory of a translation, so that it survives restarts and changes of
// the writer.
type Programmed struct {
	// Owners holds the UIDs of the Ingresses that own a virtual server or a pool.
	Owners map[types.UID]bool
	// Owned are the resources with our mark, as they are there: a Traffic IP Group or
	// virtual server among them keeps its place when somebody else comes to it later. And
	// a controller that has just begun to watch does not know which endpoints were lost
	// with their nodes: it leaves those that are not ready in the pools where they are.
	Owned map[vtm.ID]*vtm.Resource
	// Keys are the server keys with our mark, as they are there, by name: while its
	// Secret is missing, an Ingress that serves keeps one.
	Keys map[string]*vtm.Resource
	// Libraries holds what LibrariesOf gives of the rules with our mark: the listeners
	// whose routes stand in libraries go on so until they are much fewer.
	Libraries map[string]bool
}

// nodes of a pool as they are there; nil if there is none.
func (p Programmed) nodes(pool string) (nodes []string) {
	r := p.Owned[vtm.ID{Type: vtm.Pools, Name: pool}]
	if r == nil {
		return nil
	}
	rows, _ := r.Value("basic", "nodes_table").([]any)
	for _, row := range rows {
		if columns, ok := row.(map[string]any); ok {
			if node, ok := columns["node"].(string); ok {
				nodes = append(nodes, node)
			}
		}
	}
	return nodes
}

// Outcome of an Ingress.
type Outcome int

// The outcomes. An Ingress of another class has none.
const (
	// Rejected: nothing is programmed for it.
	Rejected Outcome = iota
	// Degraded: it serves, but something it needs is gone.
	Degraded
	// Complete: it is programmed as its owner asked.
	Complete
)

// Reason is one thing to tell an Ingress's owner.
type Reason struct {
	// Code is a CamelCase word, the Event's reason, e.g. "ServiceNotFound".
	Code string
	// Message names object and remedy.
	Message string
}

// Verdict is what becomes of one Ingress of ours.
type Verdict struct {
	Ingress    types.NamespacedName
	UID        types.UID
	Generation int64
	Outcome    Outcome
	// Reasons are empty when Complete, unless something deserves a warning; else
	// they say why, the gravest first.
	Reasons []Reason
	// Addresses are for the Ingress's status; nil when Rejected.
	Addresses []Address
	// Ends says which of its certificates ends first. What time it is is not known here.
	Ends Ends
	// Problem is the code of the gravest reason when Degraded, else "".
	Problem string
	// By is the older Ingress that has what this one claims, which is its first reason;
	// the zero value: none has.
	By types.NamespacedName
	// Resources are those that must be on the traffic manager for it to be served,
	// sorted.
	Resources []vtm.ID
}

// Ends is the end of a Secret's certificate; the zero value: there is none.
type Ends struct {
	At     time.Time
	Secret types.NamespacedName
}

// Address is one address on which an Ingress is served.
type Address struct {
	IP    netip.Addr
	Ports []int32 // TCP, sorted
}

// Result of a translation. It holds until its Translator's next one.
type Result struct {
	// Desired are all resources that should exist with our mark.
	Desired map[vtm.ID]*vtm.Resource
	// Verdicts, one for each Ingress of ours.
	Verdicts map[types.NamespacedName]*Verdict
	// Certificates are those that Ingresses which are served want to be issued, by
	// Secret; sorted. It is not changed in place.
	Certificates []Certificate

	of *Translator
}

// Changes are what a translation changed against the one before.
type Changes struct {
	// Resources that were not in Desired, are another one now, or are gone; sorted.
	Resources []vtm.ID
	// Ingresses whose verdict is new, another one, or gone; sorted.
	Ingresses []types.NamespacedName
}

func (c *Changes) sort() {
	slices.SortFunc(c.Resources, func(a, b vtm.ID) int {
		return cmp.Or(strings.Compare(string(a.Type), string(b.Type)), strings.Compare(a.Name, b.Name))
	})
	slices.SortFunc(c.Ingresses, func(a, b types.NamespacedName) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
}
