package kube_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/sim/kube"
)

// describe is an event as these tests compare it.
func describe(e watch.Event) string {
	if status, ok := e.Object.(*metav1.Status); ok {
		return fmt.Sprint(e.Type, " ", status.Code, " ", status.Reason)
	}
	m, err := meta.Accessor(e.Object)
	if err != nil {
		return err.Error()
	}
	if m.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "" {
		return fmt.Sprint(e.Type, " initial end")
	}
	return fmt.Sprint(e.Type, " ", m.GetName())
}

// expect reads events until each of want has come, in order.
func expect(ctx context.Context, t *testing.T, w watch.Interface, want ...string) {
	t.Helper()
	for _, one := range want {
		select {
		case e, open := <-w.ResultChan():
			if !open {
				t.Fatalf("the watch ended, want %s", one)
			}
			if got := describe(e); strings.TrimSpace(got) != one {
				t.Fatalf("event %s, want %s", got, one)
			}
		case <-ctx.Done():
			t.Fatalf("no event, want %s", one)
		}
	}
}

func TestWatchesBeginWhereTheyAreAsked(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	maps := c.CoreV1().ConfigMaps(here)
	fill(ctx, t, c, 2)
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "m-00", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		options metav1.ListOptions
		want    []string
	}{
		{"a version", metav1.ListOptions{ResourceVersion: list.ResourceVersion}, []string{"DELETED m-00", "ADDED m-new"}},
		{"nothing", metav1.ListOptions{}, []string{"ADDED m-01", "ADDED m-new"}},
		{"zero", metav1.ListOptions{ResourceVersion: "0", AllowWatchBookmarks: true}, []string{"ADDED m-01", "BOOKMARK initial end", "ADDED m-new"}},
		{"initial events", metav1.ListOptions{
			SendInitialEvents: ptr.To(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
		}, []string{"ADDED m-01", "BOOKMARK initial end", "ADDED m-new"}},
		{"no initial events", metav1.ListOptions{
			SendInitialEvents: ptr.To(false), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		}, []string{"ADDED m-new"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, err := maps.Watch(ctx, test.options)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			if _, err := maps.Create(ctx, configMap("m-new", nil), metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			expect(ctx, t, w, test.want...)
			if err := maps.Delete(ctx, "m-new", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			expect(ctx, t, w, "DELETED m-new")
		})
	}
}

func TestWatchesSeeWhatTheySelect(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	maps := c.CoreV1().ConfigMaps(here)
	w, err := maps.Watch(ctx, metav1.ListOptions{LabelSelector: "on=yes"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	m := configMap("m", nil)
	for _, on := range []string{"no", "yes", "yes", "no", "yes"} {
		m.Labels = map[string]string{"on": on, "n": fmt.Sprint(len(m.Labels), m.ResourceVersion)}
		if m.ResourceVersion == "" {
			m, err = maps.Create(ctx, m, metav1.CreateOptions{})
		} else {
			m, err = maps.Update(ctx, m, metav1.UpdateOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := maps.Delete(ctx, "m", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(ctx, t, w, "ADDED m", "MODIFIED m", "DELETED m", "ADDED m", "DELETED m")
}

func TestWatchFromAForgottenVersionIsGone(t *testing.T) {
	s := start(t, func(o *kube.Options) { o.HistoryLimit = 2 })
	c, ctx := client(t, s, "a"), deadline(t)
	maps := c.CoreV1().ConfigMaps(here)
	list, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fill(ctx, t, c, 6)
	w, err := maps.Watch(ctx, metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	expect(ctx, t, w, "ERROR 410 Expired")
	if err := c.CoreV1().RESTClient().Get().Namespace(here).Resource("configmaps").Param("watch", "1").Param("resourceVersion", "999999").MaxRetries(0).Do(ctx).Error(); !apierrors.IsTimeout(err) {
		t.Errorf("watch from a version that is not there yet: %v", err)
	}
}

// informer keeps the names of ConfigMaps.
func informer(ctx context.Context, t *testing.T, c *kubeclient.Client) cache.SharedIndexInformer {
	t.Helper()
	factory := informers.NewSharedInformerFactory(c, 0)
	i := factory.Core().V1().ConfigMaps().Informer()
	ctx, stop := context.WithCancel(ctx)
	factory.Start(ctx.Done())
	t.Cleanup(func() { stop(); factory.Shutdown() })
	if !cache.WaitForCacheSync(ctx.Done(), i.HasSynced) {
		t.Fatal("informer has no list")
	}
	return i
}

// until waits for a condition that other goroutines bring about.
func until(ctx context.Context, t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("never: %s", what)
		case <-ticker.C:
		}
	}
}

func TestInformersOutliveAnOutage(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 3)
	i := informer(ctx, t, client(t, s, "informer"))
	s.SetFaults(kube.FaultRule{Kind: "away"})
	if _, err := c.CoreV1().ConfigMaps(here).Get(ctx, "m-00", metav1.GetOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Fatalf("while unavailable: %v", err)
	}
	s.SetFaults()
	if err := c.CoreV1().ConfigMaps(here).Delete(ctx, "m-00", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.SetFaults(kube.FaultRule{Kind: "forgets"}) // the version that the informer has is 410 Gone
	if left := s.Faults(); len(left) > 0 {
		t.Errorf("%v is kept", left)
	}
	if _, err := c.CoreV1().ConfigMaps(here).Create(ctx, configMap("new", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "the informer has what changed during the outage", func() bool {
		_, created, _ := i.GetStore().GetByKey("default/new")
		_, deleted, _ := i.GetStore().GetByKey("default/m-00")
		return created && !deleted && len(i.GetStore().ListKeys()) == 3
	})
}

func TestTheOldWatchPathsWork(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 2)
	for path, want := range map[string]int{
		"/api/v1/watch/configmaps":                         2,
		"/api/v1/watch/namespaces/default/configmaps":      2,
		"/api/v1/watch/namespaces/default/configmaps/m-01": 1,
	} {
		body, err := c.CoreV1().RESTClient().Get().AbsPath(path).Param("timeoutSeconds", "1").DoRaw(ctx)
		if err != nil || strings.Count(string(body), `"ADDED"`) != want {
			t.Errorf("%s: %d events, %v", path, strings.Count(string(body), `"ADDED"`), err)
		}
	}
}

func TestLeadershipFailsOver(t *testing.T) {
	s := start(t, nil)
	ctx := deadline(t)
	leading := make(chan string, 2)
	elect := func(name string) context.CancelFunc {
		ctx, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		c := client(t, s, name)
		go func() {
			defer close(ended)
			leaderelection.RunOrDie(ctx, leaderelection.LeaderElectionConfig{
				Lock: &resourcelock.LeaseLock{
					LeaseMeta:  metav1.ObjectMeta{Namespace: here, Name: "leader"},
					Client:     c.CoordinationV1(),
					LockConfig: resourcelock.ResourceLockConfig{Identity: name},
				},
				LeaseDuration: 2 * time.Second, RenewDeadline: time.Second, RetryPeriod: 100 * time.Millisecond,
				ReleaseOnCancel: true,
				Callbacks: leaderelection.LeaderCallbacks{
					OnStartedLeading: func(context.Context) { leading <- name },
					OnStoppedLeading: func() {},
				},
			})
		}()
		return func() { stop(); <-ended }
	}
	stop := elect("a")
	if first := <-leading; first != "a" {
		t.Fatal(first)
	}
	stopOther := elect("b")
	defer stopOther()
	stop()
	select {
	case second := <-leading:
		if second != "b" {
			t.Fatal(second)
		}
	case <-ctx.Done():
		t.Fatal("nobody took over")
	}
	var lease *coordinationv1.Lease
	lease, err := client(t, s, "c").CoordinationV1().Leases(here).Get(ctx, "leader", metav1.GetOptions{})
	if err != nil || *lease.Spec.HolderIdentity != "b" {
		t.Errorf("%+v %v", lease, err)
	}
}

func TestCloseEndsWatches(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	w, err := c.CoreV1().ConfigMaps("").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	s.Close()
	for {
		select {
		case _, open := <-w.ResultChan():
			if !open {
				return
			}
		case <-ctx.Done():
			t.Fatal("the watch goes on")
		}
	}
}
