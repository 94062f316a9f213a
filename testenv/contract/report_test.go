package contract_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/translate"
)

// telling is a Reporter with the Watcher that it asks.
type telling struct {
	*report.Reporter
	t       *testing.T
	watcher *kube.Watcher
	may     atomic.Bool
}

func (c *cluster) tell() (r *telling, stop func()) {
	c.t.Helper()
	watcher, stopWatching := c.watch(nil)
	until(c.t, watcher, time.Minute, "anything", func(*kube.Snapshot) bool { return true })
	r = &telling{t: c.t, watcher: watcher}
	r.may.Store(true)
	var err error
	r.Reporter, err = report.New(report.Options{
		World: c.world, Log: c.log.logger(), Config: c.server.Config("controller"), Actor: "controller/a/report",
		ControllerID: "k8s", May: r.may.Load, Current: watcher.Ingress,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	var running sync.WaitGroup
	running.Go(func() { r.Run(ctx) })
	return r, func() { cancel(); running.Wait(); stopWatching() }
}

func (r *telling) say(name types.NamespacedName, verdict *translate.Verdict, live bool, problems ...translate.Reason) {
	r.t.Helper()
	ingress := r.watcher.Ingress(name)
	if ingress == nil {
		r.t.Fatalf("no Ingress %v", name)
	}
	r.Report(r.t.Context(), []report.Entry{{Ingress: ingress, Verdict: verdict, Live: live, Problems: problems}})
}

func complete(addresses ...string) *translate.Verdict {
	v := &translate.Verdict{Outcome: translate.Complete}
	for _, a := range addresses {
		v.Addresses = append(v.Addresses, translate.Address{IP: netip.MustParseAddr(a), Ports: []int32{80, 443}})
	}
	return v
}

var noService = &translate.Verdict{Outcome: translate.Rejected, Reasons: []translate.Reason{
	{Code: "ServiceNotFound", Message: "Service shop/web is missing: create it"},
}}

// state is an Ingress's status and its Events, oldest first.
func (c *cluster) state(name string) (status string, events []string) {
	c.t.Helper()
	for _, i := range c.ingress("shop", name).Status.LoadBalancer.Ingress {
		status += i.IP
		for _, p := range i.Ports {
			status += fmt.Sprintf(":%d/%s", p.Port, p.Protocol)
		}
		status += " "
	}
	list, err := c.admin.CoreV1().Events("shop").List(c.t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
	if err != nil {
		c.t.Fatal(err)
	}
	slices.SortStableFunc(list.Items, func(a, b corev1.Event) int { return a.FirstTimestamp.Compare(b.FirstTimestamp.Time) })
	for _, e := range list.Items {
		events = append(events, e.Type+" "+e.Reason+" "+e.Message)
	}
	return strings.TrimSpace(status), events
}

func (c *cluster) want(name, status string, events ...string) {
	c.t.Helper()
	time.Sleep(5 * time.Second) // of simulated time: what was reported is written
	got, list := c.state(name)
	if got != status || !slices.Equal(list, events) {
		c.t.Errorf("status %q, events %q; want %q, %q", got, list, status, events)
	}
}

const (
	isProgrammed = "Normal Programmed served on 10.0.0.80:80, 10.0.0.80:443"
	isMissing    = "Warning ServiceNotFound Service shop/web is missing: create it"
	status80     = "10.0.0.80:80/TCP:443/TCP"
)

func TestEachChangeOfVerdictIsToldOnce(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		web := named("shop", "web")
		r, stop := c.tell()
		r.say(web, noService, false)
		c.want("web", "", isMissing)
		r.say(web, complete("10.0.0.80"), false) // on its way
		c.want("web", "", isMissing)
		r.say(web, complete("10.0.0.80"), true)
		c.want("web", status80, isMissing, isProgrammed)
		r.say(web, complete("10.0.0.80"), true) // again
		c.want("web", status80, isMissing, isProgrammed)
		r.say(web, noService, false)
		c.want("web", "", isMissing, isProgrammed, isMissing)
		r.say(web, complete("10.0.0.80"), true)
		c.want("web", status80, isMissing, isProgrammed, isMissing, isProgrammed)
		if n := c.log.count("is missing: create it"); n != 2 {
			t.Errorf("logged %d times:\n%s", n, c.log.text.String())
		}
		stop()

		// After a restart the same is told, and nothing is written.
		version := c.ingress("shop", "web").ResourceVersion
		r, stop = c.tell()
		defer stop()
		r.say(web, complete("10.0.0.80"), true)
		c.want("web", status80, isMissing, isProgrammed, isMissing, isProgrammed)
		if now := c.ingress("shop", "web").ResourceVersion; now != version {
			t.Errorf("the status was written again: version %s, was %s", now, version)
		}
	})
}

func TestAnIngressThatLeavesLosesOurAddressesAlone(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		web := named("shop", "web")
		r, stop := c.tell()
		defer stop()
		r.say(web, complete("10.0.0.80"), true)
		c.want("web", status80, isProgrammed)
		ingress := c.ingress("shop", "web")
		ingress.Status.LoadBalancer.Ingress = append(ingress.Status.LoadBalancer.Ingress, networkingv1.IngressLoadBalancerIngress{IP: "10.9.9.9"})
		if _, err := c.admin.NetworkingV1().Ingresses("shop").UpdateStatus(t.Context(), ingress, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		r.say(web, nil, false)
		c.want("web", "10.9.9.9", isProgrammed)
		r.say(web, nil, false)
		c.want("web", "10.9.9.9", isProgrammed)
	})
}

func TestAStatusIsWrittenOnceThoughItIsHeardLate(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		r, stop := c.tell()
		defer stop()
		c.net.Cut("controller/a/kube/ingresses", "")
		r.say(named("shop", "web"), complete("10.0.0.80"), true)
		c.want("web", status80, isProgrammed)
		r.say(named("shop", "web"), complete("10.0.0.80"), true)
		c.want("web", status80, isProgrammed)
		c.net.Heal("controller/a/kube/ingresses", "")
		if n := strings.Count(c.trace.Canonical(), " PATCH "); n != 1 {
			t.Errorf("%d writes, want 1", n)
		}
	})
}

func TestLabelsAndAnnotationsSurviveAStatus(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		ingress := someIngress("shop", "web", "a")
		ingress.Labels, ingress.Finalizers = map[string]string{"team": "shop"}, []string{"example.org/keep"}
		ingress.Annotations[corev1.LastAppliedConfigAnnotation] = "{}"
		c.create(ingress)
		r, stop := c.tell()
		defer stop()
		r.say(named("shop", "web"), complete("10.0.0.80"), true)
		c.want("web", status80, isProgrammed)
		now := c.ingress("shop", "web")
		if now.Labels["team"] != "shop" || len(now.Finalizers) != 1 || len(now.Annotations) != 2 || now.Generation != 1 {
			t.Errorf("%+v", now.ObjectMeta)
		}
	})
}

func TestTellingSurvivesAnOutage(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		for i := range 50 {
			c.create(someIngress("shop", fmt.Sprint("web-", i), "a"))
		}
		r, stop := c.tell()
		defer stop()
		time.Sleep(time.Second)
		c.server.Unavailable(true)
		for i := range 50 {
			r.say(named("shop", fmt.Sprint("web-", i)), noService, false)
		}
		time.Sleep(3 * time.Minute)
		for i := range 50 { // the latest counts, what came before is told too
			r.say(named("shop", fmt.Sprint("web-", i)), complete("10.0.0.80"), true)
		}
		if n := c.log.count("it is tried again"); n == 0 || n > 15 {
			t.Errorf("told %d times that it fails:\n%s", n, c.log.text.String())
		}
		c.server.Unavailable(false)
		time.Sleep(time.Minute)
		for i := range 50 {
			c.want(fmt.Sprint("web-", i), status80, isMissing, isProgrammed)
		}
	})
}

func TestWhoDoesNotWriteAnyMoreTellsNothing(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		r, stop := c.tell()
		defer stop()
		r.may.Store(false)
		r.say(named("shop", "web"), complete("10.0.0.80"), true)
		c.want("web", "")
	})
}

func TestADeletedIngressIsNotToldOf(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.create(someIngress("shop", "web", "a"))
		r, stop := c.tell()
		defer stop()
		before := r.watcher.Ingress(named("shop", "web"))
		if err := c.admin.NetworkingV1().Ingresses("shop").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		c.create(someIngress("shop", "web", "other")) // of the same name
		r.Report(t.Context(), []report.Entry{{Ingress: before, Verdict: complete("10.0.0.80"), Live: true}})
		c.want("web", "")
		if n := c.log.count("it is tried again"); n != 0 {
			t.Errorf("it is tried again:\n%s", c.log.text.String())
		}
	})
}

func TestManyAreToldWithinSeconds(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		const n = 300
		for i := range n {
			c.create(someIngress("shop", fmt.Sprint("web-", i), "a"))
		}
		r, stop := c.tell()
		defer stop()
		time.Sleep(time.Second)
		began := time.Now()
		for i := range n {
			r.say(named("shop", fmt.Sprint("web-", i)), complete("10.0.0.80"), true)
		}
		for i := range n {
			for len(c.ingress("shop", fmt.Sprint("web-", i)).Status.LoadBalancer.Ingress) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%d Ingresses took %v", n, took)
		}
	})
}
