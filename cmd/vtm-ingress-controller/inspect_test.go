package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
	"vtm-ingress/testenv"
	"vtm-ingress/testenv/loopback"
)

// system is a running one and a settings file for it.
type system struct {
	testenv.Env
	kubernetes *kubernetes.Clientset
	settings   string
	dir        string
}

func newSystem(t *testing.T, settings string) *system {
	t.Helper()
	env, err := loopback.Lane{}.Start(t.Context(), testenv.Options{Nodes: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(env.Close)
	client, err := kubernetes.NewForConfig(env.KubernetesConfig())
	if err != nil {
		t.Fatal(err)
	}
	s := &system{Env: env, kubernetes: client, dir: t.TempDir()}
	kubeconfig := s.file(t, "kubeconfig", string(env.Kubeconfig()))
	text := "k8s_config_path: " + kubeconfig + "\n"
	if settings != "" && !strings.Contains(settings, "event_log_relay") {
		text += "event_log_relay: false\n"
	}
	for _, key := range []string{"vtm_endpoints", "vtm_username", "vtm_password", "vtm_verify_ssl_cert"} {
		text += key + ": " + env.Settings()[key] + "\n"
	}
	s.settings = s.file(t, "settings.yaml", text+settings)
	return s
}

func (s *system) file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// run runs a command and checks its status.
func (s *system) run(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	got, stdout, stderr := run(t, nil, append(args, "--config="+s.settings)...)
	if got != status {
		t.Fatalf("%s: status %d, want %d\n%s%s", strings.Join(args, " "), got, status, stdout, stderr)
	}
	if strings.Contains(stdout+stderr, "PRIVATE KEY") || strings.Contains(stdout+stderr, "password: sandbox") {
		t.Errorf("%s: a secret is shown", args)
	}
	return stdout, stderr
}

func holds(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

const class = `apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: vtm}
spec: {controller: pulsesecure.net/vtm-ingress-controller}
`

const web = `# what kubectl apply would get
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web
  annotations: {vtm.pulsesecure.net/ip-address: 10.0.2.223}
spec:
  ingressClassName: vtm
  rules: [{host: web.example, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: NodePort, externalTrafficPolicy: Local, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.1.2], nodeName: node-1, conditions: {ready: true}}]
`

func TestPlanShowsWhatManifestsWouldChangeAndChangesNothing(t *testing.T) {
	s := newSystem(t, "event_log_relay: false\n")
	manifests := s.file(t, "web.yaml", class+"---\n"+web)
	if out, _ := s.run(t, 0, "plan"); !strings.HasPrefix(out, "no changes\n") {
		t.Errorf("an empty cluster: %s", out)
	}
	out, _ := s.run(t, 1, "plan", "-f", manifests)
	holds(t, out, "create virtual_servers/k8s_10.0.2.223_80_", "create pools/k8s_default_web_web_80", "30080", " 0 to delete", "1 programmed, 0 degraded, 0 rejected")

	// Without a cluster there are no nodes, so that the backend can't work.
	out, _ = s.run(t, 1, "plan", "--alone", "-f", manifests)
	holds(t, out, "default/web (degraded)", `node "node-1" is missing`)

	out, _ = s.run(t, 1, "plan", "-o", "json", "-f", manifests)
	var document struct {
		Version int
		Changes []struct{ Action, Type, Name, Owner string }
	}
	if err := json.Unmarshal([]byte(out), &document); err != nil {
		t.Fatal(err)
	}
	if document.Version != 1 || len(document.Changes) < 3 || document.Changes[0].Action != "create" || document.Changes[0].Owner != "Ingress default/web" {
		t.Errorf("%+v", document)
	}
	if writes := s.Writes(); len(writes) > 0 {
		t.Errorf("it wrote: %v", writes)
	}
}

func TestPlanThatCantBeMadeHasStatus2(t *testing.T) {
	s := newSystem(t, "")
	for name, test := range map[string]struct{ manifest, tells string }{
		"no YAML":           {"a: [", "document 1"},
		"an old kind":       {"---\napiVersion: extensions/v1beta1\nkind: Ingress\nmetadata: {name: web}\n", "document 1"},
		"a wrong type":      {class + "---\napiVersion: v1\nkind: Service\nspec: 7\n", "document 2"},
		"no such file":      {"", "no such file"},
		"alone without any": {"", "--alone needs -f"},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"plan"}
			switch {
			case test.manifest != "":
				args = append(args, "-f", s.file(t, "wrong.yaml", test.manifest))
			case name == "no such file":
				args = append(args, "-f", filepath.Join(s.dir, "none"))
			default:
				args = append(args, "--alone")
			}
			_, stderr := s.run(t, 2, args...)
			holds(t, stderr, test.tells)
		})
	}
}

// served brings up an Ingress that is served.
func (s *system) served(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	_, err := s.kubernetes.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vtm"}, Spec: networkingv1.IngressClassSpec{Controller: "pulsesecure.net/vtm-ingress-controller"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = s.kubernetes.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err = s.kubernetes.NetworkingV1().Ingresses("default").Create(ctx, &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"vtm.pulsesecure.net/ip-address": "10.0.2.223"}},
		Spec: networkingv1.IngressSpec{IngressClassName: ptr.To("vtm"), DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.StartController(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Eventually(ctx, func(ctx context.Context) error {
		ingress, err := s.kubernetes.NetworkingV1().Ingresses("default").Get(ctx, "web", metav1.GetOptions{})
		if err == nil && len(ingress.Status.LoadBalancer.Ingress) == 0 {
			err = fmt.Errorf("no address yet:\n%s", s.ControllerLog())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// hasEndpoint gives the Service web an endpoint on a node.
func (s *system) hasEndpoint(t *testing.T, node string) {
	t.Helper()
	if _, err := s.kubernetes.DiscoveryV1().EndpointSlices("default").Create(t.Context(), &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "web", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: ptr.To(int32(80)), Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.9"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestOneIngressIsExplainedAndAllIsCheckedCleanedUpAndAdopted(t *testing.T) {
	s := newSystem(t, "lease_duration: 2s\nrenew_deadline: 1s\nretry_period: 100ms\n")
	s.served(t)
	s.hasEndpoint(t, "node-1")

	out, _ := s.run(t, 0, "explain", "web")
	holds(t, out, "Ingress default/web: programmed", "10.0.2.223, ports 80", "virtual_servers/k8s_10.0.2.223_80_", ": as it should be",
		"Routes on port 80, in the order in which they are tried:\n", "of any Ingress, goes to Service default/web, port 80 (nodes ")
	if _, stderr := s.run(t, 1, "explain", "shop/none"); !strings.Contains(stderr, "Ingress shop/none: there is none") {
		t.Errorf("%s", stderr)
	}
	out, _ = s.run(t, 0, "plan")
	holds(t, out, "no changes\n", "1 programmed")

	out, _ = s.run(t, 0, "check")
	holds(t, out, "ok       Kubernetes: ", "ok       permissions in Kubernetes: ", "ok       traffic manager https://", "ok       IngressClass: vtm",
		"ok       ownership: ", "ok       the instance that writes: ", "ok       clocks: ", "ok       nodes' ports: reached on 2 nodes")

	// Nodes that the traffic manager can't reach.
	for name, addresses := range map[string][]corev1.NodeAddress{
		"away": {{Type: corev1.NodeInternalIP, Address: "127.255.1.1"}}, "bare": {{Type: corev1.NodeHostName, Address: "bare"}},
	} {
		node, err := s.kubernetes.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Status.Addresses = addresses
		if _, err := s.kubernetes.CoreV1().Nodes().UpdateStatus(t.Context(), node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	out, _ = s.run(t, 0, "check")
	holds(t, out, "warning  nodes' ports: not reached from here: node away (127.255.1.1:", "open the way from the traffic managers to the nodes' ports",
		"warning  nodes' ports: node bare has no address of the type InternalIP", "set node_address_type", "ok       nodes' ports: reached on 2 nodes")

	// Nobody cleans up beside a controller that runs.
	_, stderr := s.run(t, 1, "cleanup", "--yes")
	holds(t, stderr, "stop it first")
	s.StopController()
	out, _ = s.run(t, 0, "cleanup")
	holds(t, out, "delete pools/k8s_default_web_web_80", "nothing was changed: --yes does it")
	if _, body, err := s.REST(t.Context(), http.MethodGet, "pools/k8s_default_web_web_80", nil); err != nil || !bytes.Contains(body, []byte("vtm-ingress/1")) {
		t.Errorf("without --yes the pool is gone: %s %v", body, err)
	}

	// Another cluster's marks: nothing is planned, check says why, adopt mends it.
	for _, path := range []string{"pools/k8s_default_web_web_80"} {
		_, body, err := s.REST(t.Context(), http.MethodGet, path, nil)
		if err != nil {
			t.Fatal(err)
		}
		var resource struct {
			Properties struct{ Basic struct{ Note string } }
		}
		if err := json.Unmarshal(body, &resource); err != nil {
			t.Fatal(err)
		}
		before, after, _ := strings.Cut(resource.Properties.Basic.Note, "cluster=")
		_, after, _ = strings.Cut(after, " ")
		note, _ := json.Marshal(before + "cluster=another " + after)
		if status, answer, err := s.REST(t.Context(), http.MethodPut, path, []byte(`{"properties":{"basic":{"note":`+string(note)+`}}}`)); err != nil || status != 200 {
			t.Fatalf("%d %s %v", status, answer, err)
		}
	}
	_, stderr = s.run(t, 2, "plan")
	holds(t, stderr, "belong to the Kubernetes cluster another")
	out, _ = s.run(t, 1, "check")
	holds(t, out, "problem  ownership", "run adopt")
	out, _ = s.run(t, 0, "adopt", "--yes")
	holds(t, out, "adopt pools/k8s_default_web_web_80, of cluster another", "1 resources")
	if out, _ = s.run(t, 0, "adopt"); !strings.Contains(out, "nothing to adopt") {
		t.Errorf("%s", out)
	}
	s.run(t, 0, "plan")

	s.run(t, 0, "cleanup", "--yes")
	out, _ = s.run(t, 0, "cleanup")
	holds(t, out, "0 resources")
}

func TestWhatTakesLogLinesIsNoChange(t *testing.T) {
	s := newSystem(t, "")
	s.Set("event_log_relay", "true")
	s.served(t)
	if out, _ := s.run(t, 0, "plan"); !strings.HasPrefix(out, "no changes\n") {
		t.Errorf("%s", out)
	}
}

func TestAPlanTellsOfManifestsThatAreNotOurs(t *testing.T) {
	s := newSystem(t, "event_log_relay: false\n")
	file := s.file(t, "typo.yaml", class+"---\n"+strings.Replace(web, "ingressClassName: vtm", "ingressClassName: vtn", 1))
	out, _ := s.run(t, 0, "plan", "--alone", "-f", file)
	holds(t, out, "no changes\n", "default/web (foreign)", `there is no IngressClass "vtn": create it, or name another`, "0 programmed, 0 degraded, 0 rejected")
}

func TestCheckLooksForWhatSettingsName(t *testing.T) {
	s := newSystem(t, "default_traffic_ip_group: nosuchgroup\ndefault_certificate: default/nosuch\ningress_class_names: other\n")
	if _, err := s.kubernetes.NetworkingV1().IngressClasses().Create(t.Context(), &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vtm"}, Spec: networkingv1.IngressClassSpec{Controller: "pulsesecure.net/vtm-ingress-controller"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	out, _ := s.run(t, 0, "check")
	holds(t, out, `warning  default_traffic_ip_group: there is no Traffic IP Group "nosuchgroup" on the traffic manager`, ": create it, or name another",
		"warning  default_certificate: there is no TLS Secret default/nosuch that is watched", "warning  IngressClass: ingress_class_names leaves out all", "(vtm): name one of them in ingress_class_names")

	if status, answer, err := s.REST(t.Context(), http.MethodPut, "traffic_ip_groups/nosuchgroup", []byte(`{"properties":{"basic":{"ipaddresses":["10.0.9.9"]}}}`)); err != nil || status != 201 {
		t.Fatalf("%d %s %v", status, answer, err)
	}
	out, _ = s.run(t, 0, "check")
	holds(t, out, "ok       default_traffic_ip_group: nosuchgroup")
}

func TestCheckNamesWhatIsAwayWithItsRemedy(t *testing.T) {
	s := newSystem(t, "")
	s.Fault(testenv.Unauthorized)
	out, _ := s.run(t, 1, "check")
	holds(t, out, "problem  traffic manager https://", "user name or password refused", "a user is needed who may make REST requests", "problem  traffic managers: none can be used", "warning  IngressClass: none that is served", "warning  the instance that writes: ")
}

// shifted is a World whose clock is wrong.
type shifted struct{ outside.World }

type shiftedClock struct{ outside.Clock }

func (s shifted) Clock() outside.Clock { return shiftedClock{s.World.Clock()} }
func (s shiftedClock) Now() time.Time  { return s.Clock.Now().Add(time.Hour) }

// What is wrong is told with what helps, each of it.
func TestCheckTellsOfClocksAndHasARemedyForEachFinding(t *testing.T) {
	s := newSystem(t, "")
	settings, err := config.Load(config.Sources{File: s.settings})
	if err != nil {
		t.Fatal(err)
	}
	world := shifted{outside.Real()}
	log := slog.New(slog.DiscardHandler)
	clientOf := func(endpoint string) (*vtm.Client, error) {
		alone := *settings
		alone.VTMEndpoints, alone.VTMMember = []string{endpoint}, endpoint
		return controller.NewClient(controller.Options{World: world, Log: log, Actor: "check/" + endpoint}, &alone)
	}
	client, err := clientOf(settings.VTMEndpoints[0])
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	told := map[string]bool{}
	for _, fault := range []testenv.Fault{testenv.Healthy, testenv.Away} {
		s.Fault(fault)
		findings, _ := inspect.Check(t.Context(), inspect.CheckOptions{ClientOf: clientOf, Options: inspect.Options{
			World: world, Log: log, Settings: settings, Kubernetes: s.KubernetesConfig(), Client: client, Actor: "check",
		}})
		for _, f := range findings {
			if (f.Level == inspect.Good) != (f.Remedy == "") {
				t.Errorf("%s: the remedy is %q", f, f.Remedy)
			}
			if f.Level == inspect.Warning && strings.Contains(f.Text, "its clock is -1h0m") {
				about, _, _ := strings.Cut(f.About, " https")
				told[about] = true
			}
		}
	}
	if !told["Kubernetes"] || !told["traffic manager"] {
		t.Errorf("clocks that are told: %v", told)
	}
}

func TestSettingsAreKeptOnTheTrafficManagerIfTheyAreRight(t *testing.T) {
	s := newSystem(t, "")
	if out, _ := s.run(t, 0, "settings"); out != "" {
		t.Errorf("kept: %s", out)
	}
	s.run(t, 0, "settings", "set", "resync_period=5m", "ingress_class_names=b,a")
	if out, _ := s.run(t, 0, "settings", "get"); out != "ingress_class_names=b,a\nresync_period=5m\n" {
		t.Errorf("kept: %s", out)
	}
	_, stderr := s.run(t, 2, "settings", "set", "resync_period=often")
	holds(t, stderr, "nothing was changed", "resync_period")
	_, stderr = s.run(t, 2, "settings", "set", "vtm_endpoints=https://10.0.0.1")
	holds(t, stderr, "is never kept there")
	_, stderr = s.run(t, 1, "settings", "set", "k8s_token=hunter2")
	holds(t, stderr, "k8s_token_file")
	s.run(t, 0, "settings", "unset", "resync_period")
	if out, _ := s.run(t, 0, "settings"); out != "ingress_class_names=b,a\n" {
		t.Errorf("kept: %s", out)
	}
}

func TestHealthIsThatOfTheControllerOfThisMachine(t *testing.T) {
	address := free(t)
	if status, _, _ := run(t, nil, "health", "--enable-ingctrl=false", "--metrics-address="+address); status != 1 {
		t.Errorf("nobody runs: status %d, want 1", status)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		var ignored bytes.Buffer
		done <- command(ctx, []string{"run", "--enable-ingctrl=false", "--metrics-address=" + address}, nil, &ignored, &ignored, keepLibraries)
	}()
	get(t, t.Context(), "http://"+address+"/healthz")
	if status, out, stderr := run(t, nil, "health", "--enable-ingctrl=false", "--metrics-address="+address); status != 0 || out != "ok\n" {
		t.Errorf("status %d, %s%s", status, out, stderr)
	}
	stop()
	<-done
}

func TestThePlanHasWhatTakesLogLinesBeforeItIsThere(t *testing.T) {
	s := newSystem(t, "event_log_relay: true\n")
	out, _ := s.run(t, 1, "plan")
	holds(t, out, "create ssl/server_keys/k8s_event-log", "create virtual_servers/k8s_event-log", "drawn by the controller")
	if again, _ := s.run(t, 1, "plan"); again != out {
		t.Errorf("the same plan, made again, is\n%s\nand was\n%s", again, out)
	}
	_, out, _ = run(t, nil, "check", "--config="+s.settings)
	holds(t, out, "warning  the event log's relay: ", ":9072 is not reached from here")
}
