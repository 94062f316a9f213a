package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
)

// clients ask once a second each.
const clients = 5

// excuse is how long after the end of a fault of the data path requests may still
// fail: other members notice (5 s by default) and addresses move; and a monitor of
// a node that was out of reach backs off, so that it takes its time to see it again.
func (f Fault) excuse() time.Duration {
	switch {
	case f.VTM.Kind == "isolate", f.VTM.Kind == "cut" && f.VTM.Arg == "nodes":
		return 90 * time.Second
	}
	return 30 * time.Second
}

// forget is for how long after a change the answer of before is still right: a
// controller may be cut off, and a successor must first get the Lease.
const forget = 3 * time.Minute

// asking are all clients at work.
type asking struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (a *asking) stop() {
	a.cancel()
	a.done.Wait()
}

func (r *run) startClients(ctx context.Context) *asking {
	ctx, cancel := context.WithCancel(ctx)
	a := &asking{cancel: cancel}
	for n := range clients {
		a.done.Go(func() {
			actor := fmt.Sprintf("client/%d", n)
			time.Sleep(r.between(0, time.Second, actor, -1))
			for tick := 0; ctx.Err() == nil; tick++ {
				r.ask(ctx, actor, tick)
				select {
				case <-ctx.Done():
				case <-time.After(time.Second - 41*time.Millisecond + r.between(0, 41*time.Millisecond, actor+"/pause", tick)):
				}
			}
		})
	}
	a.done.Go(func() { r.watchTakeOvers(ctx) })
	return a
}

// ask sends one request to a site, which it picks by chance: of two one is steady.
func (r *run) ask(ctx context.Context, actor string, tick int) {
	if r.below(2, actor+"/steady", tick) == 0 {
		s := steadySites[r.below(len(steadySites), actor+"/site", tick)]
		sent := r.now()
		pod, err := r.get(ctx, fmt.Sprintf("%s/%d", actor, tick), s.address, s.port, s.host)
		if err == nil && !strings.HasPrefix(pod, steady+"/"+s.deployment+"-") {
			r.violate(3, "a request to %s at %s was answered by pod %s", s.host, s.address, pod)
		}
		if ctx.Err() == nil {
			r.count(err != nil, sent, fmt.Sprintf("a request to %s at %s, sent at %s, failed: %v", s.host, s.address, clock(sent), err))
		}
		return
	}
	host := fmt.Sprintf("host-%d.example", r.below(ingresses, actor+"/host", tick))
	addresses := []string{"10.2.0.1", "10.2.0.2", fmt.Sprintf("10.1.1.%d", 1+r.below(ingresses, actor+"/dedicated", tick))}
	address := addresses[r.below(len(addresses), actor+"/address", tick)]
	port := []int{80, 80, 80, 8080}[r.below(4, actor+"/port", tick)]
	pod, err := r.get(ctx, fmt.Sprintf("%s/%d", actor, tick), address, port, host)
	if ctx.Err() != nil || err != nil {
		return // whether somebody is there at all changes all the time
	}
	namespace, name, _ := strings.Cut(pod, "/")
	may := namespace == shop && r.mayAnswer(host, name)
	if !may && namespace == shop {
		r.learn() // an Ingress may have come since
		may = r.mayAnswer(host, name)
	}
	if !may {
		r.violate(3, "a request to %s at %s:%d was answered by pod %s", host, address, port, pod)
	}
}

// get asks for / and tells which pod answered.
func (r *run) get(ctx context.Context, actor, address string, port int, host string) (pod string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+7*time.Nanosecond)
	defer cancel()
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.system.box.Dial(ctx, actor, netip.AddrPortFrom(netip.MustParseAddr(address), uint16(port)))
		},
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return "", err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return "", err
	}
	if response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("status %d: %.200s", response.StatusCode, body)
	}
	var echo struct{ Namespace, Pod string }
	if json.Unmarshal(body, &echo) != nil || echo.Pod == "" {
		return "", errors.New("no pod answered")
	}
	return echo.Namespace + "/" + echo.Pod, nil
}

// count is invariant 2: what serves keeps serving.
func (r *run) count(failed bool, sent time.Duration, text string) {
	r.mu.Lock()
	r.result.Requests++
	excused := false
	if failed {
		r.result.Failed++
		for _, a := range r.active {
			if a.from <= r.now() && (a.to == 0 || sent <= a.to+a.fault.excuse()) {
				excused = true
			}
		}
		if excused {
			r.result.Excused++
		}
	}
	r.mu.Unlock()
	if failed && !excused {
		r.violate(2, "%s", text)
	}
}

// learn notes which Services' pods may answer for a host from now on, and until
// some time after the last Ingress that says so is gone.
func (r *run) learn() {
	var list networkingv1.IngressList
	if status, err := r.system.get("/apis/networking.k8s.io/v1/namespaces/"+shop+"/ingresses", &list); err != nil || status != http.StatusOK {
		return // away: it can't change
	}
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.backends == nil {
		r.backends = map[string]map[string]time.Duration{}
	}
	for _, i := range list.Items {
		for _, rule := range i.Spec.Rules {
			if rule.HTTP == nil {
				continue
			}
			if r.backends[rule.Host] == nil {
				r.backends[rule.Host] = map[string]time.Duration{}
			}
			for _, p := range rule.HTTP.Paths {
				r.backends[rule.Host][p.Backend.Service.Name] = now
			}
		}
	}
}

// mayAnswer says whether a pod may answer for a host.
func (r *run) mayAnswer(host, pod string) bool {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for service, seen := range r.backends[host] {
		if strings.HasPrefix(pod, service+"-") && now-seen < forget {
			return true
		}
	}
	return false
}

// killedWriter notes that the writer was killed at this moment.
func (r *run) killedWriter() {
	lease := r.system.currentLease()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killedAt == 0 && lease != nil {
		r.killedAt, r.killed = r.now(), *lease.Spec.HolderIdentity
	}
}

// watchTakeOvers sees when another instance has the Lease of one that was killed.
func (r *run) watchTakeOvers(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100*time.Millisecond + 3*time.Nanosecond):
		}
		r.mu.Lock()
		waiting := r.killedAt != 0
		r.mu.Unlock()
		if !waiting {
			continue
		}
		lease := r.system.currentLease()
		r.mu.Lock()
		if lease != nil && lease.Spec.HolderIdentity != nil && *lease.Spec.HolderIdentity != r.killed && *lease.Spec.HolderIdentity != "" {
			r.result.TakeOvers = append(r.result.TakeOvers, r.now()-r.killedAt)
			r.killedAt = 0
		}
		r.mu.Unlock()
	}
}
