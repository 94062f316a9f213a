package dataplane

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/sim/network"
)

// simulate runs a data plane with nodes, monitors and clients on an in-memory
// network, one node going away and coming back, and returns what happened.
func simulate(t *testing.T, seed uint64) string {
	var trace []string
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: seed})
		world := net.World()
		var mu sync.Mutex
		begin := time.Now()
		note := func(format string, args ...any) {
			mu.Lock()
			defer mu.Unlock()
			trace = append(trace, fmt.Sprintf("%014d ", time.Since(begin))+fmt.Sprintf(format, args...))
		}
		d := New(Options{
			World: world, Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "10.9.0.1", PerClientTransports: true,
			Events: func(e Event) { note("event %s %s %s %v %s", e.Level, e.Section, e.Tag, e.More, e.Text) },
		})
		node := func(address string) *http.Server {
			l, err := world.Listen("node/"+address, "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				fmt.Fprintf(w, "%s %d", address, len(body))
			})}
			go func() { _ = s.Serve(l) }()
			return s
		}
		a, b := node("10.8.0.1:30080"), node("10.8.0.2:30080")
		d.Apply(Update{
			Monitors:        map[string]*Monitor{"Connect": {Type: "connect", Delay: 2 * time.Second, Timeout: 5 * time.Second, Failures: 3, BackOff: true}},
			TrafficIPGroups: map[string]*TrafficIPGroup{"tip": {Enabled: true, IPAddresses: []string{"10.7.0.1"}, Machines: []string{"vtm-1"}}},
			Rules:           map[string]*Rule{"route": {Source: `if (string.startsWith(http.getPath(), "/none")) { pool.use("none"); } pool.use("app");`}},
			Pools: map[string]*Pool{
				"none": aPool(),
				"app": with(aPool("10.8.0.1:30080", "10.8.0.2:30080"), func(p *Pool) {
					p.Monitors, p.NodeRetryFailTime = []string{"Connect"}, 10*time.Second
				}),
			},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "discard", func(v *VirtualServer) {
				v.ListenOnAny, v.ListenOnTrafficIPs, v.RequestRules = false, []string{"tip"}, []string{"route"}
			})},
		})
		ctx, cancel := context.WithCancel(t.Context())
		var clients sync.WaitGroup
		for i := range 3 {
			clients.Go(func() {
				name := fmt.Sprintf("client/%d", i)
				c := world.HTTPClient(name, nil)
				defer c.CloseIdleConnections()
				for n := uint64(0); ctx.Err() == nil; n++ {
					method, path := http.MethodGet, "/"
					if n%3 == 1 {
						method = http.MethodPut
					} else if n%3 == 2 {
						path = "/none"
					}
					req, _ := http.NewRequestWithContext(ctx, method, "http://10.7.0.1:80"+path, strings.NewReader(strings.Repeat("b", int(n%5)*100)))
					res, err := c.Do(req)
					if err != nil {
						note("%s %d: %v", name, n, ctx.Err() != nil)
						continue
					}
					body, _ := io.ReadAll(res.Body)
					res.Body.Close()
					if res.StatusCode != 200 {
						body = nil
					}
					note("%s %d: %d %s", name, n, res.StatusCode, body)
					time.Sleep(world.Jitter(name, n, time.Second) + 200*time.Millisecond)
				}
			})
		}
		time.Sleep(20 * time.Second)
		b.Close()
		time.Sleep(30 * time.Second)
		b = node("10.8.0.2:30080")
		time.Sleep(30 * time.Second)
		cancel()
		clients.Wait()
		d.Close()
		a.Close()
		b.Close()
		net.Close()
		// A goroutine left behind fails the bubble.
	})
	// Within one instant the order is the scheduler's.
	slices.Sort(trace)
	return strings.Join(trace, "\n")
}

func TestASimulationRepeatsAndLosesNothing(t *testing.T) {
	first := simulate(t, 1)
	for _, want := range []string{"nodefail", "nodeworking", "vsstart", "503", "10.8.0.1:30080", "10.8.0.2:30080"} {
		if !strings.Contains(first, want) {
			t.Errorf("the trace has no %q", want)
		}
	}
	for _, line := range strings.Split(first, "\n") {
		// The path /none is asked for in every third request.
		if strings.Contains(line, ": 503") != (strings.Contains(line, "client/") && thirdRequest(line)) && !strings.Contains(line, "true") && strings.Contains(line, "client/") {
			t.Errorf("unexpected: %s", line)
		}
	}
	for range 4 {
		if again := simulate(t, 1); again != first {
			t.Fatalf("another trace:\n%s", difference(first, again))
		}
	}
	if simulate(t, 2) == first {
		t.Error("another seed gives the same trace")
	}
}

func thirdRequest(line string) bool {
	var at int64
	var name string
	var n int
	_, _ = fmt.Sscanf(line, "%d %s %d:", &at, &name, &n)
	return n%3 == 2
}

// difference returns the first lines that differ.
func difference(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(as), len(bs)) {
		if as[i] != bs[i] {
			return fmt.Sprintf("%d: %s\n%d: %s", i, as[i], i, bs[i])
		}
	}
	return fmt.Sprintf("%d lines and %d lines", len(as), len(bs))
}
