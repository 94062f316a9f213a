package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// vtmGroup measures the emulated traffic manager as its users run it: the program
// vtm-sim with three members, over HTTPS.
func vtmGroup(ctx context.Context, report func(figure)) error {
	dir, err := os.MkdirTemp("", "vtm-ingress-figures-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for _, part := range []func(context.Context, string, func(figure)) error{restFigures, persistedFigures} {
		if err := part(ctx, dir, report); err != nil {
			return err
		}
	}
	return nil
}

const (
	fleetSize = 3
	// fleetAddress of the first member: a block beside that of a sandbox.
	fleetAddress = "127.1.212.1"
	// fleetClients write at one time.
	fleetClients = 8
)

// fleet is a running vtm-sim.
type fleet struct {
	*program
	members []string // "host:port" of each REST API
	control string   // URL of the first member's control API
	clients []*restClient
}

// startFleet returns when all members answer on REST.
func startFleet(ctx context.Context, args ...string) (*fleet, error) {
	return startFleetAt(ctx, fleetAddress, append([]string{"--address-map=loopback"}, args...)...)
}

func startFleetAt(ctx context.Context, address string, args ...string) (*fleet, error) {
	args = append([]string{fmt.Sprintf("--cluster=%d", fleetSize), "--address=" + address}, args...)
	p, err := startProgram(ctx, "vtm-sim", args...)
	if err != nil {
		return nil, err
	}
	f := &fleet{program: p, control: "http://" + address + ":9071"}
	for a := netip.MustParseAddr(address); len(f.members) < fleetSize; a = a.Next() {
		f.members = append(f.members, netip.AddrPortFrom(a, 9070).String())
	}
	for range fleetClients {
		f.clients = append(f.clients, newRESTClient())
	}
	err = p.says("vtm-sim:")
	for _, m := range f.members {
		if err == nil {
			err = f.clients[0].get(ctx, m, "pools/Ping", http.StatusNotFound)
		}
	}
	if err != nil {
		f.stop()
		return nil, err
	}
	return f, nil
}

func (f *fleet) stop() error {
	for _, c := range f.clients {
		c.http.CloseIdleConnections()
	}
	return f.program.stop()
}

// restClient keeps its connections, one to each member.
type restClient struct{ http *http.Client }

func newRESTClient() *restClient {
	return &restClient{&http.Client{
		Timeout: 30 * time.Second,
		// The program's certificate is made anew at each start.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}},
	}}
}

// do sends one request and reads the whole answer.
func (c *restClient) do(ctx context.Context, method, member, path, body string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, method, "https://"+member+"/api/tm/8.3/config/active/"+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.SetBasicAuth("admin", "vtm-sim")
	answer, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, text, err
}

func (c *restClient) get(ctx context.Context, member, path string, want int) error {
	status, text, err := c.do(ctx, http.MethodGet, member, path, "")
	if err == nil && status != want {
		err = fmt.Errorf("GET %s at %s: %d %s", path, member, status, text)
	}
	return err
}

func (c *restClient) put(ctx context.Context, member, path, body string) error {
	status, text, err := c.do(ctx, http.MethodPut, member, path, body)
	if err == nil && status/100 != 2 {
		err = fmt.Errorf("PUT %s at %s: %d %s", path, member, status, text)
	}
	return err
}

// putAll writes n resources with all clients, each to one member, and tells how
// many were written a second.
func (f *fleet) putAll(ctx context.Context, n int, resource func(int) (path, body string)) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begin := time.Now()
	var writing sync.WaitGroup
	for i, c := range f.clients {
		writing.Go(func() {
			for k := i; k < n && ctx.Err() == nil; k += fleetClients {
				path, body := resource(k)
				if err := c.put(ctx, f.members[i%fleetSize], path, body); err != nil {
					cancel(err)
				}
			}
		})
	}
	writing.Wait()
	return float64(n) / time.Since(begin).Seconds(), context.Cause(ctx)
}

// timed measures one client's requests, one after the other.
func timed(samples int, request func(i int) error) (p50, p99 time.Duration, err error) {
	times := make([]time.Duration, samples)
	for i := range times {
		begin := time.Now()
		if err := request(i); err != nil {
			return 0, 0, err
		}
		times[i] = time.Since(begin)
	}
	slices.Sort(times)
	return times[samples/2], times[samples*99/100], nil
}

// restFigures measures requests to a cluster that keeps its configuration in
// memory.
func restFigures(ctx context.Context, _ string, report func(figure)) error {
	f, err := startFleet(ctx)
	if err != nil {
		return err
	}
	defer f.stop()
	if _, err := f.putAll(ctx, loaded, loadedResource); err != nil {
		return err
	}
	c, first := f.clients[0], f.members[0]
	p50, p99, err := timed(2000, func(i int) error { return c.put(ctx, first, poolPath(7), poolBody(7, i)) })
	if err != nil {
		return err
	}
	report(atMost("put_pool_replicated_p50", milliseconds(p50), "ms", 2))
	report(atMost("put_pool_replicated_p99", milliseconds(p99), "ms", 10))
	missing, err := f.replicated(ctx, 100)
	if err != nil {
		return err
	}
	report(atMost("puts_answered_and_not_replicated", float64(missing), "of 100", 0))
	if p50, _, err = timed(2000, func(int) error { return c.get(ctx, first, poolPath(7), http.StatusOK) }); err != nil {
		return err
	}
	report(atMost("get_pool_p50", milliseconds(p50), "ms", 0.5))
	if p50, _, err = timed(50, func(int) error { return c.get(ctx, first, "pools", http.StatusOK) }); err != nil {
		return err
	}
	report(atMost("list_5000_pools_p50", milliseconds(p50), "ms", 20))
	var change atomic.Int64
	rate, err := f.putAll(ctx, 2*loadedPools, func(i int) (string, string) {
		i %= loadedPools // each pool twice, and each time it is another
		return poolPath(i), poolBody(i, 1+int(change.Add(1)))
	})
	if err != nil {
		return err
	}
	report(atLeast("puts_from_8_clients", round(rate, 0), "/s", 1000))
	rss, err := f.rssMegabytes()
	if err != nil {
		return err
	}
	report(atMost("rss_of_3_members_after_writes", round(rss, 1), "MB", 400))
	return nil
}

// replicated counts how many of n changes are not on each member at once when they
// are answered.
func (f *fleet) replicated(ctx context.Context, n int) (missing int, err error) {
	c := f.clients[0]
	for i := range n {
		mark := fmt.Sprintf("mark %d of %d", i, n)
		if err := c.put(ctx, f.members[i%fleetSize], poolPath(8), fmt.Sprintf(`{"properties":{"basic":{"note":%q}}}`, mark)); err != nil {
			return 0, err
		}
		for _, m := range f.members {
			_, text, err := c.do(ctx, http.MethodGet, m, poolPath(8), "")
			if err != nil {
				return 0, err
			}
			if !strings.Contains(string(text), mark) {
				missing++
				break
			}
		}
	}
	return missing, nil
}

// persistedFigures measures a cluster that keeps its configuration in files: its
// start, and the failover of an address while all that is loaded.
func persistedFigures(ctx context.Context, dir string, report func(figure)) error {
	data := "--data=" + filepath.Join(dir, "data")
	f, err := startFleet(ctx, data)
	if err != nil {
		return err
	}
	defer func() { f.stop() }()
	rate, err := f.putAll(ctx, loaded, loadedResource)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "loaded %d resources into files: %.0f PUT/s\n", loaded, rate)
	if err := f.stop(); err != nil {
		return fmt.Errorf("vtm-sim: %w", err)
	}
	begin := time.Now()
	if f, err = startFleet(ctx, data); err != nil {
		return err
	}
	report(atMost("start_with_20000_stored", round(time.Since(begin).Seconds(), 2), "s", 3))
	for _, m := range f.members {
		if err := f.clients[0].get(ctx, m, poolPath(loadedPools-1), http.StatusOK); err != nil {
			return err
		}
	}
	rss, err := f.rssMegabytes()
	if err != nil {
		return err
	}
	report(atMost("rss_of_3_members_after_start", round(rss, 1), "MB", 400))
	return f.failover(ctx, report)
}

// monitorTimeout is fault_tolerance!monitor_timeout, as a new traffic manager has
// it.
const monitorTimeout = 5 * time.Second

// failover kills the member that hosts an address under steady traffic, and
// measures until the address answers again.
func (f *fleet) failover(ctx context.Context, report func(figure)) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }))
	defer backend.Close()
	const address = "10.30.0.1"
	c := f.clients[0]
	for _, r := range [][2]string{
		{"pools/failover", fmt.Sprintf(`{"properties":{"basic":{"nodes_table":[{"node":%q}]}}}`, backend.Listener.Addr())},
		{"traffic_ip_groups/failover", fmt.Sprintf(`{"properties":{"basic":{"ipaddresses":[%q],"machines":["vtm-1","vtm-2","vtm-3"]}}}`, address)},
		{"virtual_servers/failover", `{"properties":{"basic":{"enabled":true,"port":8080,"pool":"failover","listen_on_any":false,"listen_on_traffic_ips":["failover"]}}}`},
	} {
		if err := c.put(ctx, f.members[1], r[0], r[1]); err != nil {
			return err
		}
	}
	mapped, host, err := f.hosts(ctx, address)
	if err != nil {
		return err
	}
	if err := untilAnswered(ctx, mapped); err != nil {
		return err
	}
	begin := time.Now()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, f.control+"/faults", strings.NewReader("stop member="+host))
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the fault was refused: %s", answer.Status)
	}
	if err := untilAnswered(ctx, mapped); err != nil {
		return err
	}
	took := time.Since(begin)
	if _, now, err := f.hosts(ctx, address); err != nil || now == host {
		return fmt.Errorf("%s hosts %s although it was killed (%v)", now, address, err)
	}
	report(atMost("failover", round(took.Seconds(), 2), "s", (monitorTimeout + time.Second).Seconds()))
	return nil
}

// hosts says where an address is on this machine, and which member has raised it.
func (f *fleet) hosts(ctx context.Context, address string) (mapped, member string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.control+"/", nil)
	if err != nil {
		return "", "", err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return "", "", err
	}
	defer answer.Body.Close()
	var view struct {
		Members []struct {
			Name   string   `json:"name"`
			Raised []string `json:"raised"`
		} `json:"members"`
		AddressMap []struct {
			From string `json:"from"`
			To   string `json:"to"`
		} `json:"address_map"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&view); err != nil {
		return "", "", err
	}
	for _, m := range view.Members {
		if slices.Contains(m.Raised, address) {
			member = m.Name
		}
	}
	for _, e := range view.AddressMap {
		if e.From == address {
			mapped = e.To
		}
	}
	if mapped == "" || member == "" {
		return "", "", fmt.Errorf("nobody hosts %s", address)
	}
	return net.JoinHostPort(mapped, "8080"), member, nil
}

// untilAnswered asks with a new connection each time until a pod's node answers.
func untilAnswered(ctx context.Context, at string) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		answer, err := client.Get("http://" + at + "/")
		if err == nil {
			text, _ := io.ReadAll(answer.Body)
			answer.Body.Close()
			if string(text) == "here" {
				return nil
			}
			err = errors.New(answer.Status)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not answer: %w", at, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
