package vtm

import (
	"errors"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"vtm-ingress/sim/dataplane"
)

// The largest bodies that a PUT may have, in bytes; of JSON unless
// rest_api!http_max_resource_body_length says less.
const (
	maxJSONBody = 16 << 20
	maxFileBody = 64 << 20
)

// settableLimit is what a limit of the settings is at least, in bytes, so that
// nobody shuts the API to those who could set it right.
const settableLimit = 1024

// apiVersions are served, all with the tree of 8.3, for clients that ask for the
// version they were written for.
var apiVersions = [...]string{"5.2", "6.0", "6.1", "6.2", "7.0", "7.1", "8.0", "8.1", "8.2", "8.3"}

// request is one REST request on its way.
type request struct {
	*http.Request
	of       *TrafficManager // that was asked
	user     string
	expert   shown
	metadata bool             // the answer is to tell about its structure
	about    func() *metadata // what there can be at the place that is reached; nil: a folder
	base     string           // the escaped path of the folder that is reached, ending in "/"
}

// answer is what a request gets. A body is JSON unless raw.
type answer struct {
	status int
	body   []byte
	raw    bool
}

// serve handles every request of the REST API.
func (t *TrafficManager) serve(w http.ResponseWriter, r *http.Request) {
	var ordered requestFaults
	if t.cluster != nil {
		t.noteRequest()
		w, ordered = t.misbehave(w, r)
		if ordered.repeat > 0 && (r.Method == http.MethodPut || r.Method == http.MethodDelete || r.Method == http.MethodPost) {
			var err error
			if r, err = t.repeat(r, ordered.repeat); err != nil {
				panic(http.ErrAbortHandler) // the client is gone
			}
		}
	}
	t.answer(w, r, ordered)
}

// answer does what a request asks for, and answers it.
func (t *TrafficManager) answer(w http.ResponseWriter, r *http.Request, ordered requestFaults) {
	fault := t.fault.Load()
	if fault.Garbage || ordered.garbage {
		w = &garbageWriter{ResponseWriter: w}
	}
	if limit := t.restLimit("http_max_header_length", maxHeader); headerLength(r) > limit {
		w.Header().Set("Connection", "close")
		writeError(w, errHeader(limit))
		return
	}
	from := clientAddress(r.RemoteAddr)
	if !t.admits(from) {
		t.logEvent(dataplane.Event{Level: "WARN", Section: "admin", Tag: "accessdenied", Text: "Access from " + clip(r.RemoteAddr) + " is not permitted"})
		writeError(w, errForbidden("Access from this address is not permitted"))
		return
	}
	user, password, given := r.BasicAuth()
	if !given || fault.WrongPassword || ordered.unauthorised || !t.logIn(r.Context(), user, password, from) {
		w.Header().Set("WWW-Authenticate", `Basic realm="Traffic Manager REST API"`)
		writeError(w, errAuth())
		return
	}
	if status := max(fault.Status, ordered.status); status != 0 {
		writeError(w, &apiError{status: status, ID: "fault.injected", Text: "This answer was ordered by a test"})
		return
	}
	query := r.URL.Query()
	req := &request{Request: r, of: t, user: user, expert: make(shown), metadata: query.Has("metadata")}
	for key := range strings.SplitSeq(query.Get("expert_keys"), ",") {
		if !strings.Contains(key, "/") {
			key = "basic/" + key
		}
		req.expert[key] = true
	}
	a, err := t.route(req)
	if local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr); t.sockets.left(local) {
		w.Header().Set("Connection", "close")
	}
	if err != nil {
		writeError(w, err)
		return
	}
	if req.metadata {
		about := &metadata{Description: "The folder " + clip(req.base)}
		if req.about != nil {
			about = req.about()
		}
		a = about.with(a)
	}
	switch {
	case a.raw:
		w.Header().Set("Content-Type", "application/octet-stream")
	case a.body != nil:
		w.Header().Set("Content-Type", "application/json")
	}
	if a.body != nil {
		w.Header().Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // the client may be gone
	}
}

func writeError(w http.ResponseWriter, e *apiError) {
	if e.allow != "" {
		w.Header().Set("Allow", e.allow)
	}
	body := e.body()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.status)
	_, _ = w.Write(body) // the client may be gone; net/http drops it for HEAD
}

// restLimit is a limit in bytes that rest_api of the global settings may lower
// from what it is at most; 0 does not.
func (t *TrafficManager) restLimit(key string, most int) int {
	if set := t.globalSettings().number("rest_api", key); set > 0 {
		return min(max(set, settableLimit), most)
	}
	return most
}

// headerLength is about what a request's header took on the wire, in bytes.
func headerLength(r *http.Request) int {
	n := len(r.Method) + len(r.RequestURI) + len(r.Proto) + len("Host: ") + len(r.Host) + 8
	for name, values := range r.Header {
		for _, v := range values {
			n += len(name) + len(v) + 4
		}
	}
	return n
}

// route follows the path from "/". A final slash is accepted everywhere and
// never redirected, since a redirected PUT loses its body: vtm/rest.md §1.
func (t *TrafficManager) route(r *request) (answer, *apiError) {
	escaped := r.URL.EscapedPath()
	if !strings.HasPrefix(escaped, "/") {
		return answer{}, errNotFound(escaped)
	}
	var path []string
	if trimmed := strings.TrimSuffix(escaped[1:], "/"); trimmed != "" {
		for part := range strings.SplitSeq(trimmed, "/") {
			segment, err := url.PathUnescape(part)
			if err != nil || segment == "" {
				return answer{}, errNotFound(escaped)
			}
			path = append(path, segment)
		}
	}
	r.base = "/"
	for _, only := range []string{"api", "tm"} {
		if len(path) == 0 {
			return r.folder(child{only, true})
		}
		if path[0] != only {
			return answer{}, errNotFound(escaped)
		}
		path = r.enter(path)
	}
	if len(path) == 0 {
		versions := make([]child, len(apiVersions))
		for i, v := range apiVersions {
			versions[i] = child{v, true}
		}
		return r.folder(versions...)
	}
	if !slices.Contains(apiVersions[:], path[0]) {
		return answer{}, errNotFound(escaped)
	}
	path = r.enter(path)
	if len(path) == 0 {
		return r.folder(child{"config", true}, child{"status", true})
	}
	switch path[0] {
	case "config":
		path = r.enter(path)
		if len(path) == 0 {
			return r.folder(child{"active", true})
		}
		if path[0] == "active" {
			return t.config(r, r.enter(path))
		}
	case "status":
		return t.status(r, r.enter(path))
	}
	return answer{}, errNotFound(escaped)
}

// enter goes into the folder that path begins with, and returns the rest.
func (r *request) enter(path []string) []string {
	r.base += url.PathEscape(path[0]) + "/"
	return path[1:]
}

func (r *request) notFound() (answer, *apiError) { return answer{}, errNotFound(r.URL.EscapedPath()) }

// child is an entry of a folder.
type child struct {
	name   string
	folder bool
}

// folder answers for a folder: it can be listed, nothing else.
func (r *request) folder(children ...child) (answer, *apiError) {
	if err := r.reading("folder"); err != nil {
		return answer{}, err
	}
	b := make([]byte, 0, 32+len(children)*(2*len(r.base)+40))
	b = append(b, `{"children":[`...)
	for i, c := range children {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, `{"name":`...), c.name)
		b = append(append(b, `,"href":"`...), r.base...)
		b = append(b, url.PathEscape(c.name)...) // needs no JSON escapes
		if c.folder {
			b = append(b, '/')
		}
		b = append(b, `"}`...)
	}
	return answer{status: http.StatusOK, body: append(b, "]}"...)}, nil
}

// reading refuses every method but GET and HEAD.
func (r *request) reading(what string) *apiError {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return nil
	case http.MethodPut, http.MethodDelete:
		return errForbidden("A " + what + " cannot be created, changed or deleted")
	}
	return errMethod(r.Method, "GET, HEAD")
}

// readBody reads a PUT body of at most limit bytes.
func (r *request) readBody(limit int64) ([]byte, *apiError) {
	if r.ContentLength > limit {
		return nil, errTooLarge(limit)
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, errTooLarge(limit)
	case err != nil:
		return nil, errIncomplete(err)
	}
	return body, nil
}

// mediaType accepts the Content-Types that suit; none at all is accepted, as a
// client of API 1.0 sends it: vtm/rest.md §9.
func (r *request) mediaType(suitable ...string) *apiError {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && coding != "identity" {
		return errMediaType(coding, strings.Join(suitable, " or ")+" without Content-Encoding")
	}
	given := r.Header.Get("Content-Type")
	if given == "" {
		return nil
	}
	if media, _, err := mime.ParseMediaType(given); err == nil && slices.Contains(suitable, media) {
		return nil
	}
	return errMediaType(given, strings.Join(suitable, " or "))
}
