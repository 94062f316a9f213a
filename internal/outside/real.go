package outside

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"k8s.io/utils/clock"
)

// Real is the World of production: the machine's own clock and network, and the
// operating system's randomness.
func Real() World { return realWorld{} }

type realWorld struct{}

func (realWorld) Clock() Clock { return clock.RealClock{} }

func (realWorld) HTTPClient(_ string, tlsConfig *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{
		// No proxy from the environment: traffic managers, nodes and API server are
		// reached directly, and a proxy set for something else must not see passwords.
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   10 * time.Second,
		ForceAttemptHTTP2:     true,
		MaxIdleConnsPerHost:   64,
		IdleConnTimeout:       90 * time.Second,
		ExpectContinueTimeout: time.Second,
		// The same parties are near: packing and unpacking takes longer than sending.
		DisableCompression: true,
		// A watch of Kubernetes may be silent for minutes: without this, so may a
		// connection that is dead.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
	}}
}

func (realWorld) Dial(ctx context.Context, _, network, address string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, network, address)
}

func (realWorld) Listen(_, network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (realWorld) ListenPacket(_, network, address string) (net.PacketConn, error) {
	return net.ListenPacket(network, address)
}

func (realWorld) Jitter(_ string, _ uint64, d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return mathrand.N(d)
}

func (realWorld) Rand(string) io.Reader { return rand.Reader }
