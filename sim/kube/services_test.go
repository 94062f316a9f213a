package kube_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

func TestServicesGetAddressesAndPorts(t *testing.T) {
	s := start(t, nil)
	services, ctx := client(t, s, "a").CoreV1().Services(here), deadline(t)
	a, err := services.Create(ctx, service("a", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := services.Create(ctx, service("b", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Spec.ClusterIP == b.Spec.ClusterIP || a.Spec.Ports[0].NodePort == b.Spec.Ports[0].NodePort {
		t.Errorf("two Services share %s or port %d", a.Spec.ClusterIP, a.Spec.Ports[0].NodePort)
	}
	if len(a.Spec.ClusterIPs) != 1 || a.Spec.IPFamilies[0] != corev1.IPv4Protocol || *a.Spec.IPFamilyPolicy != corev1.IPFamilyPolicySingleStack {
		t.Errorf("%+v", a.Spec)
	}

	refused := func(name, want string, change func(*corev1.Service)) {
		t.Helper()
		svc := service(name, corev1.ServiceTypeNodePort)
		change(svc)
		if _, err := services.Create(ctx, svc, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	refused("port-taken", "provided port is already allocated", func(svc *corev1.Service) { svc.Spec.Ports[0].NodePort = a.Spec.Ports[0].NodePort })
	refused("port-low", "The range of valid ports is 30000-32767", func(svc *corev1.Service) { svc.Spec.Ports[0].NodePort = 8080 })
	refused("ip-taken", "provided IP is already allocated", func(svc *corev1.Service) { svc.Spec.ClusterIP = a.Spec.ClusterIP })
	refused("ip-foreign", "The range of valid IPs is 10.96.0.0/16", func(svc *corev1.Service) { svc.Spec.ClusterIP = "192.0.2.1" })
	refused("kubernetes-ip", "provided IP is already allocated", func(svc *corev1.Service) { svc.Spec.ClusterIP = "10.96.0.1" })

	// What a deleted Service held is free.
	if err := services.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	again := service("again", corev1.ServiceTypeNodePort)
	again.Spec.ClusterIP, again.Spec.Ports[0].NodePort = a.Spec.ClusterIP, a.Spec.Ports[0].NodePort
	if _, err := services.Create(ctx, again, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	headless := service("headless", corev1.ServiceTypeClusterIP)
	headless.Spec.ClusterIP = corev1.ClusterIPNone
	if made, err := services.Create(ctx, headless, metav1.CreateOptions{}); err != nil || made.Spec.ClusterIPs[0] != corev1.ClusterIPNone {
		t.Errorf("%+v %v", made, err)
	}
}

func TestOneNodePortServesAllProtocolsOfAPort(t *testing.T) {
	s := start(t, nil)
	services, ctx := client(t, s, "a").CoreV1().Services(here), deadline(t)
	dns := service("dns", corev1.ServiceTypeNodePort)
	dns.Spec.Ports = []corev1.ServicePort{{Name: "tcp", Port: 53}, {Name: "udp", Port: 53, Protocol: corev1.ProtocolUDP}, {Name: "other", Port: 54}}
	made, err := services.Create(ctx, dns, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := made.Spec.Ports
	if p[0].NodePort != p[1].NodePort || p[0].NodePort == p[2].NodePort {
		t.Errorf("node ports %d %d %d", p[0].NodePort, p[1].NodePort, p[2].NodePort)
	}
}

func TestServicesChangeTheirType(t *testing.T) {
	s := start(t, nil)
	services, ctx := client(t, s, "a").CoreV1().Services(here), deadline(t)
	made, err := services.Create(ctx, service("a", corev1.ServiceTypeNodePort), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ip, port := made.Spec.ClusterIP, made.Spec.Ports[0].NodePort
	// A manifest without addresses, applied again, keeps them.
	fresh := service("a", corev1.ServiceTypeNodePort)
	fresh.Labels = map[string]string{"changed": "yes"}
	kept, err := services.Update(ctx, fresh, metav1.UpdateOptions{})
	if err != nil || kept.Spec.ClusterIP != ip || kept.Spec.Ports[0].NodePort != port {
		t.Fatalf("%+v %v", kept, err)
	}
	change := func(patch string) *corev1.Service {
		t.Helper()
		svc, err := services.Patch(ctx, "a", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return svc
	}
	if svc := change(`{"spec":{"type":"ClusterIP"}}`); svc.Spec.Ports[0].NodePort != 0 || svc.Spec.ClusterIP != ip {
		t.Errorf("as ClusterIP: %+v", svc.Spec)
	}
	other := service("other", corev1.ServiceTypeNodePort)
	other.Spec.Ports[0].NodePort = port
	if _, err := services.Create(ctx, other, metav1.CreateOptions{}); err != nil {
		t.Errorf("the freed port: %v", err)
	}
	if svc := change(`{"spec":{"type":"LoadBalancer","externalTrafficPolicy":"Local"}}`); svc.Spec.Ports[0].NodePort == 0 || svc.Spec.HealthCheckNodePort == 0 || svc.Spec.HealthCheckNodePort == svc.Spec.Ports[0].NodePort {
		t.Errorf("as LoadBalancer: %+v", svc.Spec)
	}
	if svc := change(`{"spec":{"type":"ExternalName","externalName":"example.com","externalTrafficPolicy":null,"internalTrafficPolicy":null}}`); svc.Spec.ClusterIP != "" || svc.Spec.HealthCheckNodePort != 0 || svc.Spec.Ports[0].NodePort != 0 {
		t.Errorf("as ExternalName: %+v", svc.Spec)
	}
	if svc := change(`{"spec":{"type":"NodePort","externalName":null}}`); svc.Spec.ClusterIP == "" || svc.Spec.Ports[0].NodePort == 0 {
		t.Errorf("as NodePort again: %+v", svc.Spec)
	}
	if _, err := services.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"clusterIP":"10.96.9.9","clusterIPs":["10.96.9.9"]}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("another cluster IP: %v", err)
	}
}

func TestDualStackServicesHaveAnAddressOfEachFamily(t *testing.T) {
	s := start(t, func(o *kube.Options) { o.DualStack = true })
	c, ctx := client(t, s, "a"), deadline(t)
	services := c.CoreV1().Services(here)
	create := func(name string, change func(*corev1.Service)) *corev1.Service {
		t.Helper()
		svc := service(name, corev1.ServiceTypeNodePort)
		change(svc)
		made, err := services.Create(ctx, svc, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	// The addresses are of the Service's families, in their order; nobody else's.
	seen := map[string]bool{}
	check := func(svc *corev1.Service, families ...corev1.IPFamily) {
		t.Helper()
		if !slices.Equal(svc.Spec.IPFamilies, families) || len(svc.Spec.ClusterIPs) != len(families) || svc.Spec.ClusterIP != svc.Spec.ClusterIPs[0] {
			t.Fatalf("%s should have %v: %+v", svc.Name, families, svc.Spec)
		}
		for i, ip := range svc.Spec.ClusterIPs {
			of := map[corev1.IPFamily]string{corev1.IPv4Protocol: "10.96.0.0/16", corev1.IPv6Protocol: "fd00:96::/112"}[families[i]]
			if !netip.MustParsePrefix(of).Contains(netip.MustParseAddr(ip)) || seen[ip] {
				t.Errorf("%s: address %d is %s", svc.Name, i, ip)
			}
			seen[ip] = true
		}
	}
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	require, single := corev1.IPFamilyPolicyRequireDualStack, `{"spec":{"ipFamilyPolicy":"SingleStack"}}`
	check(create("plain", func(*corev1.Service) {}), v4)
	check(create("six", func(svc *corev1.Service) { svc.Spec.IPFamilies = []corev1.IPFamily{v6} }), v6)
	both := create("both", func(svc *corev1.Service) {
		svc.Spec.IPFamilyPolicy, svc.Spec.IPFamilies = &require, []corev1.IPFamily{v6}
	})
	check(both, v6, v4)

	// The second address goes and comes with the policy; what was given up is free.
	patched := func(name, patch string) *corev1.Service {
		t.Helper()
		svc, err := services.Patch(ctx, name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return svc
	}
	given := both.Spec.ClusterIPs[1]
	if svc := patched("both", single); !slices.Equal(svc.Spec.ClusterIPs, both.Spec.ClusterIPs[:1]) || len(svc.Spec.IPFamilies) != 1 {
		t.Errorf("of one family again: %+v", svc.Spec)
	}
	delete(seen, given)
	check(create("heir", func(svc *corev1.Service) { svc.Spec.ClusterIP = given }), v4)
	if svc := patched("both", `{"spec":{"ipFamilyPolicy":"PreferDualStack"}}`); svc.Spec.ClusterIP != both.Spec.ClusterIP || len(svc.Spec.ClusterIPs) != 2 || seen[svc.Spec.ClusterIPs[1]] {
		t.Errorf("of both families again: %+v", svc.Spec)
	}

	foreign := service("foreign", corev1.ServiceTypeClusterIP)
	foreign.Spec.ClusterIP = "fd00:97::9"
	if _, err := services.Create(ctx, foreign, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "The range of valid IPs is fd00:96::/112") {
		t.Errorf("an address of nobody's: %v", err)
	}
	cidr, err := c.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
	if err != nil || !slices.Equal(cidr.Spec.CIDRs, []string{"10.96.0.0/16", "fd00:96::/112"}) {
		t.Errorf("the ranges told are %v, %v", cidr.Spec.CIDRs, err)
	}
}

func TestTheFirstFamilyOfADualStackClusterCanBeIPv6(t *testing.T) {
	s := start(t, func(o *kube.Options) { o.IPv6, o.DualStack = true, true })
	services, ctx := client(t, s, "a").CoreV1().Services(here), deadline(t)
	prefer, svc := corev1.IPFamilyPolicyPreferDualStack, service("a", corev1.ServiceTypeNodePort)
	svc.Spec.IPFamilyPolicy = &prefer
	made, err := services.Create(ctx, svc, metav1.CreateOptions{})
	if err != nil || !slices.Equal(made.Spec.IPFamilies, []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}) {
		t.Errorf("%+v %v", made, err)
	}
}

func TestOldVersionsHaveNoDualStackServices(t *testing.T) {
	if s, err := kube.Start(kube.Options{World: outside.Real(), Address: "127.0.0.1:0", Version: "1.20", DualStack: true}); err == nil {
		s.Close()
		t.Error("1.20 has them")
	} else if !strings.Contains(err.Error(), "from 1.21 on") {
		t.Error(err)
	}
}
