package kube

import (
	"context"
	"fmt"
	"hash/fnv"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"

	"vtm-ingress/sim/kube/store"
)

// FaultRule is one way in which the API server misbehaves while it is set. Its text,
// which ParseFault reads and String prints, is a kind, the kind's argument if it has
// one, and conditions:
//
//	status 409 user=vtm-ingress method=PUT path=*/leases/* chance=0.5
//
// The kinds are
//
//	status CODE        answer with this status, 400 to 599, and do nothing
//	drop before|after  close the connection instead of answering, before or after the
//	                   request took effect
//	latency DURATION   wait before the request is handled
//	delay DURATION     wait before each event of a watch is sent
//	stale              reads show what there was when the fault began, as a member
//	                   shows it that lags behind
//	empty              lists hold nothing
//	away               everybody is answered 503, and watches are cut; without conditions
//	forgets            watches can't be resumed from before: 410; once, so that it is not
//	                   listed afterwards; without conditions
type FaultRule struct {
	Kind string
	Arg  string // as the kind says; "" where it says nothing

	// Conditions; all must hold.
	User   string  // "" is every user
	Method string  // "" is any
	Path   string  // path.Match pattern of the end of the path, from a slash on; "" is any
	Chance float64 // of each request that fits, 0 < Chance < 1; 0 is all
}

const faultKinds = "status, drop, latency, delay, stale, empty, away or forgets"

// ParseFaults reads one rule a line; '#' begins a comment. Errors name the line and
// what to write instead.
func ParseFaults(text string) ([]FaultRule, error) {
	var rules []FaultRule
	for i, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, "#")
		if strings.TrimSpace(line) == "" {
			continue
		}
		r, err := ParseFault(line)
		if err != nil {
			return nil, fmt.Errorf("faults, line %d: %w", i+1, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// FormatFaults prints rules as ParseFaults reads them.
func FormatFaults(rules []FaultRule) string {
	var b strings.Builder
	for _, r := range rules {
		b.WriteString(r.String() + "\n")
	}
	return b.String()
}

// ParseFault reads one rule. Errors say what to write instead.
func ParseFault(text string) (FaultRule, error) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return FaultRule{}, fmt.Errorf("no fault: write %s", faultKinds)
	}
	r := FaultRule{Kind: words[0]}
	words = words[1:]
	var err error
	switch r.Kind {
	case "status", "drop", "latency", "delay":
		if len(words) == 0 {
			return FaultRule{}, fmt.Errorf("fault %s lacks its argument", r.Kind)
		}
		r.Arg, words = words[0], words[1:]
	case "stale", "empty":
	case "away", "forgets":
		if len(words) > 0 {
			return FaultRule{}, fmt.Errorf("%s takes no condition", r.Kind)
		}
	default:
		return FaultRule{}, fmt.Errorf("there is no fault %q: write %s", r.Kind, faultKinds)
	}
	switch r.Kind {
	case "status":
		if n, err := strconv.Atoi(r.Arg); err != nil || n < 400 || n > 599 {
			return FaultRule{}, fmt.Errorf("status: %q is no status of 400 to 599", r.Arg)
		}
	case "drop":
		if r.Arg != "before" && r.Arg != "after" {
			return FaultRule{}, fmt.Errorf("drop: %q is neither before nor after", r.Arg)
		}
	case "latency", "delay":
		if d, err := time.ParseDuration(r.Arg); err != nil || d <= 0 || d > time.Hour {
			return FaultRule{}, fmt.Errorf("%s: %q is no duration of up to an hour, such as 200ms", r.Kind, r.Arg)
		}
	}
	for _, word := range words {
		name, value, ok := strings.Cut(word, "=")
		if !ok || value == "" {
			return FaultRule{}, fmt.Errorf("%q is not condition=value", word)
		}
		switch name {
		case "user":
			r.User = value
		case "method":
			r.Method = value
		case "path":
			r.Path = value
			_, err = path.Match(value, "")
		case "chance":
			r.Chance, err = strconv.ParseFloat(value, 64)
			if err == nil && !(r.Chance > 0 && r.Chance < 1) {
				err = fmt.Errorf("it is not between 0 and 1")
			}
		default:
			return FaultRule{}, fmt.Errorf("there is no condition %q: user, method, path and chance are", name)
		}
		if err != nil {
			return FaultRule{}, fmt.Errorf("%s: %w", word, err)
		}
	}
	return r, nil
}

// String is the text of the rule, in one spelling.
func (r FaultRule) String() string {
	words := []string{r.Kind}
	if r.Arg != "" {
		words = append(words, r.Arg)
	}
	for _, c := range []struct{ name, value string }{{"user", r.User}, {"method", r.Method}, {"path", r.Path}} {
		if c.value != "" {
			words = append(words, c.name+"="+c.value)
		}
	}
	if r.Chance != 0 {
		words = append(words, "chance="+strconv.FormatFloat(r.Chance, 'g', -1, 64))
	}
	return strings.Join(words, " ")
}

// faults are those that are set.
type faults struct {
	mu    sync.Mutex
	rules []FaultRule
	since []uint64          // by rule: the revision when it was set
	hits  map[string]uint64 // requests that fitted, by rule and request
}

// SetFaults replaces all faults that are set; none heals everything. A rule that stays
// goes on as it was.
func (s *Server) SetFaults(rules ...FaultRule) {
	forgets := func(r FaultRule) bool { return r.Kind == "forgets" }
	if slices.ContainsFunc(rules, forgets) {
		s.ForgetHistory()
		rules = slices.DeleteFunc(slices.Clone(rules), forgets)
	}
	s.setAway(slices.ContainsFunc(rules, func(r FaultRule) bool { return r.Kind == "away" }))
	f := &s.api.faults
	now := s.api.store.Revision()
	f.mu.Lock()
	defer f.mu.Unlock()
	since := make([]uint64, len(rules))
	for i, rule := range rules {
		since[i] = now
		if old := slices.Index(f.rules, rule); old >= 0 {
			since[i] = f.since[old]
		}
	}
	f.rules, f.since = slices.Clone(rules), since
	if len(rules) == 0 {
		f.hits = nil
	}
}

// Faults returns those that are set.
func (s *Server) Faults() []FaultRule {
	s.api.faults.mu.Lock()
	defer s.api.faults.mu.Unlock()
	return slices.Clone(s.api.faults.rules)
}

// of returns the rules that befall a request, with the revision at which each was set.
// The dice are thrown by rule, user, method and path, and how many such requests came
// before: others do not change them.
func (f *faults) of(user, method, urlPath string, kinds ...string) (rules []FaultRule, since []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, r := range f.rules {
		if !slices.Contains(kinds, r.Kind) || r.User != "" && r.User != user || r.Method != "" && r.Method != method || !r.fits(urlPath) {
			continue
		}
		if r.Chance != 0 {
			key := strings.Join([]string{r.String(), user, method, urlPath}, " ")
			if f.hits == nil {
				f.hits = map[string]uint64{}
			}
			h := fnv.New64a()
			fmt.Fprint(h, key, f.hits[key])
			f.hits[key]++
			x := h.Sum64() // whose last bits differ most
			x ^= x >> 33
			x *= 0xff51afd7ed558ccd
			x ^= x >> 33
			if float64(x>>11)/(1<<53) >= r.Chance {
				continue
			}
		}
		rules, since = append(rules, r), append(since, f.since[i])
	}
	return rules, since
}

// fits says whether the end of a path, from some slash on, is what the rule names.
func (r FaultRule) fits(urlPath string) bool {
	if r.Path == "" {
		return true
	}
	for i := range urlPath {
		if urlPath[i] == '/' {
			if ok, _ := path.Match(r.Path, urlPath[i+1:]); ok {
				return true
			}
		}
	}
	return false
}

// befall does to a request what the faults say. It reports whether that was all.
func (s *Server) befall(w http.ResponseWriter, req *http.Request, handle http.Handler) (done bool) {
	f := &s.api.faults
	f.mu.Lock()
	none := len(f.rules) == 0
	f.mu.Unlock()
	if none {
		return false
	}
	user := ""
	if who, ok := s.api.identity.authenticate(req); ok && who != nil {
		user = who.Name
	}
	rules, _ := f.of(user, req.Method, req.URL.Path, "status", "drop", "latency")
	for _, r := range rules {
		switch r.Kind {
		case "latency":
			d, _ := time.ParseDuration(r.Arg)
			select {
			case <-req.Context().Done():
			case <-s.api.clock.After(d):
			}
		case "status":
			code, _ := strconv.Atoi(r.Arg)
			s.answerStatus(w, code)
			return true
		case "drop":
			if r.Arg == "after" && req.URL.Query().Get("watch") == "" {
				handle.ServeHTTP(httptest.NewRecorder(), req)
			}
			panic(http.ErrAbortHandler)
		}
	}
	return false
}

// answerStatus answers with an error of that status.
func (s *Server) answerStatus(w http.ResponseWriter, code int) {
	status := apierrors.NewGenericServerResponse(code, "", schema.GroupResource{}, "", "the emulated API server was told to refuse this", 1, true).ErrStatus
	if code == http.StatusServiceUnavailable {
		status = apierrors.NewServiceUnavailable("the server is currently unable to handle the request").ErrStatus
	}
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
		status.Reason = metav1.StatusReasonTooManyRequests
	}
	w.Header().Set("Content-Type", runtime.ContentTypeJSON)
	w.WriteHeader(code)
	_ = s.api.codecs.LegacyCodec(schema.GroupVersion{Version: "v1"}).Encode(&status, w)
}

// latest is the table's latest state as a request sees it.
func (r *resource) latest(ctx context.Context, prefix string) ([]store.Item, uint64) {
	rules, since := r.befallen(ctx, "stale", "empty")
	for i, rule := range rules {
		if rule.Kind == "empty" {
			return nil, r.store.Revision()
		}
		if items, err := r.table.At(prefix, since[i]); err == nil {
			return items, since[i]
		}
	}
	return r.table.Latest(prefix)
}

func (r *resource) befallen(ctx context.Context, kinds ...string) ([]FaultRule, []uint64) {
	user, urlPath, method := "", "", ""
	if who, ok := request.UserFrom(ctx); ok {
		user = who.GetName()
	}
	if info, ok := request.RequestInfoFrom(ctx); ok {
		urlPath, method = info.Path, http.MethodGet
	}
	return r.faults.of(user, method, urlPath, kinds...)
}
