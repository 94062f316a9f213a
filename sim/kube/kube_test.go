package kube_test

import (
	"context"
	"log/slog"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

// start runs a server on a loopback address for the duration of the test.
func start(t *testing.T, change func(*kube.Options)) *kube.Server {
	t.Helper()
	o := kube.Options{
		World:   outside.Real(),
		Log:     slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Address: "127.0.0.1:0",
	}
	if change != nil {
		change(&o)
	}
	s, err := kube.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func client(t *testing.T, s *kube.Server, user string) *kubeclient.Client {
	t.Helper()
	c, err := kubeclient.New(outside.Real(), user, s.Config(user))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func deadline(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

func service(name string, kind corev1.ServiceType) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: kind, Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

func ingress(name string) *networkingv1.Ingress {
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.IngressSpec{DefaultBackend: &networkingv1.IngressBackend{
			Service: &networkingv1.IngressServiceBackend{Name: "app", Port: networkingv1.ServiceBackendPort{Number: 80}},
		}},
	}
}

func TestInformersSeeWhatIsCreated(t *testing.T) {
	s := start(t, nil)
	c := client(t, s, "informers")
	ctx := deadline(t)
	factory := informers.NewSharedInformerFactory(c, 0)
	added := make(chan string, 100)
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().ConfigMaps().Informer(), factory.Core().V1().Services().Informer(), factory.Networking().V1().Ingresses().Informer(),
	} {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
			key, _ := cache.MetaNamespaceKeyFunc(obj)
			added <- key
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	watching, stop := context.WithCancel(ctx)
	factory.Start(watching.Done())
	defer factory.Shutdown()
	defer stop()
	for kind, ok := range factory.WaitForCacheSync(ctx.Done()) {
		if !ok {
			t.Fatalf("%s: informer has no list", kind)
		}
	}
	if _, err := c.CoreV1().ConfigMaps("default").Create(ctx, configMap("settings", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	created, err := c.CoreV1().Services("default").Create(ctx, service("app", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if port := created.Spec.Ports[0]; port.NodePort < 30000 || port.TargetPort != intstr.FromInt32(80) || port.Protocol != "TCP" || created.Spec.ClusterIP == "" {
		t.Errorf("service without defaults: %+v", created.Spec)
	}
	if _, err := c.NetworkingV1().Ingresses("default").Create(ctx, ingress("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"default/settings": true, "default/app": true, "default/web": true}
	for len(want) > 0 {
		select {
		case key := <-added:
			delete(want, key)
		case <-ctx.Done():
			t.Fatalf("never seen: %v", want)
		}
	}
}
