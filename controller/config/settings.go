package config

import (
	"crypto/sha256"
	"reflect"
	"time"
)

// Settings of the controller, validated; fields are named after their keys. What
// each means is said in internal/facts/settings.json. Immutable.
type Settings struct {
	EnableIngctrl bool

	// How to reach Kubernetes; see KubernetesConfig.
	K8sConfigPath string
	K8sEndpoint   string
	K8sToken      Secret
	K8sTokenFile  string // a path; K8sToken is then unset, since the file may be renewed
	K8sCAFile     string // a path
	K8sVerifySSL  bool

	// How to reach the traffic managers.
	VTMEndpoints     []string // REST URLs without a slash at the end, at least one if EnableIngctrl
	VTMMember        string   // one of VTMEndpoints, never empty if EnableIngctrl
	VTMUsername      string
	VTMPassword      Secret // of vtm_password or of the file named by vtm_password_file
	VTMCA            []byte // what the file named by vtm_ca_file holds: PEM; nil if none is named
	VTMFingerprint   string // 64 hexadecimal digits, colons allowed; "" if not pinned
	VTMVerifySSLCert bool

	// What is served, and how.
	VTMVerbose              bool
	VTMEnableCustomizations bool
	VTMEnableTrafficScript  bool
	// For which namespaces, sorted, each once, "*" for every one: the two above, where
	// empty is all; and monitors that run a program or ask any machine, where it is none.
	CustomizationNamespaces     []string
	TrafficScriptNamespaces     []string
	PrivilegedMonitorNamespaces []string
	ControllerID                string
	WatchNamespace              string   // "": all but kube-system
	IngressClassNames           []string // sorted, each once; empty: all with our controller name
	SecretLabelSelector         string   // of Secrets with server keys; "": all
	DefaultTrafficIPGroup       string   // "": none
	DefaultCertificate          string   // namespace/name of a Secret; "": none
	DefaultSSLRedirect          bool
	AllowedAddresses            []AllowedAddresses // empty: every address for everybody
	AllowedHosts                []AllowedHosts     // empty: every host for everybody
	NodeAddressType             string             // InternalIP or ExternalIP (corev1.NodeAddressType)
	ResyncPeriod                time.Duration

	// How certificates are issued.
	ACMEDirectory      string // URL
	ACMETermsAgreed    bool
	ACMEEmail          string
	ACMECA             []byte // what the file named by acme_ca_file holds: PEM; nil if none is named
	ACMEKeyType        string // ecdsa or rsa
	ACMEProfile        string // "": the authority's default
	ACMEPreferredChain string // common name of a root; "": the authority's default
	ACMEEABKeyID       string // "": no external account
	ACMEEABHMAC        Secret
	// How wildcard hosts are proved.
	ACMEDNSProvider  string // "": not at all
	ACMEDNSProgram   string // a path
	ACMEDNSEndpoint  string // URL
	ACMEDNSServer    string // host:port
	ACMEDNSUser      string
	ACMEDNSSecret    Secret // of acme_dns_secret or of the file named by acme_dns_secret_file
	ACMEDNSAlgorithm string
	ACMEDNSResolvers []string // host:port, sorted; empty: the machine's
	ACMEDNSTimeout   time.Duration
	// How much is asked of the authority.
	ACMEOrdersPerAccount      Limit
	ACMEOrdersPerNamespace    Limit
	ACMECertificatesPerDomain Limit
	ACMECertificatesPerHosts  Limit
	ACMEFailuresPerHost       Limit

	// Who writes.
	LeaseNamespace string // never empty
	LeaseName      string // never empty
	LeaseDuration  time.Duration
	RenewDeadline  time.Duration
	RetryPeriod    time.Duration

	EventLogRelay     bool
	EventLogRelayPort uint16
	SettingsSource    string // local or vtm
	LogFormat         string // text or json
	MetricsAddress    string // host:port; "": nothing listens
	DebugAddress      string // host:port, of this machine alone; "": nothing listens

	// files is a digest of what the files hold that are named above and read later by
	// others, so that settings differ when such a file does.
	files [sha256.Size]byte
}

// Limit allows so many in a time.
type Limit struct {
	Count int           // at least 1
	Per   time.Duration // above 0
}

// Equal reports whether two settings mean the same, down to what the files hold
// that they name.
func (s *Settings) Equal(other *Settings) bool { return reflect.DeepEqual(s, other) }

// Default returns the settings that nobody changed. They lack what is required:
// endpoints and password of the traffic manager. Each call gives a new value.
func Default() *Settings {
	settings, _ := build(nil, Sources{})
	return settings
}
