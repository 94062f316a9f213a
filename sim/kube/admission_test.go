package kube_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

// steppedWorld has a clock that stands until it is told.
type steppedWorld struct {
	outside.World
	now *clocktesting.FakeClock
}

func (w steppedWorld) Clock() outside.Clock { return w.now }

func TestIngressesWithoutAClassGetTheDefault(t *testing.T) {
	for _, version := range []string{"1.25", ""} {
		t.Run("version "+version, func(t *testing.T) {
			now := clocktesting.NewFakeClock(time.Now())
			s := start(t, func(o *kube.Options) { o.Version, o.World = version, steppedWorld{o.World, now} })
			c, ctx := client(t, s, "a"), deadline(t)
			class := func(name, isDefault string) {
				t.Helper()
				now.Step(time.Second)
				_, err := c.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{
					ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{networkingv1.AnnotationIsDefaultIngressClass: isDefault}},
					Spec:       networkingv1.IngressClassSpec{Controller: "example.com/c"},
				}, metav1.CreateOptions{})
				if err != nil {
					t.Fatal(err)
				}
			}
			create := func(class *string, annotations map[string]string) (*networkingv1.Ingress, error) {
				return c.NetworkingV1().Ingresses(here).Create(ctx, &networkingv1.Ingress{
					ObjectMeta: metav1.ObjectMeta{GenerateName: "web-", Annotations: annotations},
					Spec: networkingv1.IngressSpec{IngressClassName: class, DefaultBackend: &networkingv1.IngressBackend{
						Service: &networkingv1.IngressServiceBackend{Name: "app", Port: networkingv1.ServiceBackendPort{Number: 80}},
					}},
				}, metav1.CreateOptions{})
			}
			expect := func(why string, asked *string, annotations map[string]string, want *string) *networkingv1.Ingress {
				t.Helper()
				ingress, err := create(asked, annotations)
				if err != nil {
					t.Fatalf("%s: %v", why, err)
				}
				if got := ingress.Spec.IngressClassName; !ptr.Equal(got, want) {
					t.Errorf("%s: class %q", why, ptr.Deref(got, "<nil>"))
				}
				return ingress
			}

			class("plain", "false")
			before := expect("no class is the default", nil, nil, nil)
			class("alpha", "true")
			expect("one default", nil, nil, ptr.To("alpha"))
			expect("a class is named", ptr.To("plain"), nil, ptr.To("plain"))
			expect("a class is named the old way", nil, map[string]string{"kubernetes.io/ingress.class": "x"}, nil)

			before.Labels = map[string]string{"a": "b"}
			after, err := c.NetworkingV1().Ingresses(here).Update(ctx, before, metav1.UpdateOptions{})
			if err != nil || after.Spec.IngressClassName != nil {
				t.Errorf("an update got a class: %v %v", after, err)
			}

			class("zulu", "true")
			if version == "1.25" {
				if _, err := create(nil, nil); !apierrors.IsForbidden(err) {
					t.Errorf("two defaults on %s: %v", version, err)
				}
				return
			}
			expect("two defaults", nil, nil, ptr.To("zulu"))
		})
	}
}

func TestTheServiceKubernetesLeadsToTheServer(t *testing.T) {
	for _, version := range []string{"1.20", ""} {
		s := start(t, func(o *kube.Options) { o.Version = version })
		c, ctx := client(t, s, "a"), deadline(t)
		endpoints, err := c.CoreV1().Endpoints(here).Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := hostPort(endpoints.Subsets[0].Addresses[0].IP, endpoints.Subsets[0].Ports[0].Port); got != s.Address() {
			t.Errorf("Endpoints lead to %s, the server is at %s", got, s.Address())
		}
		if version == "1.20" {
			continue
		}
		slice, err := c.DiscoveryV1().EndpointSlices(here).Get(ctx, "kubernetes", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := hostPort(slice.Endpoints[0].Addresses[0], *slice.Ports[0].Port); got != s.Address() {
			t.Errorf("the EndpointSlice leads to %s, the server is at %s", got, s.Address())
		}
	}
}

func hostPort(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }
