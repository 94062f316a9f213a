package certs

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-acme/lego/v4/acme"
	"github.com/go-acme/lego/v4/acme/api"
)

const (
	// maxAnswer bounds what is read of one answer, in bytes.
	maxAnswer = 1 << 20
	// maxWait bounds what Retry-After can ask for: the longest limit that is known of
	// an authority is a week.
	maxWait = 8 * 24 * time.Hour
	// maxSkew is how far the authority's clock may be from ours.
	maxSkew = 5 * time.Minute
)

// authority is a client of the certificate authority, until done.
type authority struct {
	core *api.Core
	wire *wire
	done func()
}

// reach makes one for an account; url is empty before that is registered. Its
// requests end with ctx.
func (m *Manager) reach(ctx context.Context, actor string, key crypto.PrivateKey, url string) (*authority, error) {
	ctx, cancel := context.WithCancel(ctx)
	base := m.o.World.HTTPClient(m.o.Actor+"/"+actor, m.trust())
	a := &authority{wire: &wire{ctx: ctx, base: base.Transport, now: m.now}, done: func() {
		cancel()
		base.CloseIdleConnections()
	}}
	var err error
	a.core, err = api.New(&http.Client{Transport: a.wire, Timeout: requestTimeout}, userAgent, m.o.Settings.ACMEDirectory, url, key)
	if err == nil {
		return a, nil
	}
	defer a.done()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	if errors.As(err, &syntax) || errors.As(err, &kind) {
		// lego repeats the whole of it.
		err = fmt.Errorf("it answers with %s and not with a directory (RFC 8555): is the setting acme_directory right?", a.wire.kind())
	}
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		err = fmt.Errorf("%w (the clock of this machine says %s: is it right?)", err, m.now().UTC().Format(time.RFC3339))
	}
	return nil, a.failed(fmt.Errorf("the certificate authority's directory %s can't be used: %w", m.o.Settings.ACMEDirectory, err))
}

// trust is how the directory's own HTTPS is verified.
func (m *Manager) trust() *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, Time: m.o.World.Clock().Now}
	if ca := m.o.Settings.ACMECA; ca != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(ca) // config has checked it
	}
	return config
}

// wire sends lego's requests, which have no context of their own, and notes what it
// does not look at in the answers.
type wire struct {
	ctx  context.Context
	base http.RoundTripper
	now  func() time.Time

	mu          sync.Mutex // guards all below
	contentType string     // of the last answer
	refused     time.Time  // not to be asked before; zero: it did not say
	unavailable bool       // the last refusal was of everybody (503)
	poll        time.Time  // what was asked for last is not to be looked at before
	skew        time.Duration
}

func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	context.AfterFunc(w.ctx, cancel)
	response, err := w.base.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	w.note(response)
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(response.Body, maxAnswer), response.Body}
	return response, nil
}

func (w *wire) note(r *http.Response) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.contentType, _, _ = strings.Cut(r.Header.Get("Content-Type"), ";")
	after := retryAfter(r.Header.Get("Retry-After"), now)
	if r.StatusCode >= http.StatusBadRequest {
		w.refused, w.poll = after, time.Time{}
		w.unavailable = r.StatusCode == http.StatusServiceUnavailable
	} else {
		w.refused, w.poll = time.Time{}, after
	}
	// Dates are in whole seconds.
	if date, err := http.ParseTime(r.Header.Get("Date")); err == nil {
		w.skew = date.Sub(now)
	}
}

func (w *wire) kind() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.contentType == "" {
		return "something"
	}
	return w.contentType
}

// wait is how long after now the authority wants to be left alone with what was asked
// for last.
func (w *wire) wait() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.poll.IsZero() {
		return 0
	}
	return w.poll.Sub(w.now())
}

// skewed says how far the authority's clock is from this machine's; "" if it isn't.
func (w *wire) skewed() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.skew > maxSkew:
		return fmt.Sprintf("the clock of this machine is %s behind the certificate authority's: set it right", w.skew.Round(time.Minute))
	case w.skew < -maxSkew:
		return fmt.Sprintf("the clock of this machine is %s before the certificate authority's: set it right", (-w.skew).Round(time.Minute))
	}
	return ""
}

// failure is an error that the authority's last answer says more about.
type failure struct {
	error
	retry    time.Time // not before; zero: it did not say
	everyone bool      // retry is for all orders
}

func (f *failure) Unwrap() error { return f.error }

// failed adds to an error what the last answer says besides.
func (a *authority) failed(err error) error {
	if skewed := a.wire.skewed(); skewed != "" {
		err = fmt.Errorf("%w; %s", err, skewed)
	}
	a.wire.mu.Lock()
	defer a.wire.mu.Unlock()
	f := &failure{error: err, retry: a.wire.refused, everyone: a.wire.unavailable && !a.wire.refused.IsZero()}
	if f.retry.IsZero() && isProblem(err, "rateLimited") {
		f.retry = a.wire.now().Add(time.Hour)
	}
	return f
}

// retryAfter reads the header of that name (RFC 9110 §10.2.3); zero if there is none.
func retryAfter(header string, now time.Time) time.Time {
	at := time.Time{}
	if seconds, err := strconv.ParseInt(header, 10, 64); err == nil && seconds >= 0 {
		at = now.Add(time.Duration(min(seconds, int64(maxWait/time.Second))) * time.Second)
	} else if date, err := http.ParseTime(header); err == nil {
		at = date
	}
	if at.After(now.Add(maxWait)) {
		return now.Add(maxWait)
	}
	return at
}

// retryOf is when, after an error, the authority may be asked again; zero if it did
// not say.
func retryOf(err error) time.Time {
	var f *failure
	if errors.As(err, &f) {
		return f.retry
	}
	return time.Time{}
}

const problemPrefix = "urn:ietf:params:acme:error:"

// isProblem reports whether an error is a problem document of a type (RFC 8555 §6.7).
func isProblem(err error, kind string) bool {
	var problem *acme.ProblemDetails
	return errors.As(err, &problem) && problem.Type == problemPrefix+kind
}

// inWords is what an error means to an Ingress's owner: the authority's problem
// document, if there is one.
func inWords(err error) string {
	var problem *acme.ProblemDetails
	if !errors.As(err, &problem) {
		return err.Error()
	}
	before, after, _ := strings.Cut(err.Error(), ": "+problem.Error())
	text := fmt.Sprintf("%s: the certificate authority says: %s (%s)", before, problem.Detail, strings.TrimPrefix(problem.Type, problemPrefix))
	for _, sub := range problem.SubProblems {
		text += fmt.Sprintf("; %s: %s", sub.Identifier.Value, sub.Detail)
	}
	return text + after
}
