package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// realCertificate is one in PEM that nobody has the key of any more.
func realCertificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// files makes a ReadFile of paths and texts.
func files(known map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		if text, ok := known[path]; ok {
			return []byte(text), nil
		}
		return nil, os.ErrNotExist
	}
}

// enough makes required settings present.
const enough = "vtm_endpoints: https://10.0.0.11\nvtm_password: p\n"

func load(t *testing.T, yaml string, environment ...string) *Settings {
	t.Helper()
	s, err := Load(Sources{
		Environment: environment, File: "settings.yaml",
		ReadFile: files(map[string]string{"settings.yaml": yaml, "secret": "from file\n"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestFlagsOverruleEnvironmentOverrulesFileOverrulesDefault(t *testing.T) {
	from := Sources{File: "f", ReadFile: files(map[string]string{"f": enough})}
	for _, step := range []struct {
		add  func()
		want string
	}{
		{func() {}, "k8s"},
		{func() { from.ReadFile = files(map[string]string{"f": enough + "controller_id: of-file"}) }, "of-file"},
		{func() { from.Environment = []string{"VTM_INGRESS_CONTROLLER_ID=of-env"} }, "of-env"},
		{func() { from.Flags = map[string]string{"controller_id": "of-flag"} }, "of-flag"},
	} {
		step.add()
		s, err := Load(from)
		if err != nil {
			t.Fatal(err)
		}
		if s.ControllerID != step.want || s.LeaseName != "vtm-ingress-"+step.want {
			t.Errorf("controller_id %q, lease_name %q; want %s", s.ControllerID, s.LeaseName, step.want)
		}
	}
}

// A value that differs from the default for each key: what it must not do is
// nothing.
func TestEverySettingReachesSettings(t *testing.T) {
	known := map[string]string{"some.file": "x", "ca.pem": realCertificate(t), "kubeconfig": "x"}
	values := map[string]string{
		"enable_ingctrl": "false", "k8s_config_path": "kubeconfig", "k8s_endpoint": "https://k8s:6443",
		"k8s_token": "t", "k8s_token_file": "some.file", "k8s_ca_file": "ca.pem", "k8s_verify_ssl": "false",
		"vtm_endpoints": "https://10.0.0.12:9070,https://10.0.0.13:9070", "vtm_member": "https://10.0.0.12:9070",
		"vtm_username": "someone", "vtm_password": "q", "vtm_password_file": "some.file", "vtm_ca_file": "ca.pem",
		"vtm_fingerprint": strings.Repeat("ab:", 31) + "cd", "vtm_verify_ssl_cert": "false", "vtm_verbose": "true",
		"vtm_enable_customizations": "true", "vtm_enable_trafficscript": "true", "controller_id": "other",
		"watch_namespace": "shop", "ingress_class_names": "b, a", "default_traffic_ip_group": "Web IPs", "secret_label_selector": "a in (b, c)",
		"default_certificate": "shop/cert", "default_ssl_redirect": "true", "allowed_addresses": "shop=10.0.2.0/24,*=10.9.0.1", "allowed_hosts": "shop=shop.example,*=*",
		"customization_namespaces": "shop", "trafficscript_namespaces": "edge", "privileged_monitor_namespaces": "*",
		"node_address_type": "ExternalIP", "resync_period": "1h", "lease_namespace": "here", "lease_name": "this",
		"lease_duration": "20s", "renew_deadline": "8s", "retry_period": "1s", "settings_source": "vtm", "event_log_relay": "false", "event_log_relay_port": "9999", "log_format": "json", "metrics_address": ":9100",
		"acme_directory": "https://acme.example/dir", "acme_terms_agreed": "true", "acme_email": "a@example.com", "acme_ca_file": "ca.pem",
		"acme_key_type": "rsa", "acme_profile": "short", "acme_eab_key_id": "id", "acme_eab_hmac": "aGVsbG8", "acme_preferred_chain": "Root",
		"acme_dns_provider": "exec", "acme_dns_program": "/bin/dns", "acme_dns_endpoint": "https://dns.example", "acme_dns_server": "10.0.0.53:53", "acme_dns_user": "u", "acme_dns_secret": "s",
		"acme_dns_secret_file": "some.file", "acme_dns_algorithm": "hmac-sha512", "acme_dns_resolvers": "10.0.0.53:53", "acme_dns_timeout": "5s",
		"acme_orders_per_account": "1/1h", "acme_orders_per_namespace": "2/1h", "acme_certificates_per_domain": "3/1h", "acme_certificates_per_hosts": "4/1h", "acme_failures_per_host": "6/1h",
		"debug_address": "127.0.0.1:6060",
	}
	// What else must be there for a key to be accepted.
	company := map[string]string{
		"k8s_endpoint": "k8s_token", "k8s_token": "k8s_endpoint", "k8s_token_file": "k8s_endpoint", "vtm_member": "vtm_endpoints",
		"acme_eab_key_id": "acme_eab_hmac", "acme_eab_hmac": "acme_eab_key_id",
		"acme_dns_provider": "acme_dns_program", "acme_dns_user": "acme_dns_secret", "acme_dns_secret": "acme_dns_user", "acme_dns_secret_file": "acme_dns_user",
	}
	before := reflect.ValueOf(*Default())
	for _, s := range All() {
		value, ok := values[s.Key]
		if !ok {
			t.Errorf("%s: no value in this test", s.Key)
			continue
		}
		from := Sources{Environment: []string{s.Environment() + "=" + value}, ReadFile: files(known)}
		if other := company[s.Key]; other != "" {
			from.Environment = append(from.Environment, "VTM_INGRESS_"+strings.ToUpper(other)+"="+values[other])
		}
		if s.Key != "enable_ingctrl" {
			from.Flags = map[string]string{"enable_ingctrl": "false"}
		}
		got, err := Load(from)
		if err != nil {
			t.Errorf("%s: %v", s.Key, err)
			continue
		}
		changed := 0
		for i := range before.NumField() {
			name := before.Type().Field(i).Name
			if before.Type().Field(i).IsExported() && name != "EnableIngctrl" && !reflect.DeepEqual(before.Field(i).Interface(), reflect.ValueOf(*got).Field(i).Interface()) {
				changed++
			}
		}
		if changed == 0 && s.Key != "enable_ingctrl" || s.Key == "enable_ingctrl" && got.EnableIngctrl {
			t.Errorf("%s=%s changes nothing", s.Key, value)
		}
	}
	if len(values) != len(All()) {
		t.Errorf("%d values for %d settings: remove what is not a setting any more", len(values), len(All()))
	}
}

func TestSettingsAreDescribedWhole(t *testing.T) {
	for _, s := range All() {
		if s.Meaning == "" || s.Key == "" || !regexp.MustCompile(`^[a-z0-9_]+$`).MatchString(s.Key) {
			t.Errorf("%+v: want key and meaning", s)
		}
		if s.Pattern != "" && s.Expects == "" {
			t.Errorf("%s: its pattern is not put into words", s.Key)
		}
		switch s.Type {
		case "duration":
			if _, err := time.ParseDuration(s.Min); err != nil {
				t.Errorf("%s: min: %v", s.Key, err)
			}
			if _, err := time.ParseDuration(s.Max); err != nil {
				t.Errorf("%s: max: %v", s.Key, err)
			}
		case "bool", "string", "names", "secret", "file", "url", "urls", "address":
		default:
			t.Errorf("%s: unknown type %s", s.Key, s.Type)
		}
		for _, text := range []string{s.Default, s.Example} {
			if text == "" {
				continue
			}
			if _, problems := s.normalize([]string{text}, false); len(problems) > 0 {
				t.Errorf("%s: default or example %q: %v", s.Key, text, problems)
			}
		}
	}
}

func TestDefaultsKeepTheBoundsOfTheLease(t *testing.T) {
	s := Default()
	if s.LeaseDuration != 15*time.Second || s.RenewDeadline != 10*time.Second || s.RetryPeriod != 2*time.Second ||
		s.LeaseNamespace != "default" || s.LeaseName != "vtm-ingress-k8s" {
		t.Errorf("%+v", s)
	}
	if _, mistakes := build(nil, Sources{}); len(mistakes) != 2 {
		t.Errorf("want what is missing told alone, got %v", mistakes)
	}
}

func TestEndpointsAreCompleted(t *testing.T) {
	s := load(t, "vtm_endpoints: [https://10.0.0.11/, 'https://[2001:db8::1]', http://127.1.0.1:9070]\nvtm_password: p\nvtm_member: https://10.0.0.11\nwatch_namespace: shop\n")
	want := []string{"https://10.0.0.11:9070", "https://[2001:db8::1]:9070", "http://127.1.0.1:9070"}
	if !reflect.DeepEqual(s.VTMEndpoints, want) || s.VTMMember != want[0] {
		t.Errorf("endpoints %v, member %s; want %v", s.VTMEndpoints, s.VTMMember, want)
	}
	if s.LeaseNamespace != "shop" {
		t.Errorf("lease_namespace %q, want that of watch_namespace", s.LeaseNamespace)
	}
	if s := load(t, enough); s.VTMMember != "https://10.0.0.11:9070" {
		t.Errorf("member %q, want the first endpoint", s.VTMMember)
	}
}

func TestASecretComesFromTheHighestSource(t *testing.T) {
	const endpoint = "vtm_endpoints: https://10.0.0.11\n"
	for _, c := range []struct{ yaml, environment, want string }{
		{endpoint + "vtm_password: ' of yaml '", "", " of yaml "},
		{endpoint + "vtm_password_file: secret", "", "from file"},
		{endpoint + "vtm_password: of yaml", "VTM_INGRESS_VTM_PASSWORD=of env", "of env"},
		{endpoint + "vtm_password: of yaml", "VTM_INGRESS_VTM_PASSWORD_FILE=secret", "from file"},
		{endpoint + "vtm_password_file: secret", "VTM_INGRESS_VTM_PASSWORD=of env", "of env"},
	} {
		if got := load(t, c.yaml, c.environment).VTMPassword.Reveal(); got != c.want {
			t.Errorf("%q with %q: password %q, want %q", c.yaml, c.environment, got, c.want)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	s := Default()
	s.VTMPassword = NewSecret("hunter2")
	type wrapper struct{ unexported Secret }
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", s.VTMPassword)
		fmt.Fprintf(&out, verb+"\n", s)
		fmt.Fprintf(&out, verb+"\n", *s)
		fmt.Fprintf(&out, verb+"\n", wrapper{s.VTMPassword})
	}
	log := slog.New(slog.NewJSONHandler(&out, nil))
	log.Info("x", "secret", s.VTMPassword, "settings", s)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", s.VTMPassword, "settings", s)
	if err := json.NewEncoder(&out).Encode(s); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"hunter2", fmt.Sprintf("%x", "hunter2"), fmt.Sprintf("%X", "hunter2")} {
		if strings.Contains(out.String(), text) {
			t.Errorf("the secret is shown as %q:\n%s", text, out.String())
		}
	}
	if !strings.Contains(out.String(), "[hidden]") {
		t.Error("nothing says that there is a secret")
	}
}

func TestKubernetesConfigComesFromOneSource(t *testing.T) {
	dir := t.TempDir()
	kubeconfig := filepath.Join(dir, "kubeconfig")
	text := `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://of.kubeconfig:6443", certificate-authority-data: ` + "eA==" + `}}]
users: [{name: u, user: {token: of-kubeconfig}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := Default()
	s.K8sConfigPath, s.K8sEndpoint, s.K8sToken = kubeconfig, "https://of.settings:6443", NewSecret("of-settings")
	got, err := KubernetesConfig(s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "https://of.kubeconfig:6443" || got.BearerToken != "of-kubeconfig" || string(got.CAData) != "x" || got.Insecure {
		t.Errorf("with k8s_config_path: %+v", got)
	}
	s.K8sConfigPath, s.K8sCAFile = "", "/ca.pem"
	if got, err = KubernetesConfig(s); err != nil || got.Host != "https://of.settings:6443" || got.BearerToken != "of-settings" || got.CAFile != "/ca.pem" {
		t.Errorf("with k8s_endpoint: %+v, %v", got, err)
	}
	s.K8sVerifySSL = false
	if got, err = KubernetesConfig(s); err != nil || !got.Insecure || got.CAFile != "" {
		t.Errorf("without verification: %+v, %v", got, err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	s.K8sEndpoint = ""
	if _, err = KubernetesConfig(s); err == nil || !strings.Contains(err.Error(), "set k8s_config_path") {
		t.Errorf("outside a cluster: %v", err)
	}
	if _, err := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token"); err == nil {
		t.Log("this is a Pod: its own credentials stay untried")
	} else {
		// A Pod has these; that its token is missing says that it was looked for.
		t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
		t.Setenv("KUBERNETES_SERVICE_PORT", "443")
		if _, err := KubernetesConfig(s); err == nil || !strings.Contains(err.Error(), "credentials of this Pod") || !strings.Contains(err.Error(), "serviceaccount/token") {
			t.Errorf("in a Pod: %v", err)
		}
	}
	s.K8sConfigPath = filepath.Join(dir, "none")
	if _, err = KubernetesConfig(s); err == nil || !strings.Contains(err.Error(), "k8s_config_path") {
		t.Errorf("missing kubeconfig: %v", err)
	}
}

func TestTheTrafficManagerOverrulesTheFileAndIsOverruledByTheRest(t *testing.T) {
	from := Sources{
		File: "f", Environment: []string{"VTM_INGRESS_RETRY_PERIOD=1s"}, Flags: map[string]string{"renew_deadline": "8s"},
		ReadFile: files(map[string]string{"f": enough + "resync_period: 1m\nlease_duration: 20s\n"}),
		TrafficManager: map[string][]string{
			"resync_period": {"2m"}, "retry_period": {"3s"}, "renew_deadline": {"12s"}, "ingress_class_names": {"b", "a"}, "watch_namespace": {""}, "vtm_verbose": {"true"},
		},
	}
	s, err := Load(from)
	if err != nil {
		t.Fatal(err)
	}
	if s.ResyncPeriod != 2*time.Minute || s.RetryPeriod != time.Second || s.RenewDeadline != 8*time.Second || s.LeaseDuration != 20*time.Second ||
		!s.VTMVerbose || !reflect.DeepEqual(s.IngressClassNames, []string{"a", "b"}) {
		t.Errorf("%+v", s)
	}
	if warnings := Warnings(from); len(warnings) > 0 {
		t.Errorf("warnings about nothing: %v", warnings)
	}
}

func TestWhatTheTrafficManagerKeepsIsTakenWithCare(t *testing.T) {
	_, err := Load(Sources{File: "f", ReadFile: files(map[string]string{"f": enough}), TrafficManager: map[string][]string{
		"vtm_endpoints": {"https://10.9.9.9"}, "resync_perod": {"1m"}, "vtm_verbose": {"perhaps"},
	}})
	for _, text := range []string{
		"traffic manager: vtm_endpoints: is never kept there", "traffic manager: resync_perod: no such setting: did you mean resync_period?", "traffic manager: vtm_verbose: ",
	} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("not told: %s: %v", text, err)
		}
	}
	inline := Sources{File: "f", ReadFile: files(map[string]string{"f": enough}), TrafficManager: map[string][]string{
		"k8s_token": {"hunter2"}, "k8s_endpoint": {"https://10.0.0.1:6443"},
	}}
	s, err := Load(inline)
	if err != nil || s.K8sToken.Reveal() != "hunter2" {
		t.Errorf("an inline secret does not work: %v", err)
	}
	if w := Warnings(inline); len(w) != 1 || !strings.Contains(w[0], "k8s_token_file") || strings.Contains(w[0], "hunter2") {
		t.Errorf("warnings %q", w)
	}
}

func TestHowKubernetesIsReachedComesFromOneSource(t *testing.T) {
	load := func(local string, kept map[string][]string) *Settings {
		t.Helper()
		s, err := Load(Sources{File: "f", ReadFile: files(map[string]string{"f": enough + local, "token": "t"}), TrafficManager: kept})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	kept := map[string][]string{"k8s_endpoint": {"https://theirs:6443"}, "k8s_verify_ssl": {"false"}, "k8s_token": {"theirs"}, "vtm_verbose": {"true"}}
	s := load("k8s_endpoint: https://ours:6443\nk8s_token_file: token\n", kept)
	if s.K8sEndpoint != "https://ours:6443" || !s.K8sVerifySSL || s.K8sToken.IsSet() || !s.VTMVerbose {
		t.Errorf("local: %+v", s)
	}
	s = load("k8s_verify_ssl: false\n", map[string][]string{"k8s_endpoint": {"https://theirs:6443"}, "k8s_token": {"theirs"}})
	if s.K8sEndpoint != "https://theirs:6443" || !s.K8sVerifySSL {
		t.Errorf("the traffic manager's: %+v", s)
	}
}

func TestSettingsDifferWhenAFileTheyNameDoes(t *testing.T) {
	load := func(content string) *Settings {
		t.Helper()
		s, err := Load(Sources{File: "f", ReadFile: files(map[string]string{"f": enough + "k8s_config_path: k\n", "k": content})})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if a := load("a"); !a.Equal(load("a")) || a.Equal(load("b")) {
		t.Error("settings are equal where they differ, or the reverse")
	}
}

func FuzzLoad(f *testing.F) {
	f.Add([]byte(enough), "VTM_INGRESS_LOG_FORMAT=json")
	f.Add([]byte("a: &a [*a]\n? [x]\n: y\n<<: *a\n"), "VTM_INGRESS_=1")
	f.Add([]byte("vtm_endpoints: [https://%zz, 'https://[::1', ':']\nlease_duration: -1s"), "VTM_INGRESS_VTM_ENDPOINTS=,,")
	f.Add([]byte("\x00"), "=")
	f.Add([]byte("--- !!binary eA==\n..."), "VTM_INGRESS_PORT")
	f.Fuzz(func(t *testing.T, yaml []byte, variable string) {
		s, err := Load(Sources{
			File: "f", Environment: []string{variable},
			ReadFile: files(map[string]string{"f": string(yaml)}),
		})
		if mistakes := (Mistakes)(nil); err != nil && (!errors.As(err, &mistakes) || len(mistakes) == 0 || s != nil) {
			t.Errorf("%v, %v", s, err)
		}
		if err == nil && s.EnableIngctrl && (len(s.VTMEndpoints) == 0 || s.VTMMember == "" || !s.VTMPassword.IsSet()) {
			t.Errorf("accepted without what is required: %+v", s)
		}
	})
}

func TestWhoMayUseAddressesAndHostsIsRead(t *testing.T) {
	s := load(t, enough+"allowed_addresses: [shop=10.0.2.7/24, '*=2001:db8::1']\nallowed_hosts: [shop=shop.example, 'edge=*']\n")
	wantAddresses := []AllowedAddresses{{"shop", netip.MustParsePrefix("10.0.2.0/24")}, {"*", netip.MustParsePrefix("2001:db8::1/128")}}
	wantHosts := []AllowedHosts{{"shop", "shop.example"}, {"edge", ""}}
	if !slices.Equal(s.AllowedAddresses, wantAddresses) || !slices.Equal(s.AllowedHosts, wantHosts) {
		t.Errorf("addresses %v, hosts %v", s.AllowedAddresses, s.AllowedHosts)
	}
	for _, bad := range []string{"allowed_addresses: [shop=10.0.2.256]", "allowed_addresses: [shop=10.0.2.0/33]", "allowed_addresses: [10.0.0.1]", "allowed_addresses: ['shop=::ffff:1.2.3.4']",
		"allowed_hosts: [shop]", "allowed_hosts: ['shop=*.a']", "allowed_hosts: [shop=A.example]", "default_certificate: cert"} {
		_, err := Load(Sources{File: "f", ReadFile: files(map[string]string{"f": enough + bad})})
		key, _, _ := strings.Cut(bad, ":")
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
