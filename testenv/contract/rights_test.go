package contract

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/controller/kube"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/sandbox"
)

// granted are the rights that a file of deploy/ gives.
func granted(t *testing.T, path string) (rights []string) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	add := func(namespace string, rules []rbacv1.PolicyRule) {
		for _, rule := range rules {
			names := rule.ResourceNames
			if len(names) == 0 {
				names = []string{""}
			}
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						for _, name := range names {
							resource, sub, _ := strings.Cut(resource, "/")
							rights = append(rights, inspect.Right{Group: group, Resource: resource, Subresource: sub, Verb: verb, Namespace: namespace, Name: name}.String())
						}
					}
				}
			}
		}
	}
	for documents := yaml.NewYAMLReader(bufio.NewReader(file)); ; {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			slices.Sort(rights)
			return rights
		}
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		switch o := object.(type) {
		case *rbacv1.ClusterRole:
			add("", o.Rules)
		case *rbacv1.Role:
			add(o.Namespace, o.Rules)
		}
	}
}

// needed are the rights that the controller says it needs.
func needed(s *config.Settings) (rights []string) {
	for _, right := range inspect.Rights(s) {
		// A role for one object names no namespace: a namespace's own object.
		if right.Resource == "namespaces" {
			right.Namespace = ""
		}
		rights = append(rights, right.String())
	}
	slices.Sort(rights)
	return rights
}

func settingsFor(namespace string, box *sandbox.Sandbox) (*config.Settings, error) {
	environment := []string{"VTM_INGRESS_VTM_PASSWORD=" + sandbox.Password, "VTM_INGRESS_WATCH_NAMESPACE=" + namespace,
		"VTM_INGRESS_VTM_USERNAME=" + sandbox.ControllerUser, "VTM_INGRESS_VTM_ENDPOINTS=http://127.0.0.1:9070", "VTM_INGRESS_RESYNC_PERIOD=1m"}
	if box != nil {
		environment = append(environment, "VTM_INGRESS_VTM_ENDPOINTS="+strings.Join(box.RESTEndpoints(), ","))
	}
	return config.Load(config.Sources{Environment: environment})
}

var roleFiles = map[string]string{"": "../../deploy/rbac.yaml", "shop": "../../deploy/rbac-one-namespace.yaml"}

func TestTheRolesInDeployGrantWhatTheControllerNeedsAndNoMore(t *testing.T) {
	for namespace, path := range roleFiles {
		settings, err := settingsFor(namespace, nil)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(needed(settings), granted(t, path)); d != "" {
			t.Errorf("%s (-needed +granted):\n%s", path, d)
		}
	}
}

func TestTheRoleForACMEGrantsWhatItAddsAndNoMore(t *testing.T) {
	settings, err := settingsFor("", nil)
	if err != nil {
		t.Fatal(err)
	}
	without := sets.New(needed(settings)...)
	issuing := *settings
	issuing.ACMETermsAgreed = true
	added := sets.List(sets.New(needed(&issuing)...).Difference(without))
	if d := cmp.Diff(added, granted(t, "../../deploy/rbac-acme.yaml")); d != "" {
		t.Errorf("deploy/rbac-acme.yaml (-needed +granted):\n%s", d)
	}
}

// witness notes which rights requests to the API server take.
type witness struct {
	outside.World
	host string

	mu   sync.Mutex
	used sets.Set[string]
}

func (w *witness) HTTPClient(actor string, config *tls.Config) *http.Client {
	client := w.World.HTTPClient(actor, config)
	client.Transport = &noting{client.Transport, w}
	return client
}

type noting struct {
	http.RoundTripper
	w *witness
}

func (n *noting) CloseIdleConnections() {
	if c, ok := n.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

func (n *noting) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Host == n.w.host {
		factory := request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
		info, err := factory.NewRequestInfo(r)
		if err == nil && info.IsResourceRequest && info.Resource != "" {
			right := inspect.Right{Group: info.APIGroup, Resource: info.Resource, Subresource: info.Subresource, Verb: info.Verb, Namespace: info.Namespace, Name: info.Name}
			switch {
			case right.Resource == "namespaces":
				right.Namespace = ""
			case right.Resource != "leases":
				right.Name = ""
			}
			n.w.mu.Lock()
			n.w.used.Insert(right.String())
			n.w.mu.Unlock()
		}
	}
	return n.RoundTripper.RoundTrip(r)
}

// TestTheControllerUsesAllItsRightsAndNoOthers runs it against old and new API
// servers, for one namespace and for all.
func TestTheControllerUsesAllItsRightsAndNoOthers(t *testing.T) {
	for _, namespace := range []string{"", "shop"} {
		used := sets.New[string]()
		for _, version := range []string{"1.20", "1.25", ""} {
			synctest.Test(t, func(t *testing.T) { used = used.Union(rightsUsed(t, version, namespace)) })
		}
		settings, err := settingsFor(namespace, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := sets.New[string]()
		for _, right := range needed(settings) {
			// What is told of an Ingress is told in its namespace, whatever is watched.
			for _, told := range []string{"patch ingresses.networking.k8s.io/status", "create events"} {
				if right == told {
					right += " in namespace shop"
				}
			}
			want.Insert(right)
		}
		if d := cmp.Diff(sets.List(want), sets.List(used)); d != "" {
			t.Errorf("watched namespace %q (-declared +used):\n%s", namespace, d)
		}
	}
}

func rightsUsed(t *testing.T, version, namespace string) sets.Set[string] {
	ctx := t.Context()
	network.SeedChance(1)
	n := network.New(network.Options{Seed: 1})
	defer func() {
		n.Close()
		time.Sleep(2 * time.Minute)
	}()
	box, err := sandbox.Start(ctx, sandbox.Options{
		World: n.World(), Log: slog.New(slog.DiscardHandler), Addresses: sandbox.DefaultAddresses(),
		KubernetesVersion: version, Nodes: 1, TrafficManagers: 1, Strict: true, Simulated: true,
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
	create := metav1.CreateOptions{}
	_, err1 := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, create)
	_, err2 := client.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vtm"}, Spec: networkingv1.IngressClassSpec{Controller: "pulsesecure.net/vtm-ingress-controller"},
	}, create)
	_, err3 := client.CoreV1().Services("shop").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
	}, create)
	_, err4 := client.NetworkingV1().Ingresses("shop").Create(ctx, &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"vtm.pulsesecure.net/ip-address": "10.0.2.223"}},
		Spec: networkingv1.IngressSpec{IngressClassName: ptr.To("vtm"), DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}},
	}, create)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	settings, err := settingsFor(namespace, box)
	if err != nil {
		t.Fatal(err)
	}
	kubernetes := box.KubernetesConfig("vtm-ingress")
	w := &witness{World: n.World(), host: strings.TrimPrefix(strings.TrimPrefix(kubernetes.Host, "http://"), "https://"), used: sets.New[string]()}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- controller.Run(running, controller.Options{
			World: w, Log: slog.New(slog.DiscardHandler), Settings: settings, KubernetesConfig: kubernetes, Actor: "controller/a",
		})
	}()
	time.Sleep(5 * time.Minute)
	ingress, err := client.NetworkingV1().Ingresses("shop").Get(ctx, "web", metav1.GetOptions{})
	if err != nil || len(ingress.Status.LoadBalancer.Ingress) == 0 {
		t.Errorf("not served: %v", err)
	}
	// As plan and check do, and the controller before it takes away much: a newer API
	// server is not asked for lists otherwise.
	if _, err := kube.List(ctx, kube.Options{World: w, Log: slog.New(slog.DiscardHandler), Config: kubernetes, Settings: settings, Actor: "plan"}); err != nil {
		t.Error(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(fmt.Errorf("controller: %w", err))
	}
	return w.used
}
