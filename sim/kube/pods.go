package kube

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
)

// bindingResource is how a scheduler puts a Pod onto a node.
type bindingResource struct{ pods *resource }

func (b *bindingResource) New() runtime.Object { return &corev1.Binding{} }

func (b *bindingResource) Create(ctx context.Context, name string, obj runtime.Object, _ rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	binding, ok := obj.(*corev1.Binding)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Binding, got %T", obj))
	}
	target := field.NewPath("target")
	var errs field.ErrorList
	if binding.Target.Kind != "" && binding.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), binding.Target.Kind, []string{"Node", "<empty>"}))
	}
	if binding.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Binding").GroupKind(), name, errs)
	}
	bind := &podChange{uid: binding, change: func(pod *corev1.Pod) error {
		if pod.DeletionTimestamp != nil {
			return apierrors.NewConflict(b.pods.groupResource(), name, fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", name))
		}
		if pod.Spec.NodeName != "" {
			return apierrors.NewConflict(b.pods.groupResource(), name, fmt.Errorf("pod %s is already assigned to node %q", name, pod.Spec.NodeName))
		}
		pod.Spec.NodeName = binding.Target.Name
		for key, value := range binding.Annotations {
			metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
		}
		setPodScheduled(pod, b.pods.now())
		return nil
	}}
	_, _, err := b.pods.update(ctx, name, bind, nil, nil, false, &metav1.UpdateOptions{DryRun: options.DryRun}, bindStrategy{b.pods.rules})
	if err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

// bindStrategy lets the server itself change what no client may.
type bindStrategy struct{ strategy }

func (bindStrategy) AllowCreateOnUpdate(context.Context) bool                         { return false }
func (bindStrategy) PrepareForUpdate(context.Context, runtime.Object, runtime.Object) {}
func (bindStrategy) ValidateUpdate(context.Context, runtime.Object, runtime.Object) field.ErrorList {
	return nil
}

func setPodScheduled(pod *corev1.Pod, now metav1.Time) {
	condition := corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: now}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			pod.Status.Conditions[i] = condition
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, condition)
}

// podChange is an update that the server itself makes.
type podChange struct {
	uid    metav1.Object // whose UID, where set, must be the Pod's
	change func(*corev1.Pod) error
}

func (c *podChange) Preconditions() *metav1.Preconditions {
	if uid := c.uid.GetUID(); uid != "" {
		return &metav1.Preconditions{UID: &uid}
	}
	return nil
}

func (c *podChange) UpdatedObject(_ context.Context, old runtime.Object) (runtime.Object, error) {
	pod, ok := old.DeepCopyObject().(*corev1.Pod)
	if !ok {
		return nil, apierrors.NewInternalError(fmt.Errorf("expected a Pod, got %T", old))
	}
	return pod, c.change(pod)
}

// evictionResource deletes a Pod, as kubectl drain asks for it. There are no
// disruption budgets.
type evictionResource struct{ pods *resource }

var _ rest.GroupVersionAcceptor = (*evictionResource)(nil)

// evictionVersion is that of the Evictions which this version tells clients to
// send.
func (a *api) evictionVersion() schema.GroupVersion {
	if a.version.atLeast(22) {
		return policyv1.SchemeGroupVersion
	}
	return policyv1beta1.SchemeGroupVersion
}

// AcceptsGroupVersion: both forms are taken by every version, as the only
// difference is their name.
func (e *evictionResource) AcceptsGroupVersion(gv schema.GroupVersion) bool {
	return gv == policyv1.SchemeGroupVersion || gv == policyv1beta1.SchemeGroupVersion
}

// addEvictions registers both forms of Eviction.
func addEvictions(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(policyv1.SchemeGroupVersion, &policyv1.Eviction{})
	scheme.AddKnownTypes(policyv1beta1.SchemeGroupVersion, &policyv1beta1.Eviction{})
	return scheme.AddConversionFunc((*policyv1beta1.Eviction)(nil), (*policyv1.Eviction)(nil), func(from, to any, _ conversion.Scope) error {
		old := from.(*policyv1beta1.Eviction)
		*to.(*policyv1.Eviction) = policyv1.Eviction{ObjectMeta: old.ObjectMeta, DeleteOptions: old.DeleteOptions}
		return nil
	})
}

func (e *evictionResource) New() runtime.Object { return &policyv1.Eviction{} }

func (e *evictionResource) Create(ctx context.Context, name string, obj runtime.Object, _ rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	eviction, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected an Eviction, got %T", obj))
	}
	if eviction.Name != "" && eviction.Name != name {
		return nil, apierrors.NewBadRequest("name in URL does not match name in Eviction object")
	}
	deletion := eviction.DeleteOptions
	if deletion == nil {
		deletion = &metav1.DeleteOptions{}
	}
	if dryrun.IsDryRun(options.DryRun) {
		deletion.DryRun = options.DryRun
	}
	if _, _, err := e.pods.Delete(ctx, name, nil, deletion); err != nil {
		return nil, err
	}
	return &metav1.Status{Status: metav1.StatusSuccess, Code: http.StatusCreated}, nil
}

// podLogs streams what a node keeps of a container's output.
type podLogs struct{ pods *resource }

func (l *podLogs) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	stream, err := l.open(req)
	if err != nil {
		responsewriters.ErrorNegotiated(err, l.pods.codecs, corev1.SchemeGroupVersion, w, req)
		return
	}
	defer stream.Close()
	w.Header().Set("Content-Type", "text/plain")
	w.WriteHeader(http.StatusOK)
	flusher, _ := w.(http.Flusher)
	buffer := make([]byte, 32<<10)
	for {
		n, err := stream.Read(buffer)
		if n > 0 {
			if _, err := w.Write(buffer[:n]); err != nil {
				return
			}
			if flusher != nil {
				flusher.Flush()
			}
		}
		if err != nil { // io.EOF, or the node is gone: the answer ends either way
			return
		}
	}
}

func (l *podLogs) open(req *http.Request) (io.ReadCloser, error) {
	ctx := req.Context()
	info, _ := request.RequestInfoFrom(ctx)
	ctx = request.WithNamespace(ctx, info.Namespace)
	obj, err := l.pods.Get(ctx, info.Name, nil)
	if err != nil {
		return nil, err
	}
	pod := obj.(*corev1.Pod)
	options, err := logOptions(req.URL.Query())
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := chooseContainer(pod, options); err != nil {
		return nil, err
	}
	if pod.Spec.NodeName == "" { // nothing has run yet
		return io.NopCloser(strings.NewReader("")), nil
	}
	if l.pods.logs == nil {
		status := apierrors.NewNotFound(corev1.Resource("pods/log"), pod.Name)
		status.ErrStatus.Message = fmt.Sprintf("no log of pod %s: this API server has no nodes to ask for logs", pod.Name)
		return nil, status
	}
	return l.pods.logs(ctx, pod.Namespace, pod.Name, *options)
}

// chooseContainer completes options.Container.
func chooseContainer(pod *corev1.Pod, options *corev1.PodLogOptions) error {
	if options.Container == "" {
		if len(pod.Spec.Containers) != 1 {
			return apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s", pod.Name))
		}
		options.Container = pod.Spec.Containers[0].Name
		return nil
	}
	for _, containers := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for _, c := range containers {
			if c.Name == options.Container {
				return nil
			}
		}
	}
	return apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", options.Container, pod.Name))
}

// logOptions reads the query of a log request.
func logOptions(query url.Values) (*corev1.PodLogOptions, error) {
	o := &corev1.PodLogOptions{Container: query.Get("container")}
	for _, option := range []struct {
		name string
		to   *bool
	}{{"follow", &o.Follow}, {"previous", &o.Previous}, {"timestamps", &o.Timestamps}} {
		if value := query.Get(option.name); value != "" {
			b, err := strconv.ParseBool(value)
			if err != nil {
				return nil, fmt.Errorf("%s=%q: give true or false", option.name, value)
			}
			*option.to = b
		}
	}
	for _, option := range []struct {
		name string
		to   **int64
	}{{"tailLines", &o.TailLines}, {"limitBytes", &o.LimitBytes}, {"sinceSeconds", &o.SinceSeconds}} {
		if value := query.Get(option.name); value != "" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n < 0 {
				return nil, fmt.Errorf("%s=%q: give a number, 0 or more", option.name, value)
			}
			*option.to = &n
		}
	}
	return o, nil
}
