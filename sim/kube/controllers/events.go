package controllers

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// events writes Events of one controller, each as an object of its own. A recorder
// would gather them, which costs goroutines and the order in which they appear.
type events struct {
	m         *manager
	client    kubernetes.Interface
	component string
	written   int // by the controller's one worker
}

func (m *manager) eventsOf(client kubernetes.Interface, component string) *events {
	return &events{m: m, client: client, component: component}
}

func (e *events) normal(ctx context.Context, object metav1.Object, kind, reason, message string) {
	e.write(ctx, object, kind, corev1.EventTypeNormal, reason, message)
}

func (e *events) warning(ctx context.Context, object metav1.Object, kind, reason, message string) {
	e.write(ctx, object, kind, corev1.EventTypeWarning, reason, message)
}

// write gives up silently: an Event that can't be written is no reason to stop.
func (e *events) write(ctx context.Context, object metav1.Object, kind, level, reason, message string) {
	now := e.m.now()
	e.written++
	apiVersion := "v1"
	if kind == "Deployment" || kind == "ReplicaSet" {
		apiVersion = "apps/v1"
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	event := &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Name:      fmt.Sprintf("%s.%s%s", object.GetName(), strconv.FormatInt(now.UnixNano(), 16), strconv.Itoa(e.written)),
			Namespace: namespace,
		},
		InvolvedObject: corev1.ObjectReference{
			Kind: kind, APIVersion: apiVersion, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
			ResourceVersion: object.GetResourceVersion(),
		},
		Type: level, Reason: reason, Message: message, Count: 1,
		FirstTimestamp: metav1.NewTime(now), LastTimestamp: metav1.NewTime(now),
		Source: corev1.EventSource{Component: e.component}, ReportingController: e.component,
	}
	if _, err := e.client.CoreV1().Events(namespace).Create(ctx, event, metav1.CreateOptions{}); err != nil {
		e.m.Log.Debug("cluster controller: an Event was not written", "reason", reason, "error", err)
	}
}
