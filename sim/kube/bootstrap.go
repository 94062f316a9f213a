package kube

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/utils/ptr"

	"vtm-ingress/sim/kube/store"
)

// permanentNamespaces exist from the start; the first three cannot be deleted
// on a real cluster either, nor can the last one for long.
var permanentNamespaces = [...]string{"default", "kube-node-lease", "kube-public", "kube-system"}

const (
	kubernetesName = "kubernetes"
	httpsPortName  = "https"
)

// bootstrap creates what every cluster has. address is where the server listens.
func (a *api) bootstrap(address string) error {
	create := func(r *resource, obj runtime.Object, namespace string) error {
		ctx := request.WithNamespace(context.Background(), namespace)
		a.scheme.Default(obj)
		_, err := r.Create(ctx, obj, nil, &metav1.CreateOptions{})
		return err
	}
	for _, name := range permanentNamespaces {
		if err := create(a.namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, name); err != nil {
			return fmt.Errorf("namespace %s: %w", name, err)
		}
	}
	services := a.resources[corev1.SchemeGroupVersion.WithResource("services")]
	if err := create(services, kubernetesService(a.services.kubernetesAddress()), metav1.NamespaceDefault); err != nil {
		return fmt.Errorf("service kubernetes: %w", err)
	}
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("endpoints of service kubernetes: %w", err)
	}
	if err := a.publish(at); err != nil {
		return fmt.Errorf("endpoints of service kubernetes: %w", err)
	}
	return nil
}

// publish stores where this server is as the endpoints of the Service
// kubernetes, and the ranges of Services' addresses. They tell the truth, also on a
// loopback address, which no client may give an endpoint: so they pass no validation.
func (a *api) publish(at netip.AddrPort) error {
	return a.store.Write(func(tx *store.Tx) error {
		if ranges := a.resources[networkingv1.SchemeGroupVersion.WithResource("servicecidrs")]; ranges != nil { // from 1.33
			if err := a.putOwn(tx, ranges, kubernetesCIDR(a.services.ranges)); err != nil {
				return err
			}
		}
		endpoints := a.resources[corev1.SchemeGroupVersion.WithResource("endpoints")]
		if err := a.putOwn(tx, endpoints, kubernetesEndpoints(at)); err != nil {
			return err
		}
		slices := a.resources[discoveryv1.SchemeGroupVersion.WithResource("endpointslices")]
		if slices == nil { // before 1.21
			return nil
		}
		return a.putOwn(tx, slices, kubernetesSlice(at))
	})
}

// putOwn commits a new object of the server itself as it is.
func (a *api) putOwn(tx *store.Tx, r *resource, obj metav1.Object) error {
	obj.SetCreationTimestamp(a.now())
	obj.SetUID(a.uid(tx.Next()))
	ctx := request.WithNamespace(context.Background(), obj.GetNamespace())
	return r.put(tx, r.key(ctx, obj.GetName()), obj.(runtime.Object))
}

// kubernetesService is the Service by which Pods reach the API server.
func kubernetesService(address string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: kubernetesName, Namespace: metav1.NamespaceDefault,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeClusterIP,
			ClusterIP: address, ClusterIPs: []string{address},
			Ports: []corev1.ServicePort{{Name: httpsPortName, Protocol: corev1.ProtocolTCP, Port: 443}},
		},
	}
}

// kubernetesCIDR holds the ranges that the server was started with.
func kubernetesCIDR(ranges []*serviceRange) *networkingv1.ServiceCIDR {
	var cidrs []string
	for _, r := range ranges {
		cidrs = append(cidrs, r.String())
	}
	return &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: kubernetesName},
		Spec:       networkingv1.ServiceCIDRSpec{CIDRs: cidrs},
		Status: networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{
			Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
		}}},
	}
}

//lint:ignore SA1019 Endpoints are all that servers before 1.21 have
func kubernetesEndpoints(at netip.AddrPort) *corev1.Endpoints {
	//lint:ignore SA1019 as above
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Name: kubernetesName, Namespace: metav1.NamespaceDefault,
			// The slice below says it already: it is not to be made from this one.
			Labels: map[string]string{discoveryv1.LabelSkipMirror: "true"},
		},
		//lint:ignore SA1019 as above
		Subsets: []corev1.EndpointSubset{{
			Addresses: []corev1.EndpointAddress{{IP: at.Addr().String()}},
			Ports:     []corev1.EndpointPort{{Name: httpsPortName, Port: int32(at.Port()), Protocol: corev1.ProtocolTCP}},
		}},
	}
}

func kubernetesSlice(at netip.AddrPort) *discoveryv1.EndpointSlice {
	kind := discoveryv1.AddressTypeIPv4
	if at.Addr().Is6() {
		kind = discoveryv1.AddressTypeIPv6
	}
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: kubernetesName, Namespace: metav1.NamespaceDefault, Generation: 1,
			Labels: map[string]string{discoveryv1.LabelServiceName: kubernetesName},
		},
		AddressType: kind,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{at.Addr().String()},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
		}},
		Ports: []discoveryv1.EndpointPort{{
			Name: ptr.To(httpsPortName), Port: ptr.To(int32(at.Port())), Protocol: ptr.To(corev1.ProtocolTCP),
		}},
	}
}
