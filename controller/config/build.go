package config

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
)

// restPort is where a traffic manager's REST API listens unless told otherwise
// (vtm/rest.md §1).
const restPort = "9070"

// builder turns normalized values into Settings.
type builder struct {
	settings map[string]Setting
	given    map[string]value
	sources  Sources
	mistakes []Mistake
	files    [sha256.Size]byte // see Settings
}

// build makes Settings of normalized values and defaults, reads the files that
// they name, and checks what concerns several of them.
func build(given map[string]value, sources Sources) (*Settings, []Mistake) {
	b := &builder{settings: map[string]Setting{}, given: given, sources: sources}
	for _, s := range All() {
		b.settings[s.Key] = s
	}
	b.oneOf("k8s_token", "k8s_token_file")
	b.oneOf("vtm_password", "vtm_password_file")
	b.oneOf("acme_dns_secret", "acme_dns_secret_file")
	s := &Settings{
		EnableIngctrl: b.bool("enable_ingctrl"),

		K8sConfigPath: b.lasting("k8s_config_path"),
		K8sEndpoint:   b.text("k8s_endpoint"),
		K8sToken:      NewSecret(b.text("k8s_token")),
		K8sTokenFile:  b.path("k8s_token_file"),
		K8sCAFile:     b.lasting("k8s_ca_file"),
		K8sVerifySSL:  b.bool("k8s_verify_ssl"),

		VTMEndpoints:     b.members("vtm_endpoints"),
		VTMMember:        b.member("vtm_member"),
		VTMUsername:      b.text("vtm_username"),
		VTMPassword:      b.password("vtm_password"),
		VTMCA:            b.file("vtm_ca_file"),
		VTMFingerprint:   b.text("vtm_fingerprint"),
		VTMVerifySSLCert: b.bool("vtm_verify_ssl_cert"),

		VTMVerbose:              b.bool("vtm_verbose"),
		VTMEnableCustomizations: b.bool("vtm_enable_customizations"),
		VTMEnableTrafficScript:  b.bool("vtm_enable_trafficscript"),

		CustomizationNamespaces:     b.names("customization_namespaces"),
		TrafficScriptNamespaces:     b.names("trafficscript_namespaces"),
		PrivilegedMonitorNamespaces: b.names("privileged_monitor_namespaces"),

		ControllerID:          b.text("controller_id"),
		WatchNamespace:        b.text("watch_namespace"),
		IngressClassNames:     b.names("ingress_class_names"),
		SecretLabelSelector:   b.selector("secret_label_selector"),
		DefaultTrafficIPGroup: b.text("default_traffic_ip_group"),
		DefaultCertificate:    b.text("default_certificate"),
		DefaultSSLRedirect:    b.bool("default_ssl_redirect"),
		AllowedAddresses:      b.addresses("allowed_addresses"),
		AllowedHosts:          b.hosts("allowed_hosts"),
		NodeAddressType:       b.text("node_address_type"),
		ResyncPeriod:          b.duration("resync_period"),

		ACMEDirectory:      b.text("acme_directory"),
		ACMETermsAgreed:    b.bool("acme_terms_agreed"),
		ACMEEmail:          b.text("acme_email"),
		ACMECA:             b.file("acme_ca_file"),
		ACMEKeyType:        b.text("acme_key_type"),
		ACMEProfile:        b.text("acme_profile"),
		ACMEPreferredChain: b.text("acme_preferred_chain"),
		ACMEEABKeyID:       b.text("acme_eab_key_id"),
		ACMEEABHMAC:        NewSecret(b.text("acme_eab_hmac")),

		ACMEDNSProvider:  b.text("acme_dns_provider"),
		ACMEDNSProgram:   b.text("acme_dns_program"),
		ACMEDNSEndpoint:  b.text("acme_dns_endpoint"),
		ACMEDNSServer:    b.text("acme_dns_server"),
		ACMEDNSUser:      b.text("acme_dns_user"),
		ACMEDNSSecret:    b.password("acme_dns_secret"),
		ACMEDNSAlgorithm: b.text("acme_dns_algorithm"),
		ACMEDNSResolvers: b.names("acme_dns_resolvers"),
		ACMEDNSTimeout:   b.duration("acme_dns_timeout"),

		ACMEOrdersPerAccount:      b.limit("acme_orders_per_account"),
		ACMEOrdersPerNamespace:    b.limit("acme_orders_per_namespace"),
		ACMECertificatesPerDomain: b.limit("acme_certificates_per_domain"),
		ACMECertificatesPerHosts:  b.limit("acme_certificates_per_hosts"),
		ACMEFailuresPerHost:       b.limit("acme_failures_per_host"),

		LeaseNamespace: b.text("lease_namespace"),
		LeaseName:      b.text("lease_name"),
		LeaseDuration:  b.duration("lease_duration"),
		RenewDeadline:  b.duration("renew_deadline"),
		RetryPeriod:    b.duration("retry_period"),

		EventLogRelay:     b.bool("event_log_relay"),
		EventLogRelayPort: b.port("event_log_relay_port"),
		SettingsSource:    b.text("settings_source"),
		LogFormat:         b.text("log_format"),
		MetricsAddress:    b.text("metrics_address"),
		DebugAddress:      b.text("debug_address"),
	}
	s.files = b.files
	b.derive(s)
	if s.EnableIngctrl {
		b.required(s)
	}
	b.certificates("k8s_ca_file", b.content("k8s_ca_file"))
	b.certificates("vtm_ca_file", s.VTMCA)
	b.certificates("acme_ca_file", s.ACMECA)
	b.together(s)
	b.lease(s)
	return s, b.mistakes
}

// derive fills what follows from other settings.
func (b *builder) derive(s *Settings) {
	if s.VTMMember == "" && len(s.VTMEndpoints) > 0 {
		s.VTMMember = s.VTMEndpoints[0]
	}
	if s.LeaseNamespace == "" {
		s.LeaseNamespace = s.WatchNamespace
	}
	if s.LeaseNamespace == "" {
		s.LeaseNamespace = "default"
	}
	if s.LeaseName == "" {
		s.LeaseName = "vtm-ingress-" + s.ControllerID
	}
}

func (b *builder) required(s *Settings) {
	if len(s.VTMEndpoints) == 0 && !b.given["vtm_endpoints"].bad {
		b.mistake("vtm_endpoints", "missing: give the traffic managers' REST URLs, e.g. %s", b.settings["vtm_endpoints"].Example)
	}
	if !s.VTMPassword.IsSet() && !b.given["vtm_password"].bad && !b.given["vtm_password_file"].bad {
		b.mistake("vtm_password", "missing: give it in the settings file, as %s, or name a file that holds it by vtm_password_file",
			b.settings["vtm_password"].Environment())
	}
}

// together checks settings that need or exclude each other.
func (b *builder) together(s *Settings) {
	token := s.K8sToken.IsSet() || s.K8sTokenFile != ""
	switch {
	case s.K8sConfigPath != "": // that alone counts; the specification wants the others set all the same
	case s.K8sEndpoint != "" && !token && !b.given["k8s_token"].bad && !b.given["k8s_token_file"].bad:
		b.mistake("k8s_endpoint", "needs k8s_token or k8s_token_file beside it")
	case s.K8sEndpoint == "" && token && !b.given["k8s_endpoint"].bad:
		key := "k8s_token"
		if s.K8sTokenFile != "" {
			key = "k8s_token_file"
		}
		b.mistake(key, "needs k8s_endpoint beside it")
	}
	if (s.ACMEEABKeyID == "") == s.ACMEEABHMAC.IsSet() {
		b.mistake("acme_eab_key_id", "needs acme_eab_hmac beside it, and acme_eab_hmac needs it: set both or none")
	}
	b.dns(s)
	if s.VTMFingerprint != "" && s.VTMCA != nil {
		b.mistake("vtm_fingerprint", "excludes vtm_ca_file: remove one of them")
	}
	if s.VTMMember != "" && !slices.Contains(s.VTMEndpoints, s.VTMMember) && !b.given["vtm_endpoints"].bad {
		b.mistake("vtm_member", "%s: want one of vtm_endpoints", s.VTMMember)
	}
}

// DNSProviders are those of acme_dns_provider that every build has, with what each
// needs.
var DNSProviders = map[string]string{"exec": "acme_dns_program", "httpreq": "acme_dns_endpoint", "rfc2136": "acme_dns_server"}

// dns checks what the provider of acme_dns_provider needs.
func (b *builder) dns(s *Settings) {
	needs, known := DNSProviders[s.ACMEDNSProvider]
	switch {
	case s.ACMEDNSProvider == "":
	case !known && !everyDNSProvider:
		b.mistake("acme_dns_provider", "%s: want %s; others take a program that was built with -tags alldns", printable(s.ACMEDNSProvider), b.settings["acme_dns_provider"].Expects)
	case known && b.text(needs) == "" && !b.given[needs].bad:
		b.mistake("acme_dns_provider", "%s needs %s beside it", s.ACMEDNSProvider, needs)
	}
	if (s.ACMEDNSUser == "") == s.ACMEDNSSecret.IsSet() && !b.given["acme_dns_secret_file"].bad {
		b.mistake("acme_dns_user", "needs acme_dns_secret or acme_dns_secret_file beside it, and those need it: set both or none")
	}
}

// lease checks the bounds that keep two instances from writing at one time.
func (b *builder) lease(s *Settings) {
	good := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(key string) bool { return b.given[key].bad })
	}
	// Kubernetes keeps the duration in whole seconds: with a fraction, another
	// instance would take over before this one's own count has ended.
	if good("lease_duration") && s.LeaseDuration%time.Second != 0 {
		b.mistake("lease_duration", "%s: want whole seconds", s.LeaseDuration)
	}
	if good("renew_deadline", "retry_period") && s.RenewDeadline < 2*s.RetryPeriod {
		b.mistake("renew_deadline", "%s: want at least twice retry_period, which is %s", s.RenewDeadline, s.RetryPeriod)
	}
	if good("lease_duration", "renew_deadline", "retry_period") && s.LeaseDuration-s.RenewDeadline < s.RetryPeriod {
		b.mistake("renew_deadline", "%s: want it shorter than lease_duration, which is %s, by at least retry_period, which is %s",
			s.RenewDeadline, s.LeaseDuration, s.RetryPeriod)
	}
}

// oneOf leaves of a secret and the file that holds it the one from the higher
// source.
func (b *builder) oneOf(secret, file string) {
	inFile, given := b.given[file]
	direct, too := b.given[secret]
	switch {
	case !given || !too:
	case direct.source > inFile.source:
		delete(b.given, file)
	case direct.source < inFile.source:
		delete(b.given, secret)
	default:
		b.mistake(file, "excludes %s: remove one of them", secret)
		delete(b.given, file)
	}
}

// mistake is told where key was given.
func (b *builder) mistake(key, format string, args ...any) {
	at := origin{source: ofNowhere}
	if v, ok := b.given[key]; ok {
		at = v.origin
	}
	b.mistakes = append(b.mistakes, at.mistake(key, format, args...))
}

// text of a setting: what was given, or its default.
func (b *builder) text(key string) string {
	s, known := b.settings[key]
	if !known {
		panic("setting " + key + " is not in internal/facts/settings.json") // Default panics too: no test passes
	}
	v, ok := b.given[key]
	if !ok || v.bad || len(v.texts) == 0 || v.texts[0] == "" {
		return s.Default
	}
	return v.texts[0]
}

func (b *builder) bool(key string) bool { return b.text(key) == "true" }

func (b *builder) duration(key string) time.Duration {
	d, _ := time.ParseDuration(b.text(key)) // normalize has seen it, a test the defaults
	return d
}

// limit reads "300/3h".
func (b *builder) limit(key string) Limit {
	text := b.text(key)
	count, per, _ := strings.Cut(text, "/")
	n, err := strconv.Atoi(count)
	d, wrong := time.ParseDuration(per)
	if err != nil || wrong != nil {
		b.mistake(key, "%s: want %s", printable(text), b.settings[key].Expects) // the pattern lets none through
		return Limit{1, time.Hour}
	}
	return Limit{n, d}
}

func (b *builder) port(key string) uint16 {
	port, _ := strconv.ParseUint(b.text(key), 10, 16) // normalize has seen it, a test the defaults
	return uint16(port)
}

func (b *builder) list(key string) []string {
	if v := b.given[key]; !v.bad {
		return slices.Clone(v.texts)
	}
	return nil
}

func (b *builder) names(key string) []string {
	list := b.list(key)
	slices.Sort(list)
	return slices.Compact(list)
}

func (b *builder) members(key string) []string {
	var members []string
	for _, text := range b.list(key) {
		member := b.completeMember(key, text)
		if slices.Contains(members, member) {
			b.mistake(key, "%s is in it twice", member)
			continue
		}
		members = append(members, member)
	}
	return members
}

func (b *builder) member(key string) string { return b.completeMember(key, b.text(key)) }

// completeMember adds the REST API's usual port.
func (b *builder) completeMember(key, text string) string {
	u, err := url.Parse(text)
	if text == "" || err != nil {
		return ""
	}
	if u.Path != "" {
		b.mistake(key, "%s: want a URL without a path: %s://%s", printable(text), u.Scheme, u.Host)
	}
	if u.Port() == "" {
		u.Host += ":" + restPort
	}
	return u.Scheme + "://" + u.Host
}

// path of a file that will be read later; it must be readable now.
func (b *builder) path(key string) string {
	b.content(key)
	return b.text(key)
}

// lasting is path of a file that whoever reads it later reads once: its content
// is part of the settings.
func (b *builder) lasting(key string) string {
	sum := sha256.Sum256(b.content(key))
	b.files = sha256.Sum256(append(b.files[:], sum[:]...))
	return b.text(key)
}

// file is what the file holds that key names; nil if it names none.
func (b *builder) file(key string) []byte { return b.content(key) }

// content of the file that key names. That it can't be read, or is empty, is told
// once.
func (b *builder) content(key string) []byte {
	path := b.text(key)
	if path == "" {
		return nil
	}
	text, err := b.sources.ReadFile(path)
	v := b.given[key]
	switch {
	case err != nil:
		b.mistake(key, "%s cannot be read: %v", printable(path), why(err))
	case len(strings.TrimSpace(string(text))) == 0:
		b.mistake(key, "%s is empty", printable(path))
	default:
		return text
	}
	v.bad = true
	b.given[key] = v
	return nil
}

// password is a secret, given itself or by the file that holds it.
func (b *builder) password(key string) Secret {
	if text := b.text(key); text != "" {
		return NewSecret(text)
	}
	text := strings.TrimSuffix(string(b.content(key+"_file")), "\n")
	return NewSecret(strings.TrimSuffix(text, "\r"))
}

// selector is a label selector that Kubernetes understands; "" if it does not.
func (b *builder) selector(key string) string {
	text := b.text(key)
	if _, err := labels.Parse(text); err != nil {
		b.mistake(key, "%s: want a label selector, e.g. %s", printable(text), b.settings[key].Example)
		return ""
	}
	return text
}

// certificates checks that a file holds certificates, and nothing else in PEM: one
// that can't be read would be left out in silence.
func (b *builder) certificates(key string, text []byte) {
	if text == nil {
		return
	}
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		n++
		if block.Type != "CERTIFICATE" {
			b.mistake(key, "%s: block %d is a %s, not a certificate: remove it", printable(b.text(key)), n, printable(block.Type))
			return
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			b.mistake(key, "%s: block %d is no certificate that can be read (%v): remove it", printable(b.text(key)), n, err)
			return
		}
	}
	begun := bytes.Count(text, []byte("-----BEGIN "))
	switch {
	case n == 0:
		b.mistake(key, "%s holds no PEM certificate", printable(b.text(key)))
	case begun != n:
		b.mistake(key, "%s: %d blocks of PEM begin, but only %d can be read: was it cut or edited?", printable(b.text(key)), begun, n)
	}
}
