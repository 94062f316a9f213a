package network

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Trace records what happened in a run, to be compared with another run of the
// same seed. Within one instant the order of recording is the scheduler's and
// means nothing: read the canonical form only.
type Trace struct {
	mu    sync.Mutex
	lines []string
}

// Add records that actor did something now.
func (t *Trace) Add(actor, text string) {
	line := time.Now().UTC().Format("15:04:05.000000000") + " " + actor + " " + text
	t.mu.Lock()
	t.lines = append(t.lines, line)
	t.mu.Unlock()
}

// Canonical returns the trace sorted by instant, actor and text, a line each.
func (t *Trace) Canonical() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := slices.Sorted(slices.Values(t.lines))
	return strings.Join(lines, "\n") + "\n"
}

func (t *Trace) request(actor string, r *http.Request, response *http.Response, err error) {
	// A time-out and a cancellation at the same instant race: both are "ended".
	outcome := "ended"
	switch {
	case err == nil:
		outcome = fmt.Sprint(response.StatusCode)
	case r.Context().Err() == nil:
		outcome = "failed"
	}
	t.Add(actor, r.Method+" "+r.URL.RequestURI()+" "+outcome)
}
