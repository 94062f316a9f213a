package dataplane

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/network"
)

// bubble runs a data plane on an in-memory network under fake time.
type bubble struct {
	*DataPlane
	t     *testing.T
	world outside.World

	mu     sync.Mutex
	events []Event
}

// inBubble calls f with a data plane at 10.9.0.1 that has no configuration.
func inBubble(t *testing.T, f func(*bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		net := network.New(network.Options{Seed: 1})
		b := &bubble{t: t, world: net.World()}
		b.DataPlane = New(Options{
			World: b.world, Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "10.9.0.1", PerClientTransports: true,
			Events: func(e Event) {
				b.mu.Lock()
				defer b.mu.Unlock()
				b.events = append(b.events, e)
			},
		})
		f(b)
		b.Close()
		net.Close()
	})
}

// count is how many events have this tag.
func (b *bubble) count(tag string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, e := range b.events {
		if e.Tag == tag {
			n++
		}
	}
	return n
}

// serve makes a node in the bubble; stop ends it.
func (b *bubble) serve(address string, h http.HandlerFunc) (stop func()) {
	b.t.Helper()
	l, err := b.world.Listen("node/"+address, "tcp", address)
	if err != nil {
		b.t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	var done sync.WaitGroup
	done.Go(func() { _ = s.Serve(l) })
	return func() {
		s.Close()
		done.Wait()
	}
}

// get asks the virtual server at 10.9.0.1:80 once.
func (b *bubble) get(c *http.Client, path string) (int, string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://10.9.0.1:80"+path, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return res.StatusCode, err.Error()
	}
	return res.StatusCode, string(body)
}

func TestEveryAlgorithmSharesRequestsItsWay(t *testing.T) {
	const a, b, c = "10.8.0.1:80", "10.8.0.2:80", "10.8.0.3:80"
	took := map[string]time.Duration{a: 10 * time.Millisecond, b: 10 * time.Millisecond, c: 80 * time.Millisecond}
	const clients, each = 6, 200
	algorithms := map[string]func(share map[string]float64) bool{
		"round_robin": func(s map[string]float64) bool {
			return between(s[a], .32, .35) && between(s[b], .32, .35) && between(s[c], .32, .35)
		},
		"weighted_round_robin": func(s map[string]float64) bool {
			return between(s[a], .16, .18) && between(s[b], .32, .35) && between(s[c], .49, .51)
		},
		"random": func(s map[string]float64) bool {
			return between(s[a], .28, .39) && between(s[b], .28, .39) && between(s[c], .28, .39)
		},
		// The slow one always has connections.
		"least_connections": func(s map[string]float64) bool {
			return between(s[a]/s[b], .9, 1.1) && s[c] < s[a]/2
		},
		// In the ratio of their weights they have the same number of connections,
		// and the slow one is done more seldom.
		"weighted_least_connections": func(s map[string]float64) bool { return s[b] > s[a]*1.5 && s[c] < s[b] },
		"fastest_response_time":      func(s map[string]float64) bool { return s[c] < .05 && s[c] > 0 && s[a]+s[b] > .95 },
		"perceptive":                 func(s map[string]float64) bool { return s[c] < .1 && s[c] > 0 && between(s[a]/s[b], .8, 1.25) },
	}
	wantAll(t, algorithms, "pools", "load_balancing", "algorithm")
	for algorithm, want := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			inBubble(t, func(d *bubble) {
				counts := make(map[string]*atomic.Int64)
				for address, wait := range took {
					n := new(atomic.Int64)
					counts[address] = n
					defer d.serve(address, func(w http.ResponseWriter, r *http.Request) {
						n.Add(1)
						time.Sleep(wait)
					})()
				}
				d.Apply(Update{
					Pools: map[string]*Pool{"app": with(aPool(a, b, c), func(p *Pool) {
						p.Algorithm = algorithm
						for i := range p.Nodes {
							p.Nodes[i].Weight = i + 1
						}
					})},
					VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app")},
				})
				var all sync.WaitGroup
				for i := range clients {
					all.Go(func() {
						client := d.world.HTTPClient(fmt.Sprintf("client/%d", i), nil)
						defer client.CloseIdleConnections()
						for range each {
							if status, body := d.get(client, "/"); status != 200 {
								t.Errorf("got %d %s", status, body)
								return
							}
						}
					})
				}
				all.Wait()
				share := make(map[string]float64)
				for address, n := range counts {
					share[address] = float64(n.Load()) / (clients * each)
				}
				if !want(share) {
					t.Errorf("shares: %v", share)
				}
			})
		})
	}
}

// The same algorithms on real sockets: one node holds a request while 40 others come.
// How fast nodes are is not up to the test here.
func TestEveryAlgorithmServesRealConnections(t *testing.T) {
	// holder and other are how many of the 40 the two nodes got.
	algorithms := map[string]func(holder, other int) bool{
		"round_robin":                func(holder, other int) bool { return holder == 20 && other == 20 },
		"weighted_round_robin":       func(holder, other int) bool { return min(holder, other) == 10 && max(holder, other) == 30 },
		"random":                     func(holder, other int) bool { return holder > 0 && other > 0 },
		"least_connections":          func(holder, other int) bool { return holder == 0 && other == 40 },
		"weighted_least_connections": func(holder, other int) bool { return holder+other == 40 },
		"fastest_response_time":      func(holder, other int) bool { return holder+other == 40 },
		"perceptive":                 func(holder, other int) bool { return other > 0 },
	}
	wantAll(t, algorithms, "pools", "load_balancing", "algorithm")
	for algorithm, want := range algorithms {
		t.Run(algorithm, func(t *testing.T) {
			held, release := make(chan string, 1), make(chan struct{})
			node := func(name string) string {
				return addr(backend(t, name, func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/hold" {
						held <- name
						<-release
					}
					fmt.Fprint(w, name)
				}))
			}
			p := newPlane(t)
			port := freePort(t)
			p.Apply(Update{
				Pools: map[string]*Pool{"app": with(aPool(node("one"), node("three")), func(p *Pool) {
					p.Algorithm, p.Nodes[1].Weight = algorithm, 3
				})},
				VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
			})
			var holding sync.WaitGroup
			holding.Go(func() { p.want(testClient(t), at(port, "/hold"), 200, "") })
			holder := <-held
			client, of := testClient(t), make(map[string]int)
			for range 40 {
				_, name := get(client, at(port, "/"))
				of[name]++
			}
			close(release)
			holding.Wait()
			if got, other := of[holder], of["one"]+of["three"]-of[holder]; got+other != 40 || !want(got, other) {
				t.Errorf("%s held a request: %v", holder, of)
			}
		})
	}
}

func between(x, low, high float64) bool { return x >= low && x <= high }

// alone makes a pool with such nodes outside of any data plane's configuration.
func alone(t interface{ Cleanup(func()) }, conf *Pool) *pool {
	d := New(Options{World: outside.Real(), Log: slog.New(slog.DiscardHandler), Name: "vtm", AddressMap: NewAddressMap(MapLoopback)})
	t.Cleanup(d.Close)
	d.Apply(Update{Pools: map[string]*Pool{"app": conf}})
	return d.pool("app")
}

func always(*node) bool { return true }
func never(*node) bool  { return false }

func TestWeightsAreKeptExactlyInEveryRound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.IntRange(1, 100), 1, 8).Draw(t, "weights")
		conf := aPool()
		total := 0
		for i, w := range weights {
			conf.Nodes = append(conf.Nodes, Node{Address: fmt.Sprintf("10.8.0.%d:80", i+1), State: "active", Weight: w, Priority: 1})
			total += w
		}
		conf.Algorithm = "weighted_round_robin"
		p := alone(t, conf)
		for round := range 3 {
			got := make(map[string]int)
			for range total {
				got[p.choose(never, always, nil).address]++
			}
			for i, w := range weights {
				if n := got[conf.Nodes[i].Address]; n != w {
					t.Fatalf("round %d: node %d of weight %d got %d of %d", round, i, w, n, total)
				}
			}
		}
	})
}

func TestPriorityListsUseAsFewPrioritiesAsSuffice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		priorities := rapid.SliceOfN(rapid.IntRange(0, 4), 1, 8).Draw(t, "priorities")
		enough := rapid.IntRange(1, 9).Draw(t, "priority_nodes")
		var nodes []*node
		for i, p := range priorities {
			nodes = append(nodes, &node{address: itoa(i), priority: p})
		}
		list := tiers(&Pool{PriorityEnabled: true, PriorityNodes: enough}, nodes)
		seen := 0
		for i, tier := range list {
			lowest := slices.MinFunc(tier, func(a, b *node) int { return a.priority - b.priority }).priority
			higher := 0 // nodes of the tier above its lowest priority
			for _, n := range tier {
				if n.priority > lowest {
					higher++
				}
			}
			for _, later := range list[i+1:] {
				for _, n := range later {
					if n.priority >= lowest {
						t.Fatalf("tier %d ends at priority %d, and a later one has %d", i, lowest, n.priority)
					}
				}
			}
			if i == 0 && (len(tier) < min(enough, len(nodes)) || higher >= enough) {
				t.Fatalf("the first tier has %d nodes, %d of them above its lowest priority; %d are wanted", len(tier), higher, enough)
			}
			if i > 0 && higher > 0 {
				t.Fatalf("tier %d has more than one priority", i)
			}
			seen += len(tier)
		}
		if seen != len(nodes) {
			t.Fatalf("%d of %d nodes are in tiers", seen, len(nodes))
		}
	})
}

func TestNodesOfLowerPriorityServeWhenThoseAboveFail(t *testing.T) {
	p := newPlane(t)
	high, low := newToggled(t, "high"), backend(t, "low")
	high.up()
	port := freePort(t)
	pool := with(aPool(high.address, addr(low)), func(p *Pool) {
		p.PriorityEnabled, p.PriorityNodes, p.NodeConnectionAttempts = true, 1, 1
		p.NodeRetryFailTime = 50 * time.Millisecond
		p.Nodes[0].Priority, p.Nodes[1].Priority = 10, 2
	})
	p.Apply(Update{Pools: map[string]*Pool{"app": pool}, VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")}})
	client := testClient(t)
	for range 4 {
		p.want(client, at(port, "/"), 200, "high")
	}
	high.down()
	for range 4 {
		p.want(client, at(port, "/"), 200, "low")
	}
	high.up()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if _, body := get(client, at(port, "/")); body == "high" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the node never came back")
		}
	}
	for range 4 {
		p.want(client, at(port, "/"), 200, "high")
	}
	// With two wanted, both serve.
	p.Apply(Update{Pools: map[string]*Pool{"app": with(pool, func(p *Pool) { p.PriorityNodes = 2 })}})
	seen := make(map[string]bool)
	for range 4 {
		_, body := get(client, at(port, "/"))
		seen[body] = true
	}
	if len(seen) != 2 {
		t.Errorf("with two active nodes wanted only %v serve", seen)
	}
}

func TestANodeThatComesBackIsNotFlooded(t *testing.T) {
	inBubble(t, func(d *bubble) {
		const a, b = "10.8.0.1:80", "10.8.0.2:80"
		var got atomic.Int64
		slow := func(count *atomic.Int64) http.HandlerFunc {
			return func(w http.ResponseWriter, r *http.Request) {
				if count != nil {
					count.Add(1)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		defer d.serve(a, slow(nil))()
		d.Apply(Update{
			Monitors: map[string]*Monitor{"Connect": {Type: "connect", Delay: time.Second, Timeout: time.Second, Failures: 1}},
			Pools: map[string]*Pool{"app": with(aPool(a, b), func(p *Pool) {
				p.Algorithm, p.Monitors = "least_connections", []string{"Connect"}
			})},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app")},
		})
		ctx, cancel := context.WithCancel(context.Background())
		var load sync.WaitGroup
		for i := range 10 {
			load.Go(func() {
				client := d.world.HTTPClient(fmt.Sprintf("client/%d", i), nil)
				defer client.CloseIdleConnections()
				for ctx.Err() == nil {
					if status, body := d.get(client, "/"); status != 200 {
						t.Errorf("got %d %s", status, body)
						return
					}
				}
			})
		}
		time.Sleep(5 * time.Second)
		defer d.serve(b, slow(&got))()
		for d.count("nodeworking") == 0 {
			time.Sleep(10 * time.Millisecond)
		}
		shares := make([]int64, 3)
		for i := range shares {
			before := got.Load()
			time.Sleep(slowStart / 2)
			shares[i] = got.Load() - before
		}
		cancel()
		load.Wait()
		// 100 requests a second; in the end half of them are its own.
		if shares[0] > 130 || shares[1] <= shares[0] || shares[2] < 240 {
			t.Errorf("by half of the slow start it got %v of 500", shares)
		}
	})
}
