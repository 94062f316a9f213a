package dataplane

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bandwidth limits what goes to all clients together.
type bandwidth struct {
	rate atomic.Int64 // bytes a second; 0: no limit

	mu   sync.Mutex
	free time.Time // when all that was let through has passed
}

// limitedPiece is how many bytes wait their turn as one.
const limitedPiece = 4 << 10

// LimitBandwidth lets at most so many bytes a second go to clients, all virtual
// servers together, TLS included; 0 ends the limit. What is on its way waits.
func (d *DataPlane) LimitBandwidth(bytesPerSecond int64) { d.bandwidth.rate.Store(bytesPerSecond) }

// turn says how long the next n bytes must wait.
func (b *bandwidth) turn(now time.Time, n int) time.Duration {
	rate := b.rate.Load()
	if rate <= 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.free.Before(now) {
		b.free = now
	}
	wait := b.free.Sub(now)
	b.free = b.free.Add(time.Duration(n) * time.Second / time.Duration(rate))
	return wait
}

// write sends p to a client as fast as the limit allows.
func (b *bandwidth) write(d *DataPlane, to net.Conn, p []byte) (int, error) {
	sent := 0
	most := limitedPiece
	if _, whole := to.(*udpFlow); whole {
		most = len(p) // a datagram stays one
	}
	for b.rate.Load() > 0 && sent < len(p) {
		piece := p[sent:min(sent+most, len(p))]
		if !sleep(d.ctx, d.options.World.Clock(), b.turn(d.now(), len(piece))) {
			return sent, net.ErrClosed
		}
		n, err := to.Write(piece)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	if sent == len(p) && sent > 0 {
		return sent, nil
	}
	n, err := to.Write(p[sent:])
	return sent + n, err
}
