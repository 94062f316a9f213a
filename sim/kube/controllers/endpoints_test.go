//lint:file-ignore SA1019 Endpoints are deprecated, and all that servers before 1.21 have.

package controllers_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"vtm-ingress/testenv/kubetest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"
)

// slices lists a Service's EndpointSlices.
func (c *cluster) slices(service string) []discoveryv1.EndpointSlice {
	c.T.Helper()
	return must[*discoveryv1.EndpointSliceList](c)(c.DiscoveryV1().EndpointSlices(kubetest.Namespace).List(c.Ctx, metav1.ListOptions{
		LabelSelector: "kubernetes.io/service-name=" + service,
	})).Items
}

// conditions are those of each pod behind a Service, by name: r(eady), s(erving),
// t(erminating).
func (c *cluster) conditions(service string) map[string]string {
	c.T.Helper()
	found := map[string]string{}
	for _, s := range c.slices(service) {
		for _, e := range s.Endpoints {
			text := ""
			for i, is := range []*bool{e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating} {
				if *is {
					text += "rst"[i : i+1]
				}
			}
			found[e.TargetRef.Name] = text
		}
	}
	return found
}

// addresses are the ready and not ready ones of a Service's Endpoints.
func (c *cluster) addresses(service string) (ready, notReady []string) {
	c.T.Helper()
	e := must[*corev1.Endpoints](c)(c.CoreV1().Endpoints(kubetest.Namespace).Get(c.Ctx, service, metav1.GetOptions{}))
	for _, s := range e.Subsets {
		for _, a := range s.Addresses {
			ready = append(ready, a.IP)
		}
		for _, a := range s.NotReadyAddresses {
			notReady = append(notReady, a.IP)
		}
	}
	return ready, notReady
}

func TestEndpointsFollowAPodThroughItsEnd(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.service(func(s *corev1.Service) { s.Labels = map[string]string{"team": "shop"} })
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		c.Eventually("the rollout", c.rolledOut)
		c.Within(20*time.Millisecond, "both pods in the endpoints", func() (bool, any) {
			ready, _ := c.addresses("app")
			n := 0
			for _, state := range c.conditions("app") {
				if state == "rs" {
					n++
				}
			}
			return n == 2 && len(ready) == 2, c.conditions("app")
		})
		slice := c.slices("app")[0]
		if slice.Labels[discoveryv1.LabelManagedBy] != "endpointslice-controller.k8s.io" || slice.Labels["team"] != "shop" ||
			metav1.GetControllerOf(&slice) == nil || slice.AddressType != "IPv4" ||
			*slice.Ports[0].Name != "http" || *slice.Ports[0].Port != 8080 || *slice.Endpoints[0].NodeName != "node-1" {
			t.Errorf("%+v", slice)
		}
		leaving := c.pods()[0]
		c.deletePod(leaving.Name)
		c.Within(20*time.Millisecond, "the pod to be terminating and to serve", func() (bool, any) {
			ready, notReady := c.addresses("app")
			return c.conditions("app")[leaving.Name] == "st" && !slices.Contains(append(ready, notReady...), leaving.Status.PodIP), c.conditions("app")
		})
		began := time.Now()
		c.Eventually("the pod to be gone from them", func() (bool, any) {
			state, there := c.conditions("app")[leaving.Name]
			return !there, state
		})
		if took := time.Since(began); took < 1900*time.Millisecond || took > 3*time.Second {
			t.Errorf("gone after %s; the program goes on for 2 s", took)
		}
	})
}

func TestAPodThatIsNotReadyIsListedAsSuch(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.service(nil)
		c.service(func(s *corev1.Service) { s.Name, s.Spec.PublishNotReadyAddresses = "all", true })
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](1) })
		c.Eventually("the rollout", c.rolledOut)
		p := c.pods()[0]
		c.unready(p)
		c.Eventually("the endpoint not to be ready", func() (bool, any) { return c.conditions("app")[p.Name] == "", c.conditions("app") })
		if ready, notReady := c.addresses("app"); len(ready) != 0 || len(notReady) != 1 {
			t.Errorf("ready %v, not ready %v", ready, notReady)
		}
		if got := c.conditions("all")[p.Name]; got != "r" {
			t.Errorf("published although it is not ready, it should be ready and not serving: %q", got)
		}
		if ready, _ := c.addresses("all"); len(ready) != 1 {
			t.Errorf("%v", ready)
		}
	})
}

// handMadePods makes pods that no node runs, with an address each.
func (c *cluster) handMadePods(n int) {
	c.T.Helper()
	for i := range n {
		name := fmt.Sprintf("pod-%03d", i)
		p := must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Create(c.Ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "app"}},
			Spec:       corev1.PodSpec{NodeName: "elsewhere", Containers: []corev1.Container{{Name: "c", Image: "c", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}}}}},
		}, metav1.CreateOptions{}))
		p.Status.Phase, p.Status.PodIP = corev1.PodRunning, fmt.Sprintf("10.9.0.%d", i+1)
		p.Status.PodIPs = []corev1.PodIP{{IP: p.Status.PodIP}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
		must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).UpdateStatus(c.Ctx, p, metav1.UpdateOptions{}))
	}
}

func TestASliceHoldsAHundredEndpoints(t *testing.T) {
	inBubble(t, setup{}, func(c *cluster) {
		// The node is there, so that nobody clears the pods away.
		must[*corev1.Node](c)(c.CoreV1().Nodes().Create(c.Ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "elsewhere"}}, metav1.CreateOptions{}))
		c.handMadePods(150)
		c.service(nil)
		c.Eventually("two slices", func() (bool, any) { return len(c.slices("app")) == 2, len(c.slices("app")) })
		if n := len(c.conditions("app")); n != 150 {
			t.Errorf("%d pods in them", n)
		}
		before := c.slices("app")
		if err := c.CoreV1().Pods(kubetest.Namespace).Delete(c.Ctx, "pod-000", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
			t.Fatal(err)
		}
		c.Eventually("it to leave", func() (bool, any) { return len(c.conditions("app")) == 149, nil })
		changed := 0
		for i, s := range c.slices("app") {
			if len(s.Endpoints) > 100 {
				t.Errorf("%d endpoints in one slice", len(s.Endpoints))
			}
			if s.ResourceVersion != before[i].ResourceVersion {
				changed++
			}
		}
		if changed != 1 {
			t.Errorf("%d slices changed with one pod", changed)
		}
	})
}

func TestPortsThatResolveDifferentlyAreSlicesOfTheirOwn(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.service(nil)
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](1) })
		c.Eventually("the rollout", c.rolledOut)
		other := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"app": "app"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "hello", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 9090}}}}},
		}
		must[*corev1.Pod](c)(c.CoreV1().Pods(kubetest.Namespace).Create(c.Ctx, other, metav1.CreateOptions{}))
		c.Eventually("a slice for each port", func() (bool, any) {
			var ports []int32
			for _, s := range c.slices("app") {
				if len(s.Endpoints) == 1 {
					ports = append(ports, *s.Ports[0].Port)
				}
			}
			slices.Sort(ports)
			return slices.Equal(ports, []int32{8080, 9090}), ports
		})
		// A number instead of the name makes them alike.
		must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Patch(c.Ctx, "app", types.JSONPatchType,
			[]byte(`[{"op":"replace","path":"/spec/ports/0/targetPort","value":7070}]`), metav1.PatchOptions{}))
		c.Eventually("one slice", func() (bool, any) {
			s := c.slices("app")
			return len(s) == 1 && len(s[0].Endpoints) == 2 && *s[0].Ports[0].Port == 7070, s
		})
	})
}

func TestWhatIsHandMadeStays(t *testing.T) {
	inBubble(t, setup{}, func(c *cluster) {
		c.service(func(s *corev1.Service) { s.Spec.Selector, s.Spec.Ports[0].TargetPort = nil, intstr.FromInt32(80) })
		must[*corev1.Endpoints](c)(c.CoreV1().Endpoints(kubetest.Namespace).Create(c.Ctx, &corev1.Endpoints{
			ObjectMeta: metav1.ObjectMeta{Name: "app"},
			Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Name: "http", Port: 80}}}},
		}, metav1.CreateOptions{}))
		time.Sleep(time.Minute)
		if ready, _ := c.addresses("app"); len(ready) != 1 {
			t.Errorf("%v", ready)
		}
		if err := c.CoreV1().Services(kubetest.Namespace).Delete(c.Ctx, "app", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if ready, _ := c.addresses("app"); len(ready) != 1 {
			t.Errorf("%v", ready)
		}
	})
}

func TestAServiceTakesItsEndpointsWithIt(t *testing.T) {
	inBubble(t, setup{nodes: 1}, func(c *cluster) {
		c.service(nil)
		c.app(nil)
		c.Eventually("the endpoints", func() (bool, any) { return len(c.conditions("app")) == 3, nil })
		if err := c.CoreV1().Services(kubetest.Namespace).Delete(c.Ctx, "app", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.Eventually("all to be gone", func() (bool, any) {
			_, err := c.CoreV1().Endpoints(kubetest.Namespace).Get(c.Ctx, "app", metav1.GetOptions{})
			return gone(err) && len(c.slices("app")) == 0, err
		})
	})
}

func TestAnOldClusterHasEndpointsOnly(t *testing.T) {
	inBubble(t, setup{nodes: 1, version: "1.20"}, func(c *cluster) {
		c.service(nil)
		c.app(nil)
		c.Eventually("the rollout", c.rolledOut)
		c.Eventually("the endpoints", func() (bool, any) {
			ready, _ := c.addresses("app")
			return len(ready) == 3, ready
		})
	})
}

func TestEachFamilyOfAServiceHasSlicesOfItsOwn(t *testing.T) {
	inBubble(t, setup{nodes: 2, dualStack: true}, func(c *cluster) {
		v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
		c.service(func(s *corev1.Service) {
			s.Spec.IPFamilyPolicy, s.Spec.IPFamilies = ptr.To(corev1.IPFamilyPolicyRequireDualStack), []corev1.IPFamily{v6, v4}
		})
		c.service(func(s *corev1.Service) { s.Name, s.Spec.IPFamilies = "six", []corev1.IPFamily{v6} })
		c.app(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		c.Eventually("the rollout", c.rolledOut)
		has := func(service string, families ...corev1.IPFamily) {
			t.Helper()
			// By address type, the pods' addresses of that family.
			wanted := map[discoveryv1.AddressType][]string{}
			for _, family := range families {
				for _, p := range c.pods() {
					i := slices.IndexFunc(p.Status.PodIPs, func(ip corev1.PodIP) bool { return netutils.IsIPv6String(ip.IP) == (family == v6) })
					wanted[discoveryv1.AddressType(family)] = append(wanted[discoveryv1.AddressType(family)], p.Status.PodIPs[i].IP)
				}
				slices.Sort(wanted[discoveryv1.AddressType(family)])
			}
			c.Eventually(fmt.Sprintf("slices of %s", families), func() (bool, any) {
				found := map[discoveryv1.AddressType][]string{}
				for _, s := range c.slices(service) {
					if _, twice := found[s.AddressType]; twice {
						return false, c.slices(service)
					}
					found[s.AddressType] = []string{}
					for _, e := range s.Endpoints {
						found[s.AddressType] = append(found[s.AddressType], e.Addresses...)
					}
					slices.Sort(found[s.AddressType])
				}
				return maps.EqualFunc(found, wanted, slices.Equal), found
			})
			// Endpoints have the first family's.
			ready, _ := c.addresses(service)
			if slices.Sort(ready); !slices.Equal(ready, wanted[discoveryv1.AddressType(families[0])]) {
				t.Errorf("the Endpoints of %s have %v", service, ready)
			}
		}
		has("app", v6, v4)
		has("six", v6)
		policy := func(p corev1.IPFamilyPolicy) {
			t.Helper()
			must[*corev1.Service](c)(c.CoreV1().Services(kubetest.Namespace).Patch(c.Ctx, "app", types.MergePatchType,
				[]byte(`{"spec":{"ipFamilyPolicy":"`+p+`"}}`), metav1.PatchOptions{}))
		}
		policy(corev1.IPFamilyPolicySingleStack)
		has("app", v6)
		policy(corev1.IPFamilyPolicyPreferDualStack)
		has("app", v6, v4)
	})
}
