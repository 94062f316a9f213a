package network

import (
	"bytes"
	"context"
	"crypto/tls"
	"hash/fnv"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

func (w world) HTTPClient(actor string, tlsConfig *tls.Config) *http.Client {
	if tlsConfig = tlsConfig.Clone(); tlsConfig == nil {
		tlsConfig = &tls.Config{}
	}
	if tlsConfig.CurvePreferences == nil {
		// The cheapest: nobody records what goes through memory.
		tlsConfig.CurvePreferences = []tls.CurveID{tls.CurveP256}
	}
	return &http.Client{Transport: &splitTransport{
		network: w.n, actor: actor, tls: tlsConfig, parts: map[string]*http.Transport{},
	}}
}

// splitTransport gives each method and path, and each body of a POST, a
// transport and thereby connections of its own: requests that one client sends at
// one instant would otherwise race for idle connections, and with them for the
// latencies that belong to those.
type splitTransport struct {
	network *Network
	actor   string
	tls     *tls.Config

	mu    sync.Mutex
	parts map[string]*http.Transport
}

func (t *splitTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	key := r.Method + " " + r.URL.Path
	// Names of Events hold the time; a transport for each would pile up. What is signed
	// is never the same.
	if r.Method == http.MethodPost && r.Body != nil && !strings.HasSuffix(r.URL.Path, "/events") && r.Header.Get("Content-Type") != "application/jose+json" {
		body, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil {
			return nil, err
		}
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		h := fnv.New32a()
		h.Write(body)
		key += "/" + strconv.FormatUint(uint64(h.Sum32()%64), 10)
	}
	response, err := t.part(key).RoundTrip(r)
	if trace := t.network.options.Trace; trace != nil {
		trace.request(t.actor, r, response, err)
	}
	return response, err
}

func (t *splitTransport) part(key string) *http.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	part := t.parts[key]
	if part == nil {
		actor := t.actor + "|" + key
		part = &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return t.network.dial(ctx, actor, network, address)
			},
			TLSClientConfig:     t.tls,
			MaxIdleConnsPerHost: 8,
			// Not a round number: no other deadline should fall on the same instant.
			IdleConnTimeout:    90*time.Second + 7*time.Millisecond,
			DisableCompression: true,
		}
		t.parts[key] = part
	}
	return part
}

// CloseIdleConnections makes http.Client's method of that name reach all parts.
func (t *splitTransport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, part := range t.parts {
		part.CloseIdleConnections()
	}
}
