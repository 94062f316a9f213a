package mutation

// Fault is one deliberate fault.
type Fault int

// The faults.
const (
	GateStaysOpen         Fault = iota + 1 // an instance that was the writer once goes on writing
	WriteUnbounded                         // a write has no end: it may go on after the Lease has run out
	TakeoverBlind                          // a new writer does not read the traffic manager again
	DeletesFirst                           // what nobody wants any more is deleted before what replaces it is made
	ServersFirst                           // virtual servers are written before the pools and rules that they name
	FailureHindersNothing                  // what refers to a resource whose creation failed is written all the same
	RetryDropped                           // a write that failed is not tried again
	DriftIgnored                           // what somebody changed by hand is not compared
	OrphansLeft                            // what nobody wants any more stays
	ForeignTaken                           // a resource with a name of ours counts as ours without our mark
	RewritesAll                            // what is as it should be is written again
	BrakeOff                               // Kubernetes is believed at once when most Ingresses are gone
	ClassGraceOff                          // Ingresses are given up at once when their IngressClass is gone
	StaleEndpoints                         // a change of a Service's endpoints is overlooked
	UnreadyNodesDropped                    // nodes that are not ready are taken out of pools even if none is left
	RankReversed                           // the younger Ingress goes before the older one
	WildcardTakesMore                      // a wildcard host covers several labels
	PrefixByText                           // the prefix /app takes /apple
	ExactLast                              // of a prefix and an exact path the prefix wins
	ShorterFirst                           // the shorter prefix goes before the longer one
	PathIgnoresCase                        // paths are compared without case
	PathAsSent                             // paths are compared as sent, with dot segments and double slashes
	SlashEncoded                           // a path with an encoded slash is let through
	YoungestDefault                        // the youngest default backend of a shared address wins
	DefaultLost                            // the default backend of a dedicated address is forgotten
	OtherNamespace                         // a Secret of the same name in another namespace is taken
	OneCertificate                         // all hosts of a shared address get one certificate
	TenantsDefault                         // unknown hosts on a shared address get a tenant's certificate
	RenewalIgnored                         // a renewed Secret is overlooked
	SecretLossEnds                         // an Ingress is given up when its Secret is deleted
	TLSBesidePlain                         // TLS and plain HTTP share one port
	PlainBesideRedirect                    // an Ingress takes the port 80 that redirects for an older one
	AddressShared                          // a dedicated address is given to several Ingresses
	CertificatesMixed                      // two Ingresses show different certificates for one host
	RedirectElsewhere                      // redirects go to HTTPS on another host
	DrainMissing                           // a node that is taken out of a pool loses its connections at once
	OneMachine                             // a Traffic IP Group is on one member alone
	StatusSilent                           // the status of Ingresses is not written
	StatusStays                            // an Ingress that is refused keeps its status
	EventsSilent                           // Events are not written
	KeyLogged                              // private keys are logged
)
