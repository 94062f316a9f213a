package outside

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"time"

	"k8s.io/utils/clock"
)

// Clock tells the time and makes timers, tickers, and calls to come. A call comes in
// a goroutine of its own, and may come beside the Stop that returns false.
type Clock interface {
	clock.WithTicker
	clock.WithDelayedExecution
}

// World gives clock, network and chance to one part of the system.
//
// Methods that reach over the network take the actor: a stable, unique name of
// who acts, such as "controller/a/informers" or "vtm/1/monitor/Connect". In
// production the actor is ignored. In simulation it names the connections that
// the actor makes, from which their latency and faults are derived, so that two
// goroutines which may act at the same instant must never share an actor.
//
// All methods may be called from several goroutines.
type World interface {
	// Clock tells the time and makes timers. Under simulation it is the fake
	// clock of the bubble.
	Clock() Clock

	// HTTPClient returns a client with connections of its own, that trusts and
	// presents what tlsConfig says (nil: the system's roots, no certificate). It
	// has no time-out: give each request a context with a deadline. The caller
	// owns it, uses it for as long as it needs that peer, and ends with
	// CloseIdleConnections.
	HTTPClient(actor string, tlsConfig *tls.Config) *http.Client

	// Dial opens a connection to address ("host:port") over network "tcp" or "udp".
	Dial(ctx context.Context, actor, network, address string) (net.Conn, error)

	// Listen accepts connections on address ("host:port", port 0 picks a free
	// one) over network "tcp".
	Listen(actor, network, address string) (net.Listener, error)

	// ListenPacket takes datagrams that are sent to address ("host:port", port 0
	// picks a free one) over network "udp".
	ListenPacket(actor, network, address string) (net.PacketConn, error)

	// Jitter returns a duration in [0, d), to spread what would otherwise happen
	// at one instant. In production it is random; in simulation it is a function
	// of seed, name and n alone, so the n-th draw of a name is always the same.
	// d <= 0 gives 0.
	Jitter(name string, n uint64, d time.Duration) time.Duration

	// Rand returns a source of random bytes, fit for keys in production, and
	// derived from the seed and name in simulation.
	Rand(name string) io.Reader
}
