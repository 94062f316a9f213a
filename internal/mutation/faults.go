package mutation

// Fault is one deliberate fault.
type Fault int

// The faults; All says what each does.
const (
	GateStaysOpen Fault = iota + 1
	WriteUnbounded
	TakeoverBlind
	DeletesFirst
	ServersFirst
	FailureHindersNothing
	RetryDropped
	DriftIgnored
	OrphansLeft
	ForeignTaken
	RewritesAll
	BrakeOff
	ClassGraceOff
	StaleEndpoints
	UnreadyNodesDropped
	RankReversed
	WildcardTakesMore
	PrefixByText
	ExactLast
	ShorterFirst
	PathIgnoresCase
	PathAsSent
	SlashEncoded
	YoungestDefault
	DefaultLost
	OtherNamespace
	OneCertificate
	TenantsDefault
	RenewalIgnored
	SecretLossEnds
	TLSBesidePlain
	PlainBesideRedirect
	AddressShared
	CertificatesMixed
	RedirectElsewhere
	DrainMissing
	OneMachine
	StatusSilent
	StatusStays
	EventsSilent
	KeyLogged
)

// Description is what people read of a fault.
type Description struct{ Name, Text string }

// All are the faults with their descriptions. It is no variable, which even a program
// that never reads it would fill.
func All() map[Fault]Description {
	return map[Fault]Description{
		GateStaysOpen:         {"GateStaysOpen", "an instance that was the writer once goes on writing"},
		WriteUnbounded:        {"WriteUnbounded", "a write has no end: it may go on after the Lease has run out"},
		TakeoverBlind:         {"TakeoverBlind", "a new writer does not read the traffic manager again"},
		DeletesFirst:          {"DeletesFirst", "what nobody wants any more is deleted before what replaces it is made"},
		ServersFirst:          {"ServersFirst", "virtual servers are written before the pools and rules that they name"},
		FailureHindersNothing: {"FailureHindersNothing", "what refers to a resource whose creation failed is written all the same"},
		RetryDropped:          {"RetryDropped", "a write that failed is not tried again"},
		DriftIgnored:          {"DriftIgnored", "what somebody changed by hand is not compared"},
		OrphansLeft:           {"OrphansLeft", "what nobody wants any more stays"},
		ForeignTaken:          {"ForeignTaken", "a resource with a name of ours counts as ours without our mark"},
		RewritesAll:           {"RewritesAll", "what is as it should be is written again"},
		BrakeOff:              {"BrakeOff", "Kubernetes is believed at once when most Ingresses are gone"},
		ClassGraceOff:         {"ClassGraceOff", "Ingresses are given up at once when their IngressClass is gone"},
		StaleEndpoints:        {"StaleEndpoints", "a change of a Service's endpoints is overlooked"},
		UnreadyNodesDropped:   {"UnreadyNodesDropped", "nodes that are not ready are taken out of pools even if none is left"},
		RankReversed:          {"RankReversed", "the younger Ingress goes before the older one"},
		WildcardTakesMore:     {"WildcardTakesMore", "a wildcard host covers several labels"},
		PrefixByText:          {"PrefixByText", "the prefix /app takes /apple"},
		ExactLast:             {"ExactLast", "of a prefix and an exact path the prefix wins"},
		ShorterFirst:          {"ShorterFirst", "the shorter prefix goes before the longer one"},
		PathIgnoresCase:       {"PathIgnoresCase", "paths are compared without case"},
		PathAsSent:            {"PathAsSent", "paths are compared as sent, with dot segments and double slashes"},
		SlashEncoded:          {"SlashEncoded", "a path with an encoded slash is let through"},
		YoungestDefault:       {"YoungestDefault", "the youngest default backend of a shared address wins"},
		DefaultLost:           {"DefaultLost", "the default backend of a dedicated address is forgotten"},
		OtherNamespace:        {"OtherNamespace", "a Secret of the same name in another namespace is taken"},
		OneCertificate:        {"OneCertificate", "all hosts of a shared address get one certificate"},
		TenantsDefault:        {"TenantsDefault", "unknown hosts on a shared address get a tenant's certificate"},
		RenewalIgnored:        {"RenewalIgnored", "a renewed Secret is overlooked"},
		SecretLossEnds:        {"SecretLossEnds", "an Ingress is given up when its Secret is deleted"},
		TLSBesidePlain:        {"TLSBesidePlain", "TLS and plain HTTP share one port"},
		PlainBesideRedirect:   {"PlainBesideRedirect", "an Ingress takes the port 80 that redirects for an older one"},
		AddressShared:         {"AddressShared", "a dedicated address is given to several Ingresses"},
		CertificatesMixed:     {"CertificatesMixed", "two Ingresses show different certificates for one host"},
		RedirectElsewhere:     {"RedirectElsewhere", "redirects go to HTTPS on another host"},
		DrainMissing:          {"DrainMissing", "a node that is taken out of a pool loses its connections at once"},
		OneMachine:            {"OneMachine", "a Traffic IP Group is on one member alone"},
		StatusSilent:          {"StatusSilent", "the status of Ingresses is not written"},
		StatusStays:           {"StatusStays", "an Ingress that is refused keeps its status"},
		EventsSilent:          {"EventsSilent", "Events are not written"},
		KeyLogged:             {"KeyLogged", "private keys are logged"},
	}
}
