package contract

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"text/template"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"vtm-ingress/controller/config"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/sandbox"
)

var update = flag.Bool("update", false, "write deploy/manifests.yaml and the chart's values anew")

const chart = "../../deploy/chart"

// render makes of the chart what Helm makes of it, with the functions of Helm that
// the chart uses: a template that uses another one fails here.
func render(values map[string]any) (string, error) {
	t := template.New("chart").Option("missingkey=zero")
	functions := template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := t.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"nindent": func(n int, text string) string {
			indent := "\n" + strings.Repeat(" ", n)
			return indent + strings.ReplaceAll(text, "\n", indent)
		},
		"required": func(why string, value any) (any, error) {
			if value == nil || fmt.Sprint(value) == "" || fmt.Sprint(value) == "[]" {
				return nil, errors.New(why)
			}
			return value, nil
		},
		"default": func(fallback, value any) any {
			if value == nil || value == "" {
				return fallback
			}
			return value
		},
		"quote":    func(value any) string { return fmt.Sprintf("%q", fmt.Sprint(value)) },
		"toString": func(value any) string { return fmt.Sprint(value) },
		"toJson":   func(value any) (string, error) { b, err := json.Marshal(value); return string(b), err },
		"toYaml": func(value any) (string, error) {
			b, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(b), "\n"), err
		},
		"trim":      strings.TrimSpace,
		"splitList": func(separator, text string) []string { return strings.Split(text, separator) },
		"last":      func(list []string) string { return list[len(list)-1] },
	}
	if _, err := t.Funcs(functions).ParseGlob(chart + "/templates/*"); err != nil {
		return "", err
	}
	data := map[string]any{"Values": values, "Release": map[string]any{"Name": "vtm-ingress", "Namespace": "vtm-ingress"}}
	var all strings.Builder
	for _, file := range []string{"rbac.yaml", "settings.yaml", "ingressclass.yaml", "controller.yaml"} {
		all.WriteString("---\n")
		if err := t.ExecuteTemplate(&all, file, data); err != nil {
			return "", err
		}
	}
	return all.String(), nil
}

// values are the chart's, with what an operator must give, and more.
func values(t *testing.T, more map[string]any) map[string]any {
	t.Helper()
	text, err := os.ReadFile(chart + "/values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := yaml.UnmarshalStrict(text, &all); err != nil {
		t.Fatal(err)
	}
	all["image"].(map[string]any)["repository"] = "registry.example/vtm-ingress-controller"
	all["image"].(map[string]any)["tag"] = "built-by-you"
	all["vtmCA"] = "-----BEGIN CERTIFICATE-----\n(of the traffic managers)\n-----END CERTIFICATE-----"
	settings := all["settings"].(map[string]any)
	settings["vtm_endpoints"] = []any{"https://10.0.0.11:9070", "https://10.0.0.12:9070"}
	for key, value := range more {
		settings[key] = value
	}
	return all
}

func rendered(t *testing.T, more map[string]any) string {
	t.Helper()
	text, err := render(values(t, more))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// objects are those of a text of several documents; unknown fields fail.
func objects(t *testing.T, text string) (list []runtime.Object) {
	t.Helper()
	codecs := scheme.Codecs.UniversalDeserializer()
	for documents := utilyaml.NewYAMLReader(bufio.NewReader(strings.NewReader(text))); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return list
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimSpace(document)) == 0 {
			continue
		}
		object, _, err := codecs.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		strict := object.DeepCopyObject()
		if err := yaml.UnmarshalStrict(document, strict); err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		list = append(list, object)
	}
}

func TestTheChartGrantsWhatTheControllerNeedsAndNoMore(t *testing.T) {
	for _, watched := range []string{"", "shop"} {
		text := rendered(t, map[string]any{"watch_namespace": watched})
		path := filepath.Join(t.TempDir(), "chart.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(needed(chartSettings(t, text)), granted(t, path)); d != "" {
			t.Errorf("watched namespace %q (-needed +granted):\n%s", watched, d)
		}
	}
}

// chartSettings are those that the controller finds in the rendered ConfigMap.
func chartSettings(t *testing.T, text string) *config.Settings {
	t.Helper()
	for _, object := range objects(t, text) {
		data, ok := object.(*corev1.ConfigMap)
		if !ok {
			continue
		}
		settings, err := config.Load(config.Sources{File: "settings.yaml", ReadFile: func(path string) ([]byte, error) {
			if filepath.Base(path) == "password" {
				return []byte("secret"), nil
			}
			content, ok := data.Data[filepath.Base(path)]
			if !ok {
				return nil, fs.ErrNotExist
			}
			if strings.HasSuffix(path, ".pem") {
				content = certificate(t)
			}
			return []byte(content), nil
		}})
		if err != nil {
			t.Fatalf("the controller can't use the chart's settings: %v\n%s", err, data.Data["settings.yaml"])
		}
		return settings
	}
	t.Fatal("the chart has no ConfigMap")
	return nil
}

// certificate is some, PEM.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestTheChartsSettingsReachTheController(t *testing.T) {
	s := chartSettings(t, rendered(t, map[string]any{"resync_period": "3m", "allowed_hosts": []any{"shop=shop.example"}, "vtm_verbose": true}))
	if s.ResyncPeriod != 3*time.Minute || len(s.AllowedHosts) != 1 || !s.VTMVerbose || s.LeaseNamespace != "vtm-ingress" || !slices.Equal(s.VTMEndpoints, []string{"https://10.0.0.11:9070", "https://10.0.0.12:9070"}) || s.MetricsAddress != ":9100" {
		t.Errorf("%+v", s)
	}
}

func TestTheChartRunsOneInstanceForEachTrafficManager(t *testing.T) {
	members := map[string]bool{}
	for _, object := range objects(t, rendered(t, nil)) {
		if d, ok := object.(*appsv1.Deployment); ok {
			c := d.Spec.Template.Spec.Containers[0]
			members[c.Env[0].Value] = true
			if c.LivenessProbe.HTTPGet.Path != "/healthz" || c.ReadinessProbe.HTTPGet.Path != "/readyz" || c.Ports[0].ContainerPort != 9100 {
				t.Errorf("probes of %s: %v %v", d.Name, c.LivenessProbe, c.ReadinessProbe)
			}
		}
	}
	if d := cmp.Diff(map[string]bool{"https://10.0.0.11:9070": true, "https://10.0.0.12:9070": true}, members); d != "" {
		t.Error(d)
	}
}

func TestTheChartSaysWhatIsMissing(t *testing.T) {
	for missing, change := range map[string]func(map[string]any){
		"image.repository": func(v map[string]any) { v["image"].(map[string]any)["repository"] = "" },
		"image.tag":        func(v map[string]any) { v["image"].(map[string]any)["tag"] = "" },
		"vtm_endpoints":    func(v map[string]any) { v["settings"].(map[string]any)["vtm_endpoints"] = []any{} },
	} {
		v := values(t, nil)
		change(v)
		if text, err := render(v); err == nil || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v\n%s", missing, err, text)
		}
	}
}

// TestTheManifestsAreTheChart holds the page for those without Helm to the chart.
func TestTheManifestsAreTheChart(t *testing.T) {
	const path = "../../deploy/manifests.yaml"
	text := "# The chart in deploy/chart as it comes out for two traffic managers, for those who\n" +
		"# don't use Helm. Replace the image by the one that you built, the endpoints (in the\n" +
		"# ConfigMap, and in each Deployment) and the certificate; create the namespace\n" +
		"# vtm-ingress and in it the Secret vtm-ingress with the key password.\n" + rendered(t, nil)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(have), text); d != "" {
		t.Errorf("%s is stale: make docs writes it\n%s", path, d)
	}
}

// notInTheChart are settings that it gives itself, or that have no place in a file
// which others read.
var notInTheChart = []string{"vtm_member", "vtm_password_file", "vtm_ca_file"}

func TestTheChartHasEachSettingWithItsDefault(t *testing.T) {
	const path, mark = chart + "/values.yaml", "# Settings (docs/settings.md). Empty: not given.\nsettings:\n"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(string(have), mark)
	var b strings.Builder
	for _, s := range config.All() {
		if s.Type == "secret" || slices.Contains(notInTheChart, s.Key) {
			continue
		}
		value := fmt.Sprintf("%q", s.Default)
		switch {
		case s.Type == "urls" || s.Type == "names":
			value = "[]"
		case s.Type == "bool":
			value = s.Default
		case s.Key == "metrics_address":
			value = `":9100"` // probes need it
		}
		line := "  #"
		for _, word := range strings.Fields(s.Meaning) {
			if len(line)+len(word) > 86 {
				b.WriteString(line + "\n")
				line = "  #"
			}
			line += " " + word
		}
		fmt.Fprintf(&b, "%s\n  %s: %s\n", line, s.Key, value)
	}
	want := head + mark + b.String()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		have = []byte(want)
	}
	if d := cmp.Diff(string(have), want); d != "" {
		t.Errorf("%s is stale: make docs writes it\n%s", path, d)
	}
}

// TestKubernetesTakesWhatIsInDeploy creates all of it, with fields validated.
func TestKubernetesTakesWhatIsInDeploy(t *testing.T) {
	texts := map[string]string{"the chart": rendered(t, nil), "the chart for one namespace": rendered(t, map[string]any{"watch_namespace": "shop"})}
	for _, path := range roleFiles {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		texts[path] = string(text)
	}
	for name, text := range texts {
		t.Run(filepath.Base(name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { apply(t, objects(t, text)) })
		})
	}
}

func apply(t *testing.T, list []runtime.Object) {
	network.SeedChance(1)
	n := network.New(network.Options{Seed: 1})
	defer func() {
		n.Close()
		time.Sleep(2 * time.Minute)
	}()
	box, err := sandbox.Start(t.Context(), sandbox.Options{
		World: n.World(), Log: slog.New(slog.DiscardHandler), Addresses: sandbox.DefaultAddresses(), Nodes: 1, Simulated: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	client, err := kubeclient.New(n.World(), "test", box.KubernetesConfig("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for _, name := range []string{"shop", "vtm-ingress"} {
		if _, err := client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, object := range list {
		kind := object.GetObjectKind().GroupVersionKind()
		if kind.Kind == "Namespace" {
			continue
		}
		path := "/apis/" + kind.GroupVersion().String()
		if kind.Group == "" {
			path = "/api/v1"
		}
		if namespace := object.(metav1.Object).GetNamespace(); namespace != "" {
			path += "/namespaces/" + namespace
		}
		plural := strings.ToLower(kind.Kind) + "s"
		if strings.HasSuffix(plural, "ss") {
			plural = strings.ToLower(kind.Kind) + "es"
		}
		body, err := json.Marshal(object)
		if err != nil {
			t.Fatal(err)
		}
		answer := client.Discovery().RESTClient().Post().AbsPath(path, plural).Param("fieldValidation", "Strict").
			SetHeader("Content-Type", "application/json").Body(body).Do(t.Context())
		if err := answer.Error(); err != nil {
			t.Errorf("%s %s: %v", kind.Kind, object.(metav1.Object).GetName(), err)
		}
	}
}
