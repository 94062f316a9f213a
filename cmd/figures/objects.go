package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// backend makes the IngressClass, a Deployment of one pod and its Service.
func (b *bench) backend(ctx context.Context) error {
	labels := map[string]string{"app": "figures"}
	meta := metav1.ObjectMeta{Name: "figures"}
	create := metav1.CreateOptions{}
	_, err := b.client.NetworkingV1().IngressClasses().Create(ctx, &networkingv1.IngressClass{
		ObjectMeta: metav1.ObjectMeta{Name: "vtm"},
		Spec:       networkingv1.IngressClassSpec{Controller: "pulsesecure.net/vtm-ingress-controller"},
	}, create)
	if err != nil {
		return err
	}
	_, err = b.client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: meta,
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeNodePort, Selector: labels,
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal,
			Ports:                 []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}, create)
	if err != nil {
		return err
	}
	_, err = b.client.AppsV1().Deployments("default").Create(ctx, &appsv1.Deployment{
		ObjectMeta: meta,
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
	}, create)
	if err != nil {
		return err
	}
	return b.replicas(ctx, 1)
}

// replicas waits until n pods are available.
func (b *bench) replicas(ctx context.Context, n int32) error {
	return b.Eventually(ctx, func(ctx context.Context) error {
		d, err := b.client.AppsV1().Deployments("default").Get(ctx, "figures", metav1.GetOptions{})
		if err == nil && d.Status.AvailableReplicas != n {
			err = fmt.Errorf("Deployment figures has %d available pods, not %d", d.Status.AvailableReplicas, n)
		}
		return err
	})
}

func ingress(n int) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{
			Name:        fmt.Sprintf("figures-%d", n),
			Annotations: map[string]string{"vtm.pulsesecure.net/ip-address": address(n).String()},
		},
		Spec: networkingv1.IngressSpec{
			IngressClassName: ptr.To("vtm"),
			Rules: []networkingv1.IngressRule{{
				Host: fmt.Sprintf("host-%d.example", n),
				IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
					Paths: []networkingv1.HTTPIngressPath{{
						Path: "/", PathType: &prefix,
						Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
							Name: "figures", Port: networkingv1.ServiceBackendPort{Number: 80},
						}},
					}},
				}},
			}},
		},
	}
}
