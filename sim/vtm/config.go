package vtm

import (
	"context"
	"hash/fnv"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"vtm-ingress/sim/dataplane"
)

// config answers for what is below config/active.
func (t *TrafficManager) config(r *request, path []string) (answer, *apiError) {
	at := t.schema.root
	for at.kind == nil {
		if len(path) == 0 {
			children := make([]child, len(at.names))
			for i, name := range at.names {
				kind := at.children[name].kind
				children[i] = child{name, kind == nil || kind.class != singleton}
			}
			return r.folder(children...)
		}
		next := at.children[path[0]]
		if next == nil {
			if r.Method == http.MethodPut && len(path) == 1 {
				return answer{}, errForbidden("Nothing can be created in this folder")
			}
			return r.notFound()
		}
		at, path = next, r.enter(path)
	}
	kind := at.kind
	if err := r.permitted(kind.path); err != nil {
		return answer{}, err
	}
	r.about = func() *metadata { return kind.metadata(r.expert) }
	switch {
	case kind.class == singleton && len(path) == 0:
		return t.resource(r, kind, "")
	case kind.class != singleton && len(path) == 0:
		names := t.store.names(kind)
		children := make([]child, len(names))
		for i, name := range names {
			children[i] = child{name, false}
		}
		return r.folder(children...)
	case kind.class != singleton && len(path) == 1:
		return t.resource(r, kind, path[0])
	}
	return r.notFound()
}

// Configuration shows what t holds of a type, such as "pools", by name: what a GET of
// each would answer with.
func (t *TrafficManager) Configuration(path string) map[string][]byte {
	kind := t.schema.types[path]
	if kind == nil {
		return nil
	}
	all := map[string][]byte{}
	for _, name := range t.store.names(kind) {
		if found := t.store.get(kind, name); found != nil {
			all[name] = shownAs(found, nil, http.StatusOK).body
		}
	}
	return all
}

func (t *TrafficManager) resource(r *request, kind *resourceType, name string) (answer, *apiError) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		found := t.store.get(kind, name)
		if found == nil {
			return r.notFound()
		}
		return shownAs(found, r.expert, http.StatusOK), nil
	case http.MethodPut:
		if err := checkName(kind, name); err != nil {
			return answer{}, err
		}
		if kind.class == files {
			return t.putFile(r, kind, name)
		}
		return t.putJSON(r, kind, name)
	case http.MethodDelete:
		return t.deleteResource(r, kind, name)
	}
	return answer{}, errMethod(r.Method, "GET, HEAD, PUT, DELETE")
}

func shownAs(res *resource, expert shown, status int) answer {
	if res.kind.class == files {
		// Not nil, so that an empty file has a Content-Type too.
		return answer{status: status, body: append([]byte{}, res.content...), raw: true}
	}
	return answer{status: status, body: appendResource(make([]byte, 0, 4096), res, expert)}
}

// checkName refuses names that could not be names of files: a resource is one
// on a real traffic manager (vtm/rest.md §6).
func checkName(kind *resourceType, name string) *apiError {
	switch {
	case kind.class == singleton:
		return nil
	case len(name) > 255:
		return errName("it is longer than 255 bytes")
	case !utf8.ValidString(name):
		return errName("it is not UTF-8")
	case strings.HasPrefix(name, "."):
		return errName("it begins with a dot")
	case strings.Contains(name, "/"):
		return errName("it holds a slash")
	case strings.ContainsFunc(name, unicode.IsControl):
		return errName("it holds a control character")
	}
	return nil
}

func (t *TrafficManager) putFile(r *request, kind *resourceType, name string) (answer, *apiError) {
	if err := r.mediaType("application/octet-stream", "text/plain"); err != nil {
		return answer{}, err
	}
	content, err := r.readBody(maxFileBody)
	if err != nil {
		return answer{}, err
	}
	status := http.StatusNoContent
	err = t.change(r, func() (*resource, *resource, *apiError) {
		old := t.store.get(kind, name)
		next := &resource{kind: kind, name: name, content: content}
		if old == nil {
			status = http.StatusCreated
		} else {
			next.builtin = old.builtin
		}
		return old, next, nil
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: status}, nil
}

func (t *TrafficManager) putJSON(r *request, kind *resourceType, name string) (answer, *apiError) {
	if err := r.mediaType("application/json", "application/octet-stream"); err != nil {
		return answer{}, err
	}
	body, err := r.readBody(int64(t.restLimit("http_max_resource_body_length", maxJSONBody)))
	if err != nil {
		return answer{}, err
	}
	status := http.StatusOK
	var written *resource
	err = t.change(r, func() (*resource, *resource, *apiError) {
		old := t.store.get(kind, name)
		if old == nil {
			status = http.StatusCreated
		}
		next, err := merge(kind, name, old, body, r.expert)
		written = next
		return old, next, err
	})
	if err != nil {
		return answer{}, err
	}
	return shownAs(written, r.expert, status), nil
}

func (t *TrafficManager) deleteResource(r *request, kind *resourceType, name string) (answer, *apiError) {
	if kind.class == singleton {
		return answer{}, errForbidden("This resource is part of the traffic manager and cannot be deleted")
	}
	err := t.change(r, func() (*resource, *resource, *apiError) {
		old := t.store.get(kind, name)
		switch {
		case old == nil:
			return nil, nil, errNotFound(r.URL.EscapedPath())
		case old.builtin:
			return nil, nil, errForbidden("This resource is built in and cannot be deleted")
		}
		return old, nil, nil
	})
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusNoContent}, nil
}

// change makes one change of the configuration: decide says from what (nil:
// created) to what (nil: deleted). Changes happen one after the other, and each
// is in effect on the data plane when change returns. A refused one leaves no
// trace.
func (t *TrafficManager) change(r *request, decide func() (old, next *resource, err *apiError)) *apiError {
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	if err := t.changeHere(ctx, r, decide); err != nil {
		return err
	}
	// Without the token, which other members' changes need.
	t.replicateNow(ctx)
	return nil
}

func (t *TrafficManager) changeHere(ctx context.Context, r *request, decide func() (old, next *resource, err *apiError)) *apiError {
	select {
	case t.writing <- struct{}{}:
		defer func() { <-t.writing }()
	case <-ctx.Done():
		return errBusy()
	}
	old, next, err := decide()
	if err != nil {
		return err
	}
	if err := t.refuse(old, next); err != nil {
		return err
	}
	written := next
	if next == nil {
		written = &resource{kind: old.kind, name: old.name, deleted: true}
	}
	now := t.o.World.Clock().Now()
	written.stamp = nextStamp(t.store.last(written.kind, written.name), now, t.o.Name)
	if err := t.diskError(); err != nil {
		return errDisk(err)
	}
	if err := t.commit(written); err != nil {
		return errDisk(err)
	}
	w := Write{Time: now, User: r.user, Method: r.Method, Path: written.id(), Agent: shortAgent(r.UserAgent()), Member: t.o.Name,
		Holds: hashOf(next), Repeated: r.Context().Value(repeated{}) != nil}
	switch {
	case next == nil, old != nil && next.kind.class == files:
		w.Status = http.StatusNoContent
	case old == nil:
		w.Status = http.StatusCreated
	default:
		w.Status = http.StatusOK
	}
	t.lastWrite.Store(now.UnixNano())
	t.record.write(w)
	t.logEvent(confEvent(old != nil, written))
	var u dataplane.Update
	if t.update(&u, written) {
		t.data.Apply(u)
	}
	t.noteChange(written)
	return nil
}

// hashOf tells contents of resources apart; nil has 0.
func hashOf(r *resource) uint64 {
	if r == nil {
		return 0
	}
	h := fnv.New64a()
	h.Write(shownAs(r, nil, http.StatusOK).body)
	return max(h.Sum64(), 1)
}

// commit puts a change into the store. It fails only where the configuration is
// kept in files; then nothing is changed.
func (t *TrafficManager) commit(r *resource) error {
	old := t.store.get(r.kind, r.name)
	if err := t.put(r); err != nil {
		return err
	}
	if t.strict != nil {
		if r.deleted {
			if old != nil {
				t.strict.changed(old, nil)
			}
		} else {
			t.strict.changed(old, r)
		}
	}
	return nil
}

// put stores a resource or a tombstone, on the disk first. When it fails nothing
// is changed.
func (t *TrafficManager) put(r *resource) error {
	if t.disk != nil {
		if err := t.disk.write(r); err != nil {
			return err
		}
	}
	t.store.put(r)
	t.reactions.forget(r.kind)
	return nil
}

// confEvent is the event log's line for a change.
func confEvent(existed bool, r *resource) dataplane.Event {
	e := dataplane.Event{Level: "INFO", Section: confName(r)}
	switch {
	case r.deleted:
		e.Tag, e.Text = "confdel", "Configuration file deleted"
	case existed:
		e.Tag, e.Text = "confmod", "Configuration file modified"
	default:
		e.Tag, e.Text = "confadd", "Configuration file added"
	}
	return e
}

// confName is the section of event log lines about a resource: its file below
// the configuration directory (vtm/runtime.md, "Processes and administration").
func confName(r *resource) string {
	switch r.kind.path {
	case "virtual_servers":
		return "vservers/" + r.name
	case "traffic_ip_groups":
		return "flipper/" + r.name
	case "traffic_managers":
		return "zxtms/" + r.name
	case "extra_files":
		return "extra/" + r.name
	}
	return r.id()
}
