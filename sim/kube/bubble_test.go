package kube_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
	"vtm-ingress/sim/network"
)

func init() {
	// The others sleep by the real clock, which lies decades after a bubble's.
	utilruntime.ErrorHandlers = utilruntime.ErrorHandlers[:1]
}

// inBubble runs a server on a network in memory, with fake time.
func inBubble(t *testing.T, plain bool, run func(t *testing.T, ctx context.Context, world outside.World, s *kube.Server)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: 7})
		s, err := kube.Start(kube.Options{World: net.World(), Address: "127.3.0.1:6443", PlainHTTP: plain})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		run(t, ctx, net.World(), s)
		cancel()
		s.Close()
		net.Close()
		time.Sleep(2 * time.Minute) // dials and timers of transports end by themselves
	})
}

func TestInABubbleHoursPassAndNothingIsMissed(t *testing.T) {
	for _, plain := range []bool{true, false} {
		t.Run(fmt.Sprintf("plain %v", plain), func(t *testing.T) {
			inBubble(t, plain, func(t *testing.T, ctx context.Context, world outside.World, s *kube.Server) {
				c, err := kubeclient.New(world, "writer", s.Config("writer"))
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				reader, err := kubeclient.New(world, "reader", s.Config("reader"))
				if err != nil {
					t.Fatal(err)
				}
				defer reader.Close()
				factory := informers.NewSharedInformerFactory(reader, 0)
				i := factory.Core().V1().ConfigMaps().Informer()
				ctx, stop := context.WithCancel(ctx)
				factory.Start(ctx.Done())
				defer factory.Shutdown()
				defer stop()
				if !cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
					t.Fatal("no list")
				}
				for hour := range 5 {
					time.Sleep(time.Hour) // watches time out and begin anew
					switch hour {
					case 2:
						s.ForgetHistory()
					case 3:
						s.Unavailable(true)
						time.Sleep(10 * time.Second)
						s.Unavailable(false)
					}
					made, err := c.CoreV1().ConfigMaps(here).Create(ctx, configMap(fmt.Sprint("hour-", hour), nil), metav1.CreateOptions{})
					if err != nil {
						t.Fatal(err)
					}
					if want := time.Date(2000, 1, 1, hour+1, 0, 0, 0, time.UTC); made.CreationTimestamp.Sub(want).Abs() > time.Minute {
						t.Errorf("created at %s, fake time is about %s", made.CreationTimestamp, want)
					}
				}
				time.Sleep(time.Minute)
				if keys := i.GetStore().ListKeys(); len(keys) != 5 {
					t.Errorf("the informer has %v", keys)
				}
			})
		})
	}
}

func TestEventsEndAnHourAfterTheirLastChange(t *testing.T) {
	inBubble(t, true, func(t *testing.T, ctx context.Context, world outside.World, s *kube.Server) {
		c, err := kubeclient.New(world, "events", s.Config("events"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		events := c.CoreV1().Events(here)
		write := func(name string) {
			t.Helper()
			e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Name: name}, InvolvedObject: corev1.ObjectReference{Namespace: here}}
			if _, err := events.Create(ctx, e, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		write("old")
		write("touched")
		time.Sleep(30 * time.Minute)
		if _, err := events.Patch(ctx, "touched", types.MergePatchType, []byte(`{"count":2}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Minute)
		write("new")
		list, err := events.List(ctx, metav1.ListOptions{})
		if err != nil || len(list.Items) != 2 || list.Items[0].Name != "new" || list.Items[1].Name != "touched" {
			t.Errorf("%+v %v", list, err)
		}
	})
}

// story has several clients act on one server and returns what a watch saw.
func story(t *testing.T) string {
	var seen []string
	inBubble(t, true, func(t *testing.T, ctx context.Context, world outside.World, s *kube.Server) {
		watcher, err := kubeclient.New(world, "watcher", s.Config("watcher"))
		if err != nil {
			t.Fatal(err)
		}
		defer watcher.Close()
		w, err := watcher.CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for n := range 4 {
			all.Go(func() {
				c, err := kubeclient.New(world, fmt.Sprint("actor-", n), s.Config("actor"))
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				for range 5 {
					if _, err := c.CoreV1().ConfigMaps(here).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: fmt.Sprint("by-", n, "-")}}, metav1.CreateOptions{}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range 20 {
			e := <-w.ResultChan()
			m := e.Object.(*corev1.ConfigMap)
			seen = append(seen, fmt.Sprint(time.Now().Format(time.StampNano), " ", m.Name, " ", m.UID, " ", m.ResourceVersion))
		}
		w.Stop()
		all.Wait()
	})
	return strings.Join(seen, "\n")
}

func TestInABubbleARunRepeatsExactly(t *testing.T) {
	first := story(t)
	for range 5 {
		if again := story(t); again != first {
			t.Fatalf("two runs differ:\n%s\n\n%s", first, again)
		}
	}
	if lines := strings.Split(first, "\n"); len(slices.Compact(lines)) != 20 {
		t.Errorf("%d events", len(lines))
	}
}
