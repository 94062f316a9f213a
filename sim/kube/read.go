package kube

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"

	"vtm-ingress/sim/kube/store"
)

// Get returns a copy of the object name of the request's namespace.
func (r *resource) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	if options != nil {
		if _, err := r.reached(options.ResourceVersion); err != nil {
			return nil, err
		}
	}
	obj := r.table.Get(r.key(ctx, name))
	if rules, since := r.befallen(ctx, "stale"); len(rules) > 0 {
		items, err := r.table.At(r.key(ctx, name), since[0])
		if at := slices.IndexFunc(items, func(i store.Item) bool { return i.Key == r.key(ctx, name) }); err == nil {
			obj = nil
			if at >= 0 {
				obj = items[at].Object
			}
		}
	}
	if obj == nil {
		return nil, r.notFound(name)
	}
	return r.present(obj), nil
}

// reached reads a resourceVersion ("" is 0) and fails for one that does not
// exist yet. A real server waits 3 s for it first; here nothing is ever late.
func (r *resource) reached(resourceVersion string) (uint64, error) {
	if resourceVersion == "" {
		return 0, nil
	}
	revision, err := strconv.ParseUint(resourceVersion, 10, 64)
	if err != nil {
		return 0, apierrors.NewBadRequest("resourceVersion " + strconv.Quote(resourceVersion) + " is not a number: use one that this server gave")
	}
	if now := r.store.Revision(); revision > now {
		return 0, storage.NewTooLargeResourceVersionError(revision, now, 1)
	}
	return revision, nil
}

// expiredContinue is told with an inconsistent continue token, with which a
// client may go on in the list as it is now.
const expiredContinue = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list."

// page is one answer to a list request.
type page struct {
	objects   []runtime.Object // as show gives them, in the order of keys
	revision  uint64
	next      string // continue token, "" at the end
	remaining *int64 // nil where not known
}

// List answers a list request: sorted by namespace and name, in chunks if a
// limit is asked for. All chunks show the revision of the first.
func (r *resource) List(ctx context.Context, options *internalversion.ListOptions) (runtime.Object, error) {
	if options == nil {
		options = &internalversion.ListOptions{}
	}
	p, err := r.page(ctx, options)
	if err != nil {
		return nil, err
	}
	list := r.NewList()
	if err := meta.SetList(list, p.objects); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	accessor.SetResourceVersion(strconv.FormatUint(p.revision, 10))
	accessor.SetContinue(p.next)
	accessor.SetRemainingItemCount(p.remaining)
	return list, nil
}

func (r *resource) page(ctx context.Context, options *internalversion.ListOptions) (page, error) {
	prefix := r.prefix(ctx)
	items, revision, from, err := r.snapshot(ctx, prefix, options)
	if err != nil {
		return page{}, err
	}
	wanted := r.selection(options.LabelSelector, options.FieldSelector)
	p := page{revision: revision}
	for i, item := range items {
		if item.Key < from {
			continue
		}
		if options.Limit > 0 && int64(len(p.objects)) == options.Limit {
			// A token begins with the key of the next possible object, below the
			// prefix, as it does on a real server.
			if p.next, err = storage.EncodeContinue("/"+item.Key, "/"+prefix, int64(revision)); err != nil {
				return page{}, apierrors.NewInternalError(err)
			}
			if wanted.all() {
				remaining := int64(len(items) - i)
				p.remaining = &remaining
			}
			break
		}
		if obj := r.show(item.Object); wanted.matches(obj) {
			p.objects = append(p.objects, obj)
		}
	}
	return p, nil
}

// snapshot returns the objects as the options want to see them, the revision
// they are of, and the first key that is asked for.
func (r *resource) snapshot(ctx context.Context, prefix string, options *internalversion.ListOptions) (items []store.Item, revision uint64, from string, err error) {
	if options.Continue != "" {
		return r.resume(prefix, options)
	}
	revision, err = r.reached(options.ResourceVersion)
	if err != nil {
		return nil, 0, "", err
	}
	// Without resourceVersionMatch, a limit together with a revision means
	// exactly that revision (the older API's rule).
	exact := options.ResourceVersionMatch == metav1.ResourceVersionMatchExact ||
		options.ResourceVersionMatch == "" && options.Limit > 0
	if !exact || revision == 0 {
		items, revision = r.latest(ctx, prefix)
		return items, revision, "", nil
	}
	items, err = r.table.At(prefix, revision)
	if errors.Is(err, store.ErrExpired) {
		err = apierrors.NewResourceExpired("The resourceVersion for the provided list is too old.")
	}
	return items, revision, "", err
}

// resume is snapshot for the chunks after the first.
func (r *resource) resume(prefix string, options *internalversion.ListOptions) ([]store.Item, uint64, string, error) {
	if options.ResourceVersion != "" && options.ResourceVersion != "0" {
		return nil, 0, "", apierrors.NewBadRequest("specifying resource version is not allowed when using continue")
	}
	from, at, err := storage.DecodeContinue(options.Continue, "/"+prefix)
	if err != nil {
		return nil, 0, "", apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	from = strings.TrimPrefix(from, "/")
	if at < 0 { // an inconsistent token: go on in the list as it is now
		items, revision := r.table.Latest(prefix)
		return items, revision, from, nil
	}
	items, err := r.table.At(prefix, uint64(at))
	switch {
	case errors.Is(err, store.ErrExpired):
		expired := apierrors.NewResourceExpired(expiredContinue)
		if expired.ErrStatus.Continue, err = storage.EncodeContinue("/"+from, "/"+prefix, -1); err != nil {
			return nil, 0, "", apierrors.NewInternalError(err)
		}
		return nil, 0, "", expired
	case err != nil:
		return nil, 0, "", apierrors.NewBadRequest("invalid continue token: " + err.Error())
	}
	return items, uint64(at), from, nil
}
