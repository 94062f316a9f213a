package node

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// startProbes starts the container's probes; they end with ctx.
func (c *container) startProbes(ctx context.Context, r *run) *sync.WaitGroup {
	var probes sync.WaitGroup
	if p := c.spec.ReadinessProbe; p != nil {
		probes.Go(func() {
			c.probe(ctx, "readiness", p, func(good bool, _ string) {
				c.mu.Lock()
				changed := c.ready != good && c.running == r
				if changed {
					c.ready = good
				}
				c.mu.Unlock()
				if changed {
					c.worker.changed()
				}
			})
		})
	}
	if p := c.spec.LivenessProbe; p != nil {
		probes.Go(func() {
			c.probe(ctx, "liveness", p, func(good bool, why string) {
				if !good {
					c.worker.agent.events.write(ctx, c.worker.latest(), corev1.EventTypeWarning, "Unhealthy", "Liveness probe failed: "+why)
					c.stop("Liveness probe failed: " + why)
				}
			})
		})
	}
	return &probes
}

// probe asks again and again; tell is called when a threshold is reached, and with
// every answer after that.
func (c *container) probe(ctx context.Context, kind string, p *corev1.Probe, tell func(good bool, why string)) {
	w := c.worker
	actor := w.actor() + "/" + kind + "/" + c.spec.Name
	client := w.agent.World.HTTPClient(actor, nil)
	defer client.CloseIdleConnections()
	period := time.Duration(cmp.Or(p.PeriodSeconds, 10)) * time.Second
	// Probes of several containers should not fall on one instant.
	wait := time.Duration(p.InitialDelaySeconds)*time.Second + w.agent.World.Jitter(actor, 0, time.Millisecond)
	var successes, failures int32
	for {
		if !sleep(ctx, w.agent.World, wait) {
			return
		}
		wait = period
		err := c.ask(ctx, actor, client, p)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			failures, successes = 0, successes+1
			if successes >= cmp.Or(p.SuccessThreshold, 1) {
				tell(true, "")
			}
			continue
		}
		successes, failures = 0, failures+1
		if failures >= cmp.Or(p.FailureThreshold, 3) {
			tell(false, err.Error())
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
		if p.HTTPGet.Scheme == corev1.URISchemeHTTPS {
			return fmt.Errorf("probes over HTTPS are not emulated")
		}
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+path, nil)
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
	at, ok := c.worker.agent.Fabric.find(netip.AddrPortFrom(c.worker.ip, uint16(number)))
	if !ok {
		return "", fmt.Errorf("nothing listens on port %s of the container", port.String())
	}
	return at, nil
}
