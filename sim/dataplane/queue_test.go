package dataplane

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// queued is a pool of one node that serves one request a second, as often as the
// node may have connections, and clients that come 10 ms apart.
type queued struct {
	*bubble
	begin time.Time
	mu    sync.Mutex
	done  []string // "client status at"
	all   sync.WaitGroup
}

func (q *queued) come(name string) {
	q.all.Go(func() {
		client := q.world.HTTPClient("client/"+name, nil)
		defer client.CloseIdleConnections()
		status, _ := q.get(client, "/")
		q.mu.Lock()
		defer q.mu.Unlock()
		q.done = append(q.done, fmt.Sprintf("%s %d %.1f", name, status, time.Since(q.begin).Seconds()))
	})
	time.Sleep(10 * time.Millisecond)
}

func inQueue(t *testing.T, conf func(*Pool), f func(*queued)) string {
	var result string
	inBubble(t, func(d *bubble) {
		q := &queued{bubble: d, begin: time.Now()}
		defer d.serve("10.8.0.1:80", func(w http.ResponseWriter, r *http.Request) { time.Sleep(time.Second) })()
		d.Apply(Update{
			Pools:          map[string]*Pool{"app": with(aPool("10.8.0.1:80"), conf)},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app")},
		})
		f(q)
		q.all.Wait()
		slices.Sort(q.done)
		result = strings.Join(q.done, ", ")
		if waiting := d.pool("app").queue.waiting; len(waiting) > 0 {
			t.Errorf("%d still wait", len(waiting))
		}
		if s, _ := d.PoolStatistics("app"); s.Nodes[0].Counts["current_requests"] != 0 {
			t.Errorf("the node still has requests: %v", s.Nodes[0].Counts)
		}
	})
	return result
}

func TestRequestsBeyondTheLimitWaitTheirTurn(t *testing.T) {
	limit := func(p *Pool) { p.MaxConnectionsPerNode, p.QueueTimeout = 1, 10*time.Second }
	for _, c := range []struct {
		what string
		conf func(*Pool)
		do   func(*queued)
		want string
	}{
		{"in order", limit, func(q *queued) { q.come("a"); q.come("b"); q.come("c") }, "a 200 1.0, b 200 2.0, c 200 3.0"},
		{"by transactions", func(p *Pool) { p.MaxTransactionsPerNode = 1 }, func(q *queued) { q.come("a"); q.come("b") }, "a 200 1.0, b 200 2.0"},
		{"until queue_timeout", func(p *Pool) { limit(p); p.QueueTimeout = 1500 * time.Millisecond },
			func(q *queued) { q.come("a"); q.come("b"); q.come("c") }, "a 200 1.0, b 200 2.0, c 503 1.5"},
		{"unless the queue is full", func(p *Pool) { limit(p); p.MaxQueueSize = 1 },
			func(q *queued) { q.come("a"); q.come("b"); q.come("c") }, "a 200 1.0, b 200 2.0, c 503 0.0"},
		{"until the limit is raised", limit, func(q *queued) {
			q.come("a")
			q.come("b")
			q.come("c")
			q.Apply(Update{Pools: map[string]*Pool{"app": with(aPool("10.8.0.1:80"), func(p *Pool) { p.MaxConnectionsPerNode = 2 })}})
		}, "a 200 1.0, b 200 1.0, c 200 2.0"},
		{"until the limit is gone", limit, func(q *queued) {
			q.come("a")
			q.come("b")
			q.come("c")
			q.Apply(Update{Pools: map[string]*Pool{"app": aPool("10.8.0.1:80")}})
		}, "a 200 1.0, b 200 1.0, c 200 1.0"},
		{"until no node is left", limit, func(q *queued) {
			q.come("a")
			q.come("b")
			q.Apply(Update{Pools: map[string]*Pool{"app": with(aPool("10.8.0.1:80"), func(p *Pool) { limit(p); p.Nodes[0].State = "disabled" })}})
		}, "a 200 1.0, b 503 0.0"},
		{"for a node that is new", limit, func(q *queued) {
			q.come("a")
			q.come("b")
			stop := q.serve("10.8.0.2:80", func(w http.ResponseWriter, r *http.Request) {})
			q.Apply(Update{Pools: map[string]*Pool{"app": with(aPool("10.8.0.1:80", "10.8.0.2:80"), limit)}})
			q.all.Wait()
			stop()
		}, "a 200 1.0, b 200 0.0"},
	} {
		t.Run(c.what, func(t *testing.T) {
			if got := inQueue(t, c.conf, c.do); got != c.want {
				t.Errorf("got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestAClientThatGoesLeavesTheQueue(t *testing.T) {
	got := inQueue(t, func(p *Pool) { p.MaxConnectionsPerNode, p.QueueTimeout = 1, 10*time.Second }, func(q *queued) {
		q.come("a")
		client := q.world.HTTPClient("client/gone", nil)
		client.Timeout = 100 * time.Millisecond
		if status, _ := q.get(client, "/"); status != 0 {
			t.Errorf("got %d", status)
		}
		client.CloseIdleConnections()
		q.come("c")
	})
	if want := "a 200 1.0, c 200 2.0"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
