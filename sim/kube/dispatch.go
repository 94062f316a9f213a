package kube

import (
	"context"
	"fmt"
	"net/http"
	"runtime/debug"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/warning"
)

// dispatcher finds who answers a request. It does what a real server's filters
// and router do: authentication, the request's context, paths and methods.
type dispatcher struct {
	api       *api
	endpoints map[endpointKey]*endpoint
	documents http.Handler // discovery, OpenAPI, health, version
	paths     request.RequestInfoFactory
}

func newDispatcher(a *api) (*dispatcher, error) {
	endpoints, err := a.endpoints()
	if err != nil {
		return nil, err
	}
	return &dispatcher{
		api:       a,
		endpoints: endpoints,
		documents: newDocuments(a, endpoints),
		paths: request.RequestInfoFactory{
			APIPrefixes:          sets.NewString("api", "apis"),
			GrouplessAPIPrefixes: sets.NewString("api"),
		},
	}, nil
}

func (d *dispatcher) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	defer func() {
		if reason := recover(); reason != nil {
			if reason == http.ErrAbortHandler {
				panic(reason)
			}
			d.api.log.Error("request panicked", "method", req.Method, "path", req.URL.Path, "reason", reason, "stack", string(debug.Stack()))
			d.fail(w, req, apierrors.NewInternalError(fmt.Errorf("this request caused apiserver to panic. Look in the logs for details")))
		}
	}()
	who, ok := d.api.identity.authenticate(req)
	if !ok || who == nil && !public(req.URL.Path) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="kubernetes"`)
		d.fail(w, req, apierrors.NewUnauthorized("Unauthorized"))
		return
	}
	info, err := d.paths.NewRequestInfo(req)
	if err != nil {
		http.NotFound(w, req)
		return
	}
	req = req.WithContext(d.context(req.Context(), w, info, who))
	if !info.IsResourceRequest {
		d.documents.ServeHTTP(w, req)
		return
	}
	d.serveResource(w, req, info)
}

// public tells what anybody may see, as a new cluster's roles allow it.
func public(path string) bool {
	switch strings.TrimSuffix(path, "/") {
	case "/healthz", "/livez", "/readyz", "/version":
		return true
	}
	return false
}

// context carries what the handlers of k8s.io/apiserver ask a request for.
func (d *dispatcher) context(ctx context.Context, w http.ResponseWriter, info *request.RequestInfo, who *user.DefaultInfo) context.Context {
	ctx = request.WithRequestInfo(ctx, info)
	if who != nil {
		ctx = request.WithUser(ctx, who)
	}
	ctx = audit.WithAuditContext(ctx)
	ctx = request.WithReceivedTimestamp(ctx, d.api.clock.Now())
	return warning.WithWarningRecorder(ctx, &warnings{header: w.Header(), told: map[string]bool{}})
}

func (d *dispatcher) serveResource(w http.ResponseWriter, req *http.Request, info *request.RequestInfo) {
	e := d.endpoints[endpointKey{info.APIGroup, info.APIVersion, info.Resource, info.Subresource}]
	if e == nil || len(info.Parts) > 3 || (info.APIPrefix == "api") != (info.APIGroup == "") {
		http.NotFound(w, req)
		return
	}
	// "watch" before the resource is the old form of ?watch=true.
	oldWatch := strings.HasPrefix(req.URL.Path, e.root()+"/watch/")
	// (info.Name is also set by a field selector for a name.)
	named := len(info.Parts) > 1
	// A namespaced resource has a name only in a namespace; what has no
	// namespace is not found below one.
	namespaced := info.Namespace != "" && info.Resource != "namespaces"
	if e.resource.Namespaced != namespaced && (namespaced || named) {
		http.NotFound(w, req)
		return
	}
	allowed := e.item
	switch {
	case oldWatch:
		allowed = map[string]http.Handler{}
		if e.watch != nil {
			allowed[http.MethodGet] = e.watch
		}
	case !named && e.resource.Namespaced && !namespaced:
		allowed = map[string]http.Handler{}
		if list := e.collection[http.MethodGet]; list != nil {
			allowed[http.MethodGet] = list
		}
	case !named:
		allowed = e.collection
	}
	if len(allowed) == 0 {
		http.NotFound(w, req)
		return
	}
	method := req.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	handler := allowed[method]
	if handler == nil {
		d.fail(w, req, apierrors.NewMethodNotSupported(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, strings.ToLower(req.Method)))
		return
	}
	if who, ok := request.UserFrom(req.Context()); ok && d.api.refused(info, who) {
		d.fail(w, req, apierrors.NewForbidden(schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Name,
			fmt.Errorf("User %q cannot %s resource %q in API group %q in the namespace %q", who.GetName(), info.Verb, info.Resource, info.APIGroup, info.Namespace)))
		return
	}
	if err := d.completeWatch(req, oldWatch || info.Verb == "watch"); err != nil {
		d.fail(w, req, err)
		return
	}
	handler.ServeHTTP(w, req)
}

// root is the path of the endpoint's group and version.
func (e *endpoint) root() string {
	if e.gv.Group == "" {
		return "/api/" + e.gv.Version
	}
	return "/apis/" + e.gv.Group + "/" + e.gv.Version
}

// completeWatch gives a watch without a time-out the same one each time, where
// the handlers would draw one, and refuses what this version does not know.
func (d *dispatcher) completeWatch(req *http.Request, isWatch bool) error {
	if !isWatch {
		return nil
	}
	query := req.URL.Query()
	if query.Has("sendInitialEvents") && !d.api.version.atLeast(32) {
		return apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "ListOptions"}, "", field.ErrorList{
			field.Forbidden(field.NewPath("sendInitialEvents"), "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"),
		})
	}
	if seconds := query.Get("timeoutSeconds"); seconds == "" || seconds == "0" {
		query.Set("timeoutSeconds", fmt.Sprint(int(watchTimeout.Seconds())))
		req.URL.RawQuery = query.Encode()
	}
	return nil
}

// fail answers err as a Status.
func (d *dispatcher) fail(w http.ResponseWriter, req *http.Request, err error) {
	responsewriters.ErrorNegotiated(err, d.api.codecs, schema.GroupVersion{Version: "v1"}, w, req)
}

// warnings adds Warning headers to an answer that has not begun. A request's
// handlers call it from one goroutine.
type warnings struct {
	header http.Header
	told   map[string]bool
	length int
}

// maxWarnings bounds the length of all warnings of one answer, in bytes.
const maxWarnings = 4096

func (w *warnings) AddWarning(agent, text string) {
	if agent == "" {
		agent = "-"
	}
	if text == "" || w.told[text] {
		return
	}
	w.told[text] = true
	header, err := utilnet.NewWarningHeader(299, agent, text)
	if err != nil || w.length+len(header) > maxWarnings {
		return
	}
	w.length += len(header)
	w.header.Add("Warning", header)
}
