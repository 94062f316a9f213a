package contract_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"vtm-ingress/controller/reconcile"
	"vtm-ingress/internal/kubeclient"
)

// candidate is one instance that may become the writer.
type candidate struct {
	*reconcile.Writer
	stop func()
}

func (c *cluster) candidate(actor string) *candidate {
	return c.candidateThat(actor, func(*reconcile.Writer) {})
}

// candidateThat is a candidate that was prepared before it runs.
func (c *cluster) candidateThat(actor string, prepare func(*reconcile.Writer)) *candidate {
	c.t.Helper()
	client, err := kubeclient.New(c.world, actor+"/lease", c.server.Config("controller"))
	if err != nil {
		c.t.Fatal(err)
	}
	watch, err := kubeclient.New(c.world, actor+"/lease-watch", c.server.Config("controller"))
	if err != nil {
		c.t.Fatal(err)
	}
	w, err := reconcile.NewWriter(reconcile.WriterOptions{
		World: c.world, Log: c.log.logger(), Client: client, Watch: watch, Actor: actor, Namespace: "shop", Name: "vtm-ingress",
		LeaseDuration: 15 * time.Second, RenewDeadline: 9700*time.Millisecond + 13, RetryPeriod: 2 * time.Second,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	var running sync.WaitGroup
	prepare(w)
	running.Go(func() { w.Run(ctx) })
	return &candidate{w, func() { cancel(); running.Wait(); client.Close(); watch.Close() }}
}

func (c *candidate) writes() bool { _, ok := c.Permit(); return ok }

// watchTwo lets time pass and fails if both may write at once. It returns after
// how long each ceased and began to be the writer, -1: not at all.
func watchTwo(t *testing.T, a, b *candidate, d time.Duration) (aCeased, bBegan time.Duration) {
	t.Helper()
	aCeased, bBegan = -1, -1
	begin := time.Now()
	for time.Since(begin) < d {
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		x, y := a.writes(), b.writes()
		if x && y {
			t.Fatalf("after %v both may write", time.Since(begin))
		}
		if !x && aCeased < 0 {
			aCeased = time.Since(begin)
		}
		if y && bBegan < 0 {
			bBegan = time.Since(begin)
		}
	}
	return aCeased, bBegan
}

func TestOneInstanceWritesAndHandsOverInOrder(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		a := c.candidate("controller/a")
		settle(time.Second)
		if !a.writes() {
			t.Fatal("the only candidate may not write")
		}
		b := c.candidate("controller/b")
		defer b.stop()
		if ceased, began := watchTwo(t, a, b, time.Hour); ceased >= 0 || began >= 0 {
			t.Errorf("in a quiet hour: a ceased after %v, b began after %v", ceased, began)
		}
		begin := time.Now()
		a.stop()
		if took := time.Since(begin); took > time.Second {
			t.Errorf("stopping took %v", took)
		}
		if a.writes() {
			t.Error("may write after it was stopped")
		}
		_, began := watchTwo(t, a, b, 10*time.Second)
		if began < 0 || began > time.Second {
			t.Errorf("the successor began after %v: it did not see that the Lease was given up", began)
		}
		lease, err := c.admin.CoordinationV1().Leases("shop").Get(t.Context(), "vtm-ingress", metav1.GetOptions{})
		if err != nil || *lease.Spec.HolderIdentity != b.Identity() || !strings.HasPrefix(b.Identity(), "controller/b_") {
			t.Errorf("holder %v, %v; want %s", lease.Spec.HolderIdentity, err, b.Identity())
		}
	})
}

func TestOneThatIsCutOffStopsBeforeAnotherBegins(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		a := c.candidate("controller/a")
		defer a.stop()
		settle(time.Second)
		b := c.candidate("controller/b")
		defer b.stop()
		settle(20 * time.Second)
		if !a.writes() || b.writes() {
			t.Fatal("a is not the only writer")
		}
		c.net.Cut("controller/a/lease", "127.3.0.1")
		ceased, began := watchTwo(t, a, b, time.Minute)
		if ceased < 0 || ceased > 10*time.Second {
			t.Errorf("a ceased after %v, want its renew deadline at most", ceased)
		}
		if began < 15*time.Second-2*time.Second || began > 25*time.Second {
			t.Errorf("b began after %v", began)
		}
		c.net.Heal("controller/a/lease", "127.3.0.1")
		if _, again := watchTwo(t, b, a, time.Hour); again >= 0 {
			t.Errorf("a became the writer again after %v though b is well", again)
		}
		if n := c.log.count("that decides who writes can't be reached"); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
	})
}

func TestWithoutTheLeaseNobodyWrites(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		c.server.Unavailable(true)
		a := c.candidate("controller/a")
		defer a.stop()
		settle(10 * time.Minute)
		if a.writes() {
			t.Error("writes without a Lease")
		}
		c.server.Unavailable(false)
		settle(10 * time.Second)
		if !a.writes() {
			t.Error("does not write though the API server is back")
		}
		c.server.Unavailable(true)
		settle(12 * time.Second)
		if a.writes() {
			t.Error("still writes after its renew deadline")
		}
		c.server.Unavailable(false)
		settle(20 * time.Second)
		if permit, ok := a.Permit(); !ok || permit.Term != 2 {
			t.Errorf("term %d, may write %v; want the second term", permit.Term, ok)
		}
	})
}

// lease is the Lease as the API server holds it.
func (c *cluster) lease() reconcile.Record {
	c.t.Helper()
	lease, err := c.admin.CoordinationV1().Leases("shop").Get(c.t.Context(), "vtm-ingress", metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	return reconcile.RecordOf(lease)
}

func TestTheLeaseTellsTheSuccessorWhereAndWhenWasWritten(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		a := c.candidate("controller/a")
		settle(time.Second)
		if _, _, ok := a.Begin(1, "https://one"); ok {
			t.Error("a write began before the Lease names its traffic manager")
		}
		if err := a.Announce(t.Context(), 1, "https://one"); err != nil {
			t.Fatal(err)
		}
		if _, _, ok := a.Begin(1, "https://two"); ok {
			t.Error("a write began through another traffic manager than the Lease names")
		}
		if _, _, ok := a.Begin(2, "https://one"); ok {
			t.Error("a write of another term began")
		}
		permit, end, ok := a.Begin(1, "https://one")
		if !ok || permit.Term != 1 || !strings.Contains(permit.Agent, a.Identity()+"; term 1") {
			t.Fatalf("may begin %v with %+v", ok, permit)
		}
		wrote := time.Now()
		end()
		c.net.Cut("controller/a/", "")
		for range 100 { // no request is needed for any of them
			if err := a.Announce(t.Context(), 1, "https://one"); err != nil {
				t.Fatal(err)
			}
			_, end, _ := a.Begin(1, "https://one")
			end()
		}
		c.net.Heal("controller/a/", "")
		settle(5 * time.Second)
		if r := c.lease(); r.Through != "https://one" || !r.LastWrite.Equal(wrote) || r.Term != 1 {
			t.Errorf("with the renewals the Lease says %+v, want the write at %v", r, wrote)
		}
		b := c.candidate("controller/b")
		settle(time.Minute)
		a.stop()
		settle(time.Second)
		permit, ok = b.Permit()
		if in := permit.Inherited; !ok || permit.Term != 2 || in.Silent || in.Through != "https://one" || in.LastWrite.Before(wrote) || in.LastWrite.After(wrote.Add(time.Second)) {
			t.Errorf("after an orderly end the successor has %+v (%v), want the write at %v", permit, ok, wrote)
		}
		d := c.candidate("controller/d")
		settle(time.Minute)
		began := time.Now()
		c.net.Cut("controller/b/", "")
		settle(25 * time.Second)
		permit, ok = d.Permit()
		if in := permit.Inherited; !ok || permit.Term != 3 || !in.Silent || in.Through != "https://one" || in.LastWrite.Before(began.Add(12*time.Second)) {
			t.Errorf("after one that fell silent the successor has %+v (%v), cut at %v", permit, ok, began)
		}
		c.net.Heal("controller/b/", "")
		b.stop()
		d.stop()
	})
}

func TestTheLeaseIsNotGivenUpWhileAWriteIsUnderWay(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		a := c.candidate("controller/a")
		settle(time.Second)
		b := c.candidate("controller/b")
		defer b.stop()
		settle(20 * time.Second)
		if err := a.Announce(t.Context(), 1, "https://one"); err != nil {
			t.Fatal(err)
		}
		_, end, ok := a.Begin(1, "https://one")
		if !ok {
			t.Fatal("no write may begin")
		}
		a.Judge(false) // it is to give way
		settle(3 * time.Second)
		if _, _, ok := a.Begin(1, "https://one"); ok || b.writes() {
			t.Errorf("while the last write is under way another one may begin: %v, and the other instance writes: %v", ok, b.writes())
		}
		end()
		settle(time.Second)
		if !b.writes() {
			t.Error("the other instance does not write though the last write has ended")
		}
		a.stop()
	})
}

func TestAnInstanceWhoseTrafficManagerIsAwayWritesOnlyIfNobodyElseWould(t *testing.T) {
	inBubble(t, "", func(t *testing.T, c *cluster) {
		unfit := func(w *reconcile.Writer) { w.Judge(false) }
		a := c.candidateThat("controller/a", unfit)
		settle(9 * time.Second)
		if a.writes() {
			t.Error("did not wait for others")
		}
		settle(5 * time.Second)
		if !a.writes() {
			t.Error("nobody else is there, and it does not write")
		}
		b := c.candidateThat("controller/b", unfit)
		if ceased, began := watchTwo(t, a, b, 9*time.Minute); ceased >= 0 || began >= 0 {
			t.Errorf("both are unfit: a ceased after %v, b began after %v", ceased, began)
		}
		a.Judge(true)
		if ceased, _ := watchTwo(t, a, b, time.Minute); ceased >= 0 {
			t.Errorf("fit again, it ceased after %v", ceased)
		}
		b.Judge(true)
		a.Judge(false)
		ceased, began := watchTwo(t, a, b, time.Minute)
		if ceased < 0 || began < 0 || began > 2*time.Second {
			t.Errorf("a is unfit and b fit: a ceased after %v, b began after %v", ceased, began)
		}
		a.stop()
		b.stop()
	})
}
