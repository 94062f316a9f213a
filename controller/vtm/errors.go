package vtm

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Kind tells what an Error is about: who must do something, and whether trying
// again can help.
type Kind int

const (
	// Unreachable: no connection to any endpoint could be made. The request was
	// certainly not received.
	Unreachable Kind = iota
	// Outage: the connection broke, no answer came in time, or the answer was a
	// 5xx. The request may have taken effect.
	Outage
	// Garbage: the answer was none that the REST API gives. The request may have
	// taken effect.
	Garbage
	// Unauthorised: user name or password is wrong, or the user may not do this
	// (401, 403).
	Unauthorised
	// Refused: the traffic manager understood and refused (other 4xx). The same
	// request will be refused again.
	Refused
	// NotFound: there is no such resource (404).
	NotFound
)

// ErrNotFound is what errors.Is finds in an Error of kind NotFound.
var ErrNotFound = errors.New("not found")

// Error is a request to the traffic manager that failed.
type Error struct {
	Kind Kind
	// Request is method and path below config/active, e.g. "PUT pools/k8s_shop_app".
	Request string
	// Endpoint is the REST URL that was asked.
	Endpoint string
	// Status is the HTTP status, 0 without an answer.
	Status int
	// ID and Text are the answer's error_id and error_text (vtm/rest.md §3).
	ID, Text string
	// Details are the answer's error_info by key, sorted, e.g.
	// "basic/port: Property is unknown".
	Details []string
	// Cause is the error beneath, nil when there was an answer.
	Cause error
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "traffic manager %s: %s: ", e.Endpoint, e.Request)
	switch {
	case e.Kind == Unauthorised:
		fmt.Fprintf(&b, "user name or password refused (%d): check vtm_username, vtm_password and the user's permissions", e.Status)
	case e.Cause != nil:
		b.WriteString(e.Cause.Error())
	case e.ID != "" || e.Text != "":
		fmt.Fprintf(&b, "%s (%d %s)", e.Text, e.Status, e.ID)
	default:
		fmt.Fprintf(&b, "status %d", e.Status)
	}
	for i, detail := range e.Details {
		if i == 0 {
			b.WriteString(": ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(detail)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Cause }

// Is makes errors.Is(err, ErrNotFound) work.
func (e *Error) Is(target error) bool { return target == ErrNotFound && e.Kind == NotFound }

// Ambiguous reports whether a write that failed with err may have taken effect.
func Ambiguous(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Kind == Outage || e.Kind == Garbage)
}

// KindOf returns the kind of the Error in err, Outage for any other error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Outage
}

// maxDetails bounds what one refusal tells: an answer may hold thousands.
const maxDetails = 20

// parseErrorBody fills e from an error answer's body. It reports false when the
// body isn't one.
func (e *Error) parseErrorBody(body []byte) bool {
	var answer struct {
		ID   string         `json:"error_id"`
		Text string         `json:"error_text"`
		Info map[string]any `json:"error_info"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.ID == "" {
		return false
	}
	e.ID, e.Text = printable(answer.ID), printable(answer.Text)
	flatten("", answer.Info, &e.Details)
	slices.Sort(e.Details)
	if more := len(e.Details) - maxDetails; more > 0 {
		e.Details = append(e.Details[:maxDetails], fmt.Sprintf("and %d more", more))
	}
	return true
}

// flatten collects the errors of error_info: section -> key -> {error_id,
// error_text}, one or two levels deeper within a table.
func flatten(path string, info map[string]any, out *[]string) {
	if text, ok := info["error_text"].(string); ok {
		*out = append(*out, printable(path+": "+text))
		return
	}
	for key, value := range info {
		if inner, ok := value.(map[string]any); ok {
			next := key
			if path != "" {
				next = path + "/" + key
			}
			flatten(next, inner, out)
		}
	}
}

// maxQuote is how many bytes of an unexpected answer are quoted.
const maxQuote = 200

// quote shows the beginning of an unexpected answer.
func quote(body []byte) string {
	if len(body) == 0 {
		return "an empty body"
	}
	cut := body
	if len(cut) > maxQuote {
		cut = cut[:maxQuote]
	}
	return fmt.Sprintf("%q", cut)
}

// printable cuts s to a length fit for a log line and an Event, and replaces
// control characters: the text comes from outside.
func printable(s string) string {
	const most = 400
	if len(s) > most {
		s = s[:most]
		for !utf8.ValidString(s) && len(s) > most-utf8.UTFMax {
			s = s[:len(s)-1]
		}
		s += "…"
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}
