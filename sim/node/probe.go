package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// startProbes starts the container's probes; they end with ctx. The others wait for
// the startup probe.
func (c *container) startProbes(ctx context.Context, r *run) *sync.WaitGroup {
	var probes sync.WaitGroup
	others := func() {
		if p := c.spec.ReadinessProbe; p != nil {
			probes.Go(func() { c.probe(ctx, "Readiness", p, c.setReady) })
		}
		if p := c.spec.LivenessProbe; p != nil {
			probes.Go(func() {
				c.probe(ctx, "Liveness", p, func(good bool) (more bool) { return good || !c.giveUp(ctx, r, "liveness", p) })
			})
		}
	}
	p := c.spec.StartupProbe
	if p == nil {
		others()
		return &probes
	}
	probes.Go(func() {
		c.probe(ctx, "Startup", p, func(good bool) (more bool) {
			if !good {
				return !c.giveUp(ctx, r, "startup", p)
			}
			c.set(func() { c.started, c.ready = true, c.spec.ReadinessProbe == nil })
			others()
			return false
		})
	})
	return &probes
}

func (c *container) setReady(good bool) (more bool) {
	c.mu.Lock()
	changed := c.ready != good
	c.ready = good
	c.mu.Unlock()
	if changed {
		c.worker.changed()
	}
	return true
}

// giveUp ends a container that failed its probe: by the stop signal, and by force
// when its grace is over. It does nothing (false) in a pod that is ending: that has a
// time of its own.
func (c *container) giveUp(ctx context.Context, r *run, kind string, p *corev1.Probe) bool {
	w := c.worker
	if w.stopping() {
		return false
	}
	pod := w.latest()
	why := fmt.Sprintf("Container %s failed %s probe, will be restarted", c.spec.Name, kind)
	c.mu.Lock()
	r.cause = why
	c.mu.Unlock()
	r.stop()
	w.agent.tell(ctx, pod, corev1.EventTypeNormal, "Killing", why)
	grace := ptr.Deref(p.TerminationGracePeriodSeconds, ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, 30))
	if w.agent.sleep(ctx, time.Duration(grace)*time.Second) {
		r.kill()
	}
	return true
}

// probe asks again and again, until tell, which is called when a threshold is reached
// and with every answer after that, wants no more. The first failure of a row is told
// in an Event.
func (c *container) probe(ctx context.Context, kind string, p *corev1.Probe, tell func(good bool) (more bool)) {
	w := c.worker
	actor := w.actor() + "/" + strings.ToLower(kind) + "/" + c.spec.Name
	// A kubelet trusts any certificate, too: it asks whether, not who.
	client := w.agent.World.HTTPClient(actor, &tls.Config{InsecureSkipVerify: true})
	defer client.CloseIdleConnections()
	period := time.Duration(cmp.Or(p.PeriodSeconds, 10)) * time.Second
	// Probes of several containers should not fall on one instant.
	wait := time.Duration(p.InitialDelaySeconds)*time.Second + w.agent.World.Jitter(actor, 0, time.Millisecond)
	var successes, failures int32
	for {
		if !w.agent.sleep(ctx, wait) {
			return
		}
		wait = period
		err := c.ask(ctx, actor, client, p)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures, successes = 0, successes+1
			if successes >= cmp.Or(p.SuccessThreshold, 1) && !tell(true) {
				return
			}
			continue
		}
		if successes, failures = 0, failures+1; failures == 1 {
			w.agent.tell(ctx, w.latest(), corev1.EventTypeWarning, "Unhealthy", fmt.Sprintf("%s probe failed: %v", kind, err))
		}
		if failures >= cmp.Or(p.FailureThreshold, 3) && !tell(false) {
			return
		}
	}
}

func (c *container) ask(ctx context.Context, actor string, client *http.Client, p *corev1.Probe) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmp.Or(p.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case p.HTTPGet != nil:
		at, err := c.address(p.HTTPGet.Port)
		if err != nil {
			return err
		}
		path := p.HTTPGet.Path
		if path == "" || path[0] != '/' {
			path = "/" + path
		}
		scheme := strings.ToLower(string(cmp.Or(p.HTTPGet.Scheme, corev1.URISchemeHTTP)))
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+at+path, nil)
		if err != nil {
			return err
		}
		request.Header.Set("User-Agent", "kube-probe/1")
		for _, h := range p.HTTPGet.HTTPHeaders {
			request.Header.Set(h.Name, h.Value)
			if http.CanonicalHeaderKey(h.Name) == "Host" {
				request.Host = h.Value
			}
		}
		response, err := client.Do(request)
		if err != nil {
			return err
		}
		io.Copy(io.Discard, io.LimitReader(response.Body, 10<<10))
		response.Body.Close()
		if response.StatusCode < 200 || response.StatusCode >= 400 {
			return fmt.Errorf("HTTP probe failed with statuscode: %d", response.StatusCode)
		}
		return nil
	case p.TCPSocket != nil:
		at, err := c.address(p.TCPSocket.Port)
		if err != nil {
			return err
		}
		conn, err := c.worker.agent.World.Dial(ctx, actor, "tcp", at)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	return fmt.Errorf("only httpGet and tcpSocket probes are emulated")
}

// address is where a port of the container really listens.
func (c *container) address(port intstr.IntOrString) (string, error) {
	number := port.IntValue()
	if port.Type == intstr.String {
		for _, p := range c.spec.Ports {
			if p.Name == port.StrVal {
				number = int(p.ContainerPort)
			}
		}
	}
	at, ok := c.worker.agent.Fabric.find(netip.AddrPortFrom(c.worker.ips[0], uint16(number)))
	if !ok {
		return "", fmt.Errorf("nothing listens on port %s of the container", port.String())
	}
	return at, nil
}
