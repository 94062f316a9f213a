package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

func benchmarkServer(b *testing.B) (*kube.Server, *kubeclient.Client) {
	b.Helper()
	s, err := kube.Start(kube.Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Address: "127.0.0.1:0"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	c, err := kubeclient.New(outside.Real(), "bench", s.Config("bench"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return s, c
}

func BenchmarkCreateIngress(b *testing.B) {
	_, c := benchmarkServer(b)
	n := 0
	for b.Loop() {
		if _, err := c.NetworkingV1().Ingresses(here).Create(context.Background(), ingress(fmt.Sprint("i-", n)), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		n++
	}
}

// BenchmarkWatchDelivery is from the acknowledgement of a change to its event
// at another client; 0 where the event is first.
func BenchmarkWatchDelivery(b *testing.B) {
	_, c := benchmarkServer(b)
	w, err := c.CoreV1().ConfigMaps(here).Watch(context.Background(), metav1.ListOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Stop()
	var late time.Duration
	n := 0
	for b.Loop() {
		if _, err := c.CoreV1().ConfigMaps(here).Create(context.Background(), configMap(fmt.Sprint("m-", n), nil), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
		acknowledged := time.Now()
		<-w.ResultChan()
		late += time.Since(acknowledged)
		n++
	}
	b.ReportMetric(float64(late.Microseconds())/float64(n), "µs/event")
}

func BenchmarkList5000(b *testing.B) {
	_, c := benchmarkServer(b)
	for n := range 5000 {
		if _, err := c.NetworkingV1().Ingresses(here).Create(context.Background(), ingress(fmt.Sprint("i-", n)), metav1.CreateOptions{}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := c.NetworkingV1().Ingresses(here).List(context.Background(), metav1.ListOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		s, err := kube.Start(kube.Options{World: outside.Real(), Address: "127.0.0.1:0"})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}
