package kube_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
