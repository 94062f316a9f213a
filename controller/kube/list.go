package kube

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// List asks the API server for everything once, without watching.
func List(ctx context.Context, o Options) (*Snapshot, error) {
	w, err := New(o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	return w.List(ctx)
}

// With gives s with objects in addition, each in place of one with its name. What
// the controller would not see is left out, as the API server does: kinds that it
// doesn't watch, and Secrets that secretSelector, valid, does not match. EndpointSlices
// replace all that s knows of their Service. objects are modified.
func With(s *Snapshot, objects []runtime.Object, secretSelector string) *Snapshot {
	matches, err := labels.Parse(secretSelector)
	if err != nil {
		matches = labels.Everything()
	}
	slices := newEndpointsTable(nil) // no node comes back here
	out := *s
	for _, object := range objects {
		if secret, ok := object.(*corev1.Secret); ok {
			// kubectl lets users write text, which the API server turns into data.
			for key, text := range secret.StringData {
				if secret.Data == nil {
					secret.Data = map[string][]byte{}
				}
				secret.Data[key] = []byte(text)
			}
			if secret.Type != corev1.SecretTypeTLS || !matches.Matches(labels.Set(secret.Labels)) {
				continue
			}
		}
		if o, ok := object.(metav1.Object); ok && o.GetNamespace() == metav1.NamespaceSystem {
			continue
		}
		if _, err := trim(object); err != nil {
			continue // trim knows all kinds that are looked at below
		}
		switch o := object.(type) {
		case *networkingv1.Ingress:
			out.Ingresses = out.Ingresses.With(namespacedName(o), o)
		case *networkingv1.IngressClass:
			out.Classes = out.Classes.With(o.Name, o)
		case *corev1.Service:
			out.Services = out.Services.With(namespacedName(o), ServiceOf(o))
		case *corev1.Node:
			out.Nodes = out.Nodes.With(o.Name, o)
		case *networkingv1.ServiceCIDR:
			out.Ranges = out.Ranges.With(o.Name, o)
		case *corev1.Secret:
			out.Secrets = out.Secrets.With(namespacedName(o), o)
		case *discoveryv1.EndpointSlice:
			slices.put(o)
		}
	}
	for service, endpoints := range slices.publish().All() {
		out.Endpoints = out.Endpoints.With(service, endpoints)
	}
	return &out
}
