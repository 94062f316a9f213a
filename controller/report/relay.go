package report

import (
	"bytes"
	"context"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"vtm-ingress/internal/outside"
)

const (
	// relayWaiting is how many lines wait to be relayed at most; the oldest go first.
	relayWaiting = 1000
	// relayPause is between two requests: so many lines a second at most as one
	// request holds.
	relayPause = time.Second
	// relayRetry is after a request that failed.
	relayRetry = 10 * time.Second
	// relayTimeout bounds one request.
	relayTimeout = 5 * time.Second
	// relayProbe is for how long nothing is sent before it is tried whether it could be.
	relayProbe = 5 * time.Minute
	// relayPatience is for how long it may fail before that is told: the traffic
	// manager's side of it is made by the controller, once it writes.
	relayPatience = 2 * time.Minute
)

// unreachable is the reason of the Event that says so.
const unreachable = "EventLogUnreachable"

// RelayOptions for NewRelay.
type RelayOptions struct {
	World outside.World
	// Log is where the relay's own trouble is told: not a log that is relayed.
	Log   *slog.Logger
	Actor string
	// Endpoint gives the REST URL of the traffic manager that is to get the lines.
	Endpoint func() string
	Port     uint16
	Token    string
	// Certificate reads the certificate, PEM, that the traffic manager shows there.
	Certificate func(context.Context) ([]byte, error)
	// Warn is told that lines don't get there any more, with a reason in one word, and
	// Over that they do.
	Warn func(reason, message string)
	Over func(reason string)
	// Largest request and line that are taken, in bytes.
	MaxRequest, MaxLine int
}

// Relay brings log lines into the traffic manager's event log. Lines wait while
// that can't be reached, and are lost when too many do.
type Relay struct {
	o       RelayOptions
	waiting chan struct{} // capacity 1: there is something to send

	mu    sync.Mutex
	lines []string // at most relayWaiting
	lost  int
}

// RelayToken derives what shows the traffic manager that a line comes from its
// controller. All instances derive the same, and nobody finds the password by it
// faster than by guessing at the rate that pbkdf2Rounds leaves.
func RelayToken(password, controllerID string) (token, sum string, err error) {
	const pbkdf2Rounds = 100_000
	key, err := pbkdf2.Key(sha256.New, password, []byte("vtm-ingress event log "+controllerID), pbkdf2Rounds, 32)
	if err != nil {
		return "", "", fmt.Errorf("token for the event log: %w", err)
	}
	token = hex.EncodeToString(key)
	digest := sha256.Sum256([]byte(token))
	return token, hex.EncodeToString(digest[:]), nil
}

// NewRelay makes a Relay that does nothing until Run.
func NewRelay(o RelayOptions) *Relay {
	return &Relay{o: o, waiting: make(chan struct{}, 1)}
}

// add lets a line wait: the letter of its level, a space, its text.
func (r *Relay) add(line string) {
	if len(line) > r.o.MaxLine {
		line = cut(line, r.o.MaxLine)
	}
	r.mu.Lock()
	if len(r.lines) == relayWaiting {
		r.lines = r.lines[1:]
		r.lost++
	}
	r.lines = append(r.lines, line)
	r.mu.Unlock()
	select {
	case r.waiting <- struct{}{}:
	default:
	}
}

// Run sends lines until ctx ends, then those that wait, once.
func (r *Relay) Run(ctx context.Context) {
	client := r.client(ctx)
	defer func() { client.CloseIdleConnections() }()
	var failing time.Time // since when; zero: it works
	told := false
	probe := r.o.World.Clock().After(0)
	for ctx.Err() == nil {
		probing := false
		select {
		case <-ctx.Done():
			continue
		case <-r.waiting:
		case <-probe:
			probing = true
		}
		err := r.send(ctx, client, probing)
		probe = r.o.World.Clock().After(relayProbe)
		pause := relayPause
		if err != nil && ctx.Err() == nil {
			pause = relayRetry
			now := r.o.World.Clock().Now()
			if failing.IsZero() {
				failing = now
			}
			if !told && now.Sub(failing) >= relayPatience {
				told = true
				const text = "log lines don't get into the traffic manager's event log: is the way to it open, and does its virtual server run?"
				r.o.Log.Warn(text, "address", r.address(), "error", err)
				r.o.Warn(unreachable, fmt.Sprintf("%s Set event_log_relay to false to do without (%s: %v)", text, r.address(), err))
			}
			// The certificate may be another one by now, or the traffic manager away: asking
			// for the one finds another that answers.
			r.look(ctx)
			client.CloseIdleConnections()
			client = r.client(ctx)
			probe = r.o.World.Clock().After(0) // after the pause
		} else if err == nil {
			failing, told = time.Time{}, false
			r.o.Over(unreachable)
		}
		select {
		case <-ctx.Done():
		case <-r.o.World.Clock().After(pause):
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = r.send(last, client, false) // nobody waits for it to be tried again
}

// look asks for the certificate, which lets Endpoint go on to one that answers.
func (r *Relay) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	if _, err := r.o.Certificate(ctx); err != nil {
		r.o.Log.Debug("certificate of the event log's relay", "error", err)
	}
}

// address is where lines go, as host:port.
func (r *Relay) address() string {
	u, err := url.Parse(r.o.Endpoint())
	if err != nil {
		return r.o.Endpoint() // told as it is
	}
	return net.JoinHostPort(u.Hostname(), strconv.Itoa(int(r.o.Port)))
}

// client trusts the one certificate that the traffic manager holds for this.
func (r *Relay) client(ctx context.Context) *http.Client {
	return r.o.World.HTTPClient(r.o.Actor, &tls.Config{
		// The comparison below, with what was read over the verified REST API, replaces
		// the usual verification.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			ctx, cancel := context.WithTimeout(ctx, relayTimeout)
			defer cancel()
			text, err := r.o.Certificate(ctx)
			if err != nil {
				return err
			}
			block, _ := pem.Decode(text)
			if block == nil || len(state.PeerCertificates) == 0 || !bytes.Equal(block.Bytes, state.PeerCertificates[0].Raw) {
				return errors.New("somebody else answers: the certificate is not the one that the controller put on the traffic manager")
			}
			return nil
		},
	})
}

// send sends as many waiting lines as fit into one request; without any it sends
// nothing, unless it probes.
func (r *Relay) send(ctx context.Context, client *http.Client, probe bool) error {
	r.mu.Lock()
	var body strings.Builder
	if r.lost > 0 {
		fmt.Fprintf(&body, "W %s%d lines were lost\n", eventLogPrefix, r.lost)
	}
	n := 0
	for _, line := range r.lines {
		if body.Len()+len(line)+1 > r.o.MaxRequest {
			break
		}
		body.WriteString(line + "\n")
		n++
	}
	sent, lost := r.lines[:n:n], r.lost
	more := n < len(r.lines)
	r.mu.Unlock()
	if n == 0 && lost == 0 && !probe {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+r.address()+"/", strings.NewReader(body.String()))
	if err != nil {
		return err
	}
	request.Header.Set("X-Relay-Token", r.o.Token)
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)); err != nil {
		return err
	}
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	r.mu.Lock()
	// Lines may have been lost meanwhile: what was sent is gone in any case.
	gone := min(len(sent), max(0, len(sent)-(r.lost-lost)))
	r.lines = r.lines[gone:]
	r.lost = max(0, r.lost-lost-(len(sent)-gone))
	more = more || len(r.lines) > 0
	r.mu.Unlock()
	if more {
		select {
		case r.waiting <- struct{}{}:
		default:
		}
	}
	return nil
}

// Handler makes of a log handler one whose records are relayed too.
func (r *Relay) Handler(next slog.Handler) slog.Handler {
	line := &line{relay: r}
	return relayed{next, slog.NewTextHandler(line, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: withoutFrame}), line}
}

// withoutFrame leaves time, level and message away: the event log has the first
// two, and the message stands before the rest.
func withoutFrame(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
		return slog.Attr{}
	}
	return a
}

// line puts a record's attributes behind its message.
type line struct {
	relay *Relay
	mu    sync.Mutex // held while one record is formatted
	begin string
}

func (l *line) Write(attributes []byte) (int, error) {
	l.relay.add(strings.TrimSpace(l.begin + " " + strings.ReplaceAll(string(attributes), "\n", " ")))
	return len(attributes), nil
}

type relayed struct {
	next, format slog.Handler
	line         *line
}

func (h relayed) Enabled(ctx context.Context, level slog.Level) bool {
	return h.next.Enabled(ctx, level)
}

func (h relayed) Handle(ctx context.Context, r slog.Record) error {
	letter := "I "
	switch {
	case r.Level >= slog.LevelError:
		letter = "E "
	case r.Level >= slog.LevelWarn:
		letter = "W "
	}
	h.line.mu.Lock()
	h.line.begin = letter + strings.ReplaceAll(r.Message, "\n", " ")
	err := h.format.Handle(ctx, r)
	h.line.mu.Unlock()
	return errors.Join(h.next.Handle(ctx, r), err)
}

func (h relayed) WithAttrs(attrs []slog.Attr) slog.Handler {
	return relayed{h.next.WithAttrs(attrs), h.format.WithAttrs(attrs), h.line}
}

func (h relayed) WithGroup(name string) slog.Handler {
	return relayed{h.next.WithGroup(name), h.format.WithGroup(name), h.line}
}
