package tsrun

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sort"
	"strings"

	"vtm-ingress/sim/trafficscript"
)

// action prints one thing that the rules did: a word, and what.
func (h *host) action(word, format string, args ...any) {
	fmt.Fprintf(h.out, "%-7s %s\n", word, fmt.Sprintf(format, args...))
}

// printRequest prints what the rules changed of the request.
func (h *host) printRequest(was *trafficscript.Request) {
	now := h.tx.Request
	if was.Method != now.Method || was.Target != now.Target {
		h.action("request", "%s %s", now.Method, now.Target)
	}
	if was.Host != now.Host {
		h.action("header", "Host: %s", now.Host)
	}
	h.printHeaders("header", was.Header, now.Header)
	if now.Body != nil {
		h.action("body", "%q", *now.Body)
	}
}

// printResponse prints what the rules changed of the response.
func (h *host) printResponse(was *trafficscript.Response) {
	now := h.tx.Response
	if was.Code != now.Code || was.Reason != now.Reason {
		h.action("response", "%d %s", now.Code, now.Reason)
	}
	h.printHeaders("header", was.Header, now.Header)
	if now.Body != nil {
		h.action("body", "%q", *now.Body)
	}
}

// printHeaders prints lines that are new or have changed, and the names of those
// that are gone after "-".
func (h *host) printHeaders(word string, was, now http.Header) {
	names := make([]string, 0, len(was)+len(now))
	for name := range was {
		names = append(names, name)
	}
	for name := range now {
		if _, ok := was[name]; !ok {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	for _, name := range names {
		if slices.Equal(was[name], now[name]) {
			continue
		}
		if len(now[name]) == 0 {
			h.action(word, "- %s", name)
		}
		for _, v := range now[name] {
			h.action(word, "%s: %s", name, v)
		}
	}
}

// printDecisions prints where the request goes, and how.
func (h *host) printDecisions() {
	tx := &h.tx
	for _, s := range tx.Interim {
		h.action("interim", "%q", s)
	}
	for _, c := range tx.SetCookies {
		h.action("cookie", "%s", c)
	}
	if tx.SourceIP.IsValid() {
		h.action("source", "%s", tx.SourceIP)
	}
	if tx.Persistence != "" || tx.PersistenceKey != "" || tx.PersistenceNode != "" {
		h.action("persist", "%s", strings.TrimSpace(strings.Join([]string{tx.Persistence, tx.PersistenceKey, tx.PersistenceNode}, " ")))
	}
	if tx.Idempotent != nil {
		h.action("resend", "%t", *tx.Idempotent)
	}
	if len(tx.Excluded) > 0 {
		h.action("avoid", "%v", tx.Excluded)
	}
	if tx.Overrides != (trafficscript.Overrides{}) {
		h.action("limits", "%+v", tx.Overrides)
	}
	for number := 1; number <= 10; number++ {
		if n := tx.Machine.Counters.Value(number); n != 0 {
			h.action("counter", "%d: %d", number, n)
		}
		if n := tx.Machine.Counters.Value64(number); n != 0 {
			h.action("counter", "%d of 64 bits: %d", number, n)
		}
	}
	switch {
	case tx.Streaming():
		h.action("stream", "the response is what was streamed")
	case tx.Answer != nil:
		h.printAnswer()
	case tx.Close != nil:
		h.action("close", "%q", *tx.Close)
	case tx.Discard:
		h.action("discard", "the connection closes without an answer")
	case tx.PoolNode != (netip.AddrPort{}):
		h.action("pool", "%s, node %s", h.poolInUse(), tx.PoolNode)
	default:
		h.action("pool", "%s", h.poolInUse())
	}
}

func reasonOf(a *trafficscript.Answer) string {
	if a.Reason == "" {
		return http.StatusText(a.Code)
	}
	return a.Reason
}

func (h *host) printAnswer() {
	a := h.tx.Answer
	h.action("answer", "%d %s", a.Code, reasonOf(a))
	h.printHeaders("answer", nil, a.Header)
	if a.Body != "" {
		h.action("answer", "%q", a.Body)
	}
}
