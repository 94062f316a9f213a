package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"vtm-ingress/controller/translate"
)

const namespace = "default"

// The shared addresses: one for plain HTTP, one for HTTPS.
var (
	sharedPlain = netip.MustParseAddr("10.20.255.1")
	sharedTLS   = netip.MustParseAddr("10.20.255.2")
)

// place of the n-th Ingress: odd ones have an address of their own.
func place(n int) (at netip.AddrPort, shared bool) {
	if n%2 == 0 {
		return netip.AddrPortFrom(sharedPlain, plainPort), true
	}
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 20, byte(n / 250), byte(1 + n%250)}), plainPort), false
}

func hostOf(n int) string { return fmt.Sprintf("host-%d.example", n) }

func nameOf(n int) string { return fmt.Sprintf("figures-%d", n) }

// pod makes the IngressClass and one pod, for all Services.
func (s *setup) pod(ctx context.Context) error {
	_, err := s.client.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vtm"},
		Spec:       networkingv1.IngressClassSpec{Controller: translate.ControllerName},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.deployment(ctx, "figures")
}

// deployment makes one of one pod and waits for it.
func (s *setup) deployment(ctx context.Context, name string) error {
	labels := map[string]string{"app": name}
	_, err := s.client.AppsV1().Deployments(namespace).Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec: corev1.PodSpec{Containers: []corev1.Container{{
					Name: "echo", Image: "echo:1", Ports: []corev1.ContainerPort{{ContainerPort: 8080}},
				}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	return s.replicas(ctx, name, 1)
}

// replicas waits until so many pods of a Deployment are available.
func (s *setup) replicas(ctx context.Context, name string, n int32) error {
	_, err := until(ctx, func(ctx context.Context) bool {
		d, err := s.client.AppsV1().Deployments(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil && d.Status.AvailableReplicas == n
	})
	if err != nil {
		return fmt.Errorf("Deployment %s has not %d pods: %w", name, n, err)
	}
	return nil
}

// service makes the Service of an Ingress, whose pods are those of app.
func (s *setup) service(ctx context.Context, name, app string, policy corev1.ServiceExternalTrafficPolicy) error {
	_, err := s.client.CoreV1().Services(namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: map[string]string{"app": app},
			ExternalTrafficPolicy: policy,
			Ports:                 []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, metav1.CreateOptions{})
	return err
}

// services makes those of Ingresses from..to-1 and waits until each has its
// endpoints.
func (s *setup) services(ctx context.Context, from, to int) error {
	err := each(ctx, from, to, func(ctx context.Context, n int) error {
		return s.service(ctx, nameOf(n), "figures", corev1.ServiceExternalTrafficPolicyLocal)
	})
	if err != nil {
		return err
	}
	for {
		list, err := s.client.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		ready := map[string]bool{}
		for _, slice := range list.Items {
			ready[slice.Labels[discoveryv1.LabelServiceName]] = len(slice.Endpoints) > 0
		}
		missing := 0
		for n := from; n < to; n++ {
			if !ready[nameOf(n)] {
				missing++
			}
		}
		if missing == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d Services have no endpoints: %w", missing, ctx.Err())
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// create makes the n-th Ingress.
func (s *setup) create(ctx context.Context, n int) error {
	at, shared := place(n)
	annotations := map[string]string{"vtm.pulsesecure.net/port": strconv.Itoa(int(at.Port()))}
	if shared {
		annotations["vtm.pulsesecure.net/shared-ip-address"] = at.Addr().String()
	} else {
		annotations["vtm.pulsesecure.net/ip-address"] = at.Addr().String()
	}
	return s.createIngress(ctx, nameOf(n), hostOf(n), annotations, "")
}

// createTLS makes the n-th Ingress of the shared address for HTTPS, whose Secret
// there is already.
func (s *setup) createTLS(ctx context.Context, n int) error {
	return s.createIngress(ctx, fmt.Sprintf("tls-%d", n), hostOf(n), map[string]string{
		"vtm.pulsesecure.net/port":              strconv.Itoa(tlsPort),
		"vtm.pulsesecure.net/shared-ip-address": sharedTLS.String(),
	}, fmt.Sprintf("tls-%d", n))
}

func (s *setup) createIngress(ctx context.Context, name, host string, annotations map[string]string, secret string) error {
	service := name
	object := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: networkingv1.IngressSpec{
			IngressClassName: ptr.To("vtm"),
			Rules:            []networkingv1.IngressRule{{Host: host}},
		},
	}
	if secret != "" {
		service = "figures" // what is measured is not pools
		object.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: secret}}
	}
	object.Spec.Rules[0].HTTP = &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{pathTo("/", service)}}
	_, err := s.client.NetworkingV1().Ingresses(namespace).Create(ctx, object, metav1.CreateOptions{})
	return err
}

func pathTo(path, service string) networkingv1.HTTPIngressPath {
	return networkingv1.HTTPIngressPath{
		Path: path, PathType: ptr.To(networkingv1.PathTypePrefix),
		Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
			Name: service, Port: networkingv1.ServiceBackendPort{Number: 80},
		}},
	}
}

// secret makes, or renews, the Secret of the n-th Ingress for HTTPS.
func (s *setup) secret(ctx context.Context, n int, renew bool) error {
	certificate, key, err := selfSigned(hostOf(n))
	if err != nil {
		return err
	}
	object := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("tls-%d", n)},
		Type:       corev1.SecretTypeTLS,
		Data:       map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key},
	}
	if renew {
		_, err = s.client.CoreV1().Secrets(namespace).Update(ctx, object, metav1.UpdateOptions{})
	} else {
		_, err = s.client.CoreV1().Secrets(namespace).Create(ctx, object, metav1.CreateOptions{})
	}
	return err
}

// selfSigned makes a pair for host, PEM.
func selfSigned(host string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: host}, DNSNames: []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 0, 90),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	text, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}), nil
}
