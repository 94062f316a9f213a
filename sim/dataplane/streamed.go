package dataplane

import (
	"context"
	"errors"
	"io"
	"net/http"

	"vtm-ingress/sim/trafficscript"
)

// errStreamed tells the proxy that a rule has sent the response itself.
var errStreamed = errors.New("the response was sent by a rule")

// streamer is a transaction whose rules send the response, by http.stream.
type streamer transaction

var _ trafficscript.Streamer = (*streamer)(nil)

// StartResponse sends the head.
func (s *streamer) StartResponse(ctx context.Context, a *trafficscript.Answer, length int64) error {
	t := (*transaction)(s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	h := t.w.Header()
	for name, values := range a.Header {
		h[name] = values
	}
	if length >= 0 {
		h.Set("Content-Length", itoa(int(length)))
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // not guessed
	}
	t.setCookies(h)
	t.keepalive()
	t.setReason(a.Code, a.Reason)
	t.sees(a.Code, a.Reason, h)
	t.v.stats.response(a.Code, generated)
	t.watch()
	t.responding.Store(true)
	t.w.WriteHeader(a.Code)
	return http.NewResponseController(t.w).Flush()
}

// WriteResponse sends a piece of the body, at once.
func (s *streamer) WriteResponse(ctx context.Context, data string) error {
	t := (*transaction)(s)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if _, err := io.WriteString(t.w, data); err != nil {
		return err
	}
	return http.NewResponseController(t.w).Flush()
}

// ReadResponse reads from the node's body, decoded.
func (s *streamer) ReadResponse(ctx context.Context, max int) (string, error) {
	t := (*transaction)(s)
	res := t.answered
	if res == nil || res.StatusCode == http.StatusSwitchingProtocols {
		return "", nil
	}
	if t.decoded == nil {
		t.watch()
		decoded, err := decode(res.Body, res.Header.Get("Content-Encoding"))
		if err != nil {
			return "", err
		}
		t.decoded = decoded
	}
	b := make([]byte, min(max, 32<<10))
	for {
		n, err := t.decoded.Read(b)
		if n > 0 {
			return string(b[:n]), nil
		}
		switch {
		case err == io.EOF:
			return "", nil
		case err != nil && ctx.Err() != nil:
			return "", context.Cause(ctx)
		case err != nil:
			return "", err
		}
	}
}

// endStream ends a response that request rules began.
func (t *transaction) endStream() {
	t.v.stats.inc(vsDirectReplies)
	if t.ctx.Err() != nil {
		panic(http.ErrAbortHandler) // the client must not take it for complete
	}
}

// endStreamed ends one that response rules began: what is left of the node's body
// follows where a rule said so.
func (t *transaction) endStreamed(res *http.Response) error {
	defer res.Body.Close()
	if t.script.Streamed == trafficscript.StreamFromBackend && t.ctx.Err() == nil {
		from := t.decoded
		if from == nil {
			decoded, err := decode(res.Body, res.Header.Get("Content-Encoding"))
			if err != nil {
				panic(http.ErrAbortHandler)
			}
			from = decoded
		}
		buffer := t.v.d.buffers.Get()
		defer t.v.d.buffers.Put(buffer)
		if _, err := io.CopyBuffer(flushing{t.w}, from, buffer); err != nil {
			t.why = err
			panic(http.ErrAbortHandler)
		}
	}
	if t.ctx.Err() != nil {
		panic(http.ErrAbortHandler)
	}
	return errStreamed
}

// flushing sends each piece at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(b []byte) (int, error) {
	n, err := f.w.Write(b)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
