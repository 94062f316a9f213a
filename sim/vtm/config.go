package vtm

import (
	"context"
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
	body, err := r.readBody(maxJSONBody)
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
	w := Write{User: r.user, Method: r.Method}
	event := dataplane.Event{Level: "INFO"}
	switch {
	case next == nil:
		w.Status, w.Path, event.Section = http.StatusNoContent, old.id(), confName(old)
		event.Tag, event.Text = "confdel", "Configuration file deleted"
	case old == nil:
		w.Status, w.Path, event.Section = http.StatusCreated, next.id(), confName(next)
		event.Tag, event.Text = "confadd", "Configuration file added"
	default:
		w.Status, w.Path, event.Section = http.StatusOK, next.id(), confName(next)
		event.Tag, event.Text = "confmod", "Configuration file modified"
		if next.kind.class == files {
			w.Status = http.StatusNoContent
		}
	}
	w.Time = t.o.World.Clock().Now()
	t.lastWrite.Store(w.Time.UnixNano())
	t.commit(old, next)
	t.record.write(w)
	t.logEvent(event)
	t.apply(old, next)
	return nil
}

// commit puts a change into the store.
func (t *TrafficManager) commit(old, next *resource) {
	if next == nil {
		t.store.delete(old.kind, old.name)
	} else {
		t.store.put(next)
	}
	if t.strict != nil {
		t.strict.changed(old, next)
	}
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
