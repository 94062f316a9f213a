package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
)

// Fabric is the network between the pods of one cluster: it knows where a pod's
// port really listens, and keeps what containers print. It may be used by several
// nodes at once.
type Fabric struct {
	mu   sync.Mutex
	real map[netip.AddrPort]string // pod address and port -> "host:port" to dial
	logs map[string]*containerLog  // "namespace/pod/container"
}

// containerLog is what the last two runs of a container printed.
type containerLog struct {
	of                types.UID // the pod
	current, previous *logTail  // previous is nil in the first run
}

// NewFabric returns an empty one.
func NewFabric() *Fabric {
	return &Fabric{real: map[netip.AddrPort]string{}, logs: map[string]*containerLog{}}
}

func (f *Fabric) listens(at netip.AddrPort, real string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.real[at] = real
}

func (f *Fabric) gone(at netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.real, at)
}

// find returns where to dial for a pod's port.
func (f *Fabric) find(at netip.AddrPort) (real string, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	real, ok = f.real[at]
	return real, ok
}

// log begins the log of a run of a container.
func (f *Fabric) log(namespace, pod string, uid types.UID, container string) *logTail {
	key := namespace + "/" + pod + "/" + container
	fresh := &containerLog{of: uid, current: &logTail{changed: make(chan struct{})}}
	f.mu.Lock()
	defer f.mu.Unlock()
	if old := f.logs[key]; old != nil {
		old.current.close()
		if old.of == uid {
			fresh.previous = old.current
		}
	}
	f.logs[key] = fresh
	return fresh.current
}

// forgetLogs drops the logs of a pod, but not those of a later pod of that name.
func (f *Fabric) forgetLogs(namespace, pod string, uid types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key, l := range f.logs {
		if l.of == uid && strings.HasPrefix(key, namespace+"/"+pod+"/") {
			l.current.close()
			delete(f.logs, key)
		}
	}
}

// Logs serves the subresource pods/log: at least the last 64 KiB that a container
// printed in this run (options.Previous: in the one before), and what it prints from
// then on with options.Follow. Lines have no times: options.Timestamps and
// SinceSeconds do nothing.
func (f *Fabric) Logs(ctx context.Context, namespace, pod string, options corev1.PodLogOptions) (io.ReadCloser, error) {
	f.mu.Lock()
	l := f.logs[namespace+"/"+pod+"/"+options.Container]
	f.mu.Unlock()
	if l == nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start", options.Container, pod))
	}
	tail := l.current
	if options.Previous {
		if tail = l.previous; tail == nil {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("previous terminated container %q in pod %q not found", options.Container, pod))
		}
	}
	var reader io.Reader = &logReader{ctx: ctx, tail: tail, follow: options.Follow, at: tail.start(options.TailLines)}
	if options.LimitBytes != nil {
		reader = io.LimitReader(reader, *options.LimitBytes)
	}
	return io.NopCloser(reader), nil
}

// logLimit is how much of a container's output is kept at least, in bytes; at most
// twice as much.
const logLimit = 64 << 10

// logTail keeps the end of what was written.
type logTail struct {
	mu      sync.Mutex
	text    []byte
	dropped int64         // bytes before text
	changed chan struct{} // closed and replaced at each write
	closed  bool
}

func (t *logTail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*logLimit { // seldom, since it copies
		over := len(t.text) - logLimit
		t.dropped += int64(over)
		t.text = append([]byte(nil), t.text[over:]...)
	}
	if !t.closed {
		close(t.changed)
		t.changed = make(chan struct{})
	}
	return len(p), nil
}

func (t *logTail) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.closed = true
		close(t.changed)
	}
}

// start is the offset of the last lines; nil: of all that is kept.
func (t *logTail) start(lines *int64) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if lines == nil {
		return t.dropped
	}
	rest := bytes.TrimSuffix(t.text, []byte("\n"))
	at := len(t.text)
	for n := int64(0); n < *lines && at > 0; n++ {
		at = bytes.LastIndexByte(rest, '\n') + 1
		rest = rest[:max(0, at-1)]
	}
	return t.dropped + int64(at)
}

type logReader struct {
	ctx    context.Context
	tail   *logTail
	follow bool
	at     int64
}

func (r *logReader) Read(p []byte) (int, error) {
	for {
		r.tail.mu.Lock()
		at := max(r.at, r.tail.dropped)
		n := copy(p, r.tail.text[min(at-r.tail.dropped, int64(len(r.tail.text))):])
		changed, closed := r.tail.changed, r.tail.closed
		r.tail.mu.Unlock()
		if n > 0 {
			r.at = at + int64(n)
			return n, nil
		}
		if !r.follow || closed {
			return 0, io.EOF
		}
		select {
		case <-r.ctx.Done():
			return 0, io.EOF
		case <-changed:
		}
	}
}
