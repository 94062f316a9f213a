package simulation

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// clients ask once a second each.
const clients = 5

// excuse is how long after the end of a fault of the data path requests may still
// fail: other members notice (5 s by default) and addresses move; and a monitor of
// a node that was out of reach backs off, so that it takes its time to see it again.
// After a node was cut off it is Kubernetes that lets requests fail: its proxy hears
// that the Pods are not ready, and closes their node ports until the node has told that
// they are. Nodes that refused requests meanwhile are tried again a minute later.
func (f Fault) excuse() time.Duration {
	switch {
	case f.Node != "":
		return 2 * time.Minute
	case f.VTM.Kind == "isolate", f.VTM.Kind == "cut" && f.VTM.Arg == "nodes":
		return 2 * time.Minute
	}
	return 30 * time.Second
}

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

// Where clients ask, and what for. Some of it no Ingress ever names.
var (
	askedHosts = []string{
		"host-0.example", "host-1.example", "host-2.example", "host-3.example", "host-4.example", "host-5.example", "host-6.example", "host-7.example",
		"secret-0.example", "secret-1.example", "secret-2.example", "secret-3.example",
		"issued-0.example", "issued-5.example", "a.wild.example", "b.wild.example", "a.b.wild.example", "wild.example", "nobody.example",
	}
	askedPaths = []string{
		"/", "/app", "/app/", "/app/one", "/app/one/two", "/apple", "/APP", "/file", "/file/x", "/p/x/end", "/p/x", "/x/../app", "//app//one", "/app%2fone",
	}
)

// steadyQuestions are those that an Ingress of the namespace which nobody touches
// answers, whatever happens.
var steadyQuestions = []question{
	{"10.1.0.1", 80, false, "one.steady.example", "/"},
	{"10.1.0.2", 80, false, "two.steady.example", "/app/x"},
	{"10.2.0.1", 80, false, "three.steady.example", "/"},
	{"10.2.0.1", 443, true, "four.steady.example", "/"},
	{"10.2.0.3", 443, true, "five.steady.example", "/"},
	{"10.2.0.3", 80, false, "five.steady.example", "/a?b=c"},
	{"10.2.0.2", 443, true, "c.wild.example", "/"},
	{"10.1.0.3", 80, false, "a.six.steady.example", "/app/one"},
	{"10.1.0.3", 80, false, "a.b.six.steady.example", "/app/one"},
	{"10.1.0.3", 80, false, "other.example", "/apple"},
	{"10.1.0.4", 443, true, "eight.steady.example", "/x/../y"},
	{"10.1.0.5", 443, true, "nine.steady.example", "/"},
	{"10.2.0.1", 80, false, "many-0.steady.example", "/"},
	{"10.2.0.1", 80, false, "many-4.steady.example", "/x/y"},
}

// question is what a client asks next: in two of three times what is steady.
func (r *run) question(actor string, tick int) question {
	pick := func(count int, what string) int { return r.below(count, actor+"/"+what, tick) }
	if pick(3, "steady") > 0 {
		return steadyQuestions[pick(len(steadyQuestions), "question")]
	}
	addresses := append(slices.Clone(sharedAddresses), sharedAddresses...)
	addresses = append(addresses, fmt.Sprintf("10.1.1.%d", 1+pick(ingresses, "dedicated")))
	q := question{
		address: addresses[pick(len(addresses), "address")], port: []int{80, 80, 443, 443, 8080}[pick(5, "port")],
		host: askedHosts[pick(len(askedHosts), "host")], path: askedPaths[pick(len(askedPaths), "path")],
	}
	worlds := r.since(r.now())
	if l := worlds[len(worlds)-1].site(q.address, asServed).ports[q.port]; l != nil {
		q.tls = l.tls
	} else {
		q.tls = q.port == 443
	}
	return q
}

// ask sends one request.
func (r *run) ask(ctx context.Context, actor string, tick int) {
	q := r.question(actor, tick)
	sent := r.now()
	got := r.get(ctx, fmt.Sprintf("%s/%d", actor, tick), q)
	if ctx.Err() == nil {
		if r.stepping.Load() {
			r.learn() // what a user changes may be in effect before the user knows
		}
		r.judge(q, got, sent)
	}
}

// get asks as a client does.
func (r *run) get(ctx context.Context, actor string, q question) (got response) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second+7*time.Nanosecond)
	defer cancel()
	scheme, host := "http", q.host
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return r.system.box.Dial(ctx, actor, netip.AddrPortFrom(netip.MustParseAddr(q.address), uint16(q.port)))
		},
	}
	defer transport.CloseIdleConnections()
	if q.tls {
		scheme = "https"
		// Which certificate must come is judged by itself.
		transport.TLSClientConfig = &tls.Config{
			InsecureSkipVerify: true,
			CurvePreferences:   []tls.CurveID{tls.CurveP256}, // the cheapest
			VerifyConnection: func(state tls.ConnectionState) error {
				got.certificate = fingerprint(state.PeerCertificates[0].Raw)
				return nil
			},
		}
	}
	if q.port != 80 && q.port != 443 {
		host += fmt.Sprintf(":%d", q.port)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+host+q.path, nil)
	if err != nil {
		got.err = err
		return got
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		got.err = err
		return got
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		got.err = err
		return got
	}
	got.status, got.location = answer.StatusCode, answer.Header.Get("Location")
	var echo struct{ Namespace, Pod string }
	if answer.StatusCode == http.StatusOK && json.Unmarshal(body, &echo) == nil && echo.Pod != "" {
		got.pod = echo.Namespace + "/" + echo.Pod
		got.never = r.neverReady(echo.Namespace, echo.Pod)
	}
	return got
}

// neverReady says whether a Pod is one that can't become ready, which it is for all
// its life.
func (r *run) neverReady(namespace, name string) bool {
	path := "/api/v1/namespaces/" + namespace + "/pods/" + name
	if never, known := r.pods.Load(path); known {
		return never.(bool)
	}
	var pod corev1.Pod
	if status, err := r.system.get(path, &pod); err != nil || status != http.StatusOK {
		return false
	}
	never := pod.Annotations[neverReady] != ""
	r.pods.Store(path, never)
	return never
}

// count is invariant 2: what serves keeps serving. service is the one that must answer.
func (r *run) count(failed bool, q question, service string, sent time.Duration, text string) {
	emptied := failed && r.emptied(service)
	r.mu.Lock()
	r.result.Requests++
	excused := false
	if failed {
		r.result.Failed++
		// Of several that may have been the cause, the last that began counts.
		for _, a := range slices.Backward(r.active) {
			if emptied && a.fault.Node != "" {
				continue // that is nobody's doing but ours
			}
			if a.from <= r.now() && (a.to == 0 || sent <= a.to+a.fault.excuse()) {
				excused = true
				r.result.Excused++
				r.result.LongestLoss = max(r.result.LongestLoss, sent-a.from)
				if a.raised != nil && !slices.Contains(a.raised, q.address) {
					r.result.Elsewhere++
				}
				break
			}
		}
	}
	r.mu.Unlock()
	if failed && !excused {
		r.violate(2, "%s (sent at %s)", text, clock(sent))
	}
}

// emptied says whether a traffic manager has a pool of a Service that has no nodes.
func (r *run) emptied(service string) bool {
	worlds := r.since(r.now())
	namespace, name, _ := strings.Cut(service, "/")
	managers := r.system.box.TrafficManagers
	for _, member := range managers.Names() {
		tm := managers.Member(member)
		if tm == nil {
			continue
		}
		for _, i := range worlds[len(worlds)-1].ingresses {
			if i.Namespace != namespace || !slices.Contains(backendsOf(&i), name) {
				continue
			}
			pool, is := tm.DataPlane().PoolStatistics(strings.Join([]string{"k8s", namespace, i.Name, name, "80"}, "_"))
			if is && len(pool.Nodes) == 0 {
				return true
			}
		}
	}
	return false
}

// How a writer ended.
const (
	killed  = "killed"
	stopped = "stopped"
)

// writerEnds notes that the writer ends at this moment, if nothing else hinders its
// successor.
func (r *run) writerEnds(c *instance, how string) {
	lease := r.system.currentLease()
	others := false
	for _, other := range r.system.controllers {
		others = others || other != c && other.done != nil && other.status.Ready()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.endedHow == "" && lease != nil && others && len(r.underWay) == 1 {
		r.endedAt, r.ended, r.endedHow = r.now(), *lease.Spec.HolderIdentity, how
		select {
		case r.writerEnded <- struct{}{}:
		default: // it is on its way
		}
	}
}

// watchTakeOvers sees when another instance has the Lease of one that ended. Of those
// during which something else began to fail nothing is noted.
func (r *run) watchTakeOvers(ctx context.Context) {
	for {
		r.mu.Lock()
		waiting := r.endedHow != ""
		r.mu.Unlock()
		if !waiting {
			select {
			case <-ctx.Done():
				return
			case <-r.writerEnded:
			}
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(20*time.Millisecond + 3*time.Nanosecond):
		}
		lease := r.system.currentLease()
		r.mu.Lock()
		holder := ""
		if lease != nil && lease.Spec.HolderIdentity != nil {
			holder = *lease.Spec.HolderIdentity
		}
		switch took := r.now() - r.endedAt; {
		case len(r.underWay) > 1:
			r.endedHow = ""
		case holder != "" && holder != r.ended && r.endedHow == killed:
			r.result.TakeOvers, r.endedHow = append(r.result.TakeOvers, took), ""
		case holder != "" && holder != r.ended:
			r.result.HandOvers, r.endedHow = append(r.result.HandOvers, took), ""
		}
		r.mu.Unlock()
	}
}
