package kube

import (
	"context"
	"fmt"
	"net/http"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/endpoints/handlers"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

var tokenRequestKind = authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")

// review is a question that a client posts and gets back with the answer;
// nothing is stored.
type review struct {
	resource schema.GroupVersionResource
	kind     string
	singular string
	fresh    func() runtime.Object
	answer   func(ctx context.Context, obj runtime.Object) error
}

// reviews are those that this version serves.
func (a *api) reviews() []review {
	all := []review{{
		resource: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectaccessreviews"),
		kind:     "SelfSubjectAccessReview", singular: "selfsubjectaccessreview",
		fresh:  func() runtime.Object { return &authorizationv1.SelfSubjectAccessReview{} },
		answer: answerAccessReview,
	}, {
		resource: authorizationv1.SchemeGroupVersion.WithResource("selfsubjectrulesreviews"),
		kind:     "SelfSubjectRulesReview", singular: "selfsubjectrulesreview",
		fresh:  func() runtime.Object { return &authorizationv1.SelfSubjectRulesReview{} },
		answer: answerRulesReview,
	}}
	if a.version.atLeast(28) {
		all = append(all, review{
			resource: authenticationv1.SchemeGroupVersion.WithResource("selfsubjectreviews"),
			kind:     "SelfSubjectReview", singular: "selfsubjectreview",
			fresh:  func() runtime.Object { return &authenticationv1.SelfSubjectReview{} },
			answer: answerSubjectReview,
		})
	}
	return all
}

// answerAccessReview allows: there is no authorization here.
func answerAccessReview(_ context.Context, obj runtime.Object) error {
	question := obj.(*authorizationv1.SelfSubjectAccessReview)
	if (question.Spec.ResourceAttributes == nil) == (question.Spec.NonResourceAttributes == nil) {
		return apierrors.NewInvalid(authorizationv1.SchemeGroupVersion.WithKind("SelfSubjectAccessReview").GroupKind(), "", field.ErrorList{
			field.Invalid(field.NewPath("spec", "resourceAttributes"), question.Spec.ResourceAttributes, "exactly one of nonResourceAttributes or resourceAttributes must be specified"),
		})
	}
	question.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "everything is allowed on an emulated API server"}
	return nil
}

// answerRulesReview tells the rules of who may do everything.
func answerRulesReview(_ context.Context, obj runtime.Object) error {
	all := []string{"*"}
	obj.(*authorizationv1.SelfSubjectRulesReview).Status = authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    []authorizationv1.ResourceRule{{Verbs: all, APIGroups: all, Resources: all}},
		NonResourceRules: []authorizationv1.NonResourceRule{{Verbs: all, NonResourceURLs: all}},
	}
	return nil
}

func answerSubjectReview(ctx context.Context, obj runtime.Object) error {
	who, ok := request.UserFrom(ctx)
	if !ok {
		return apierrors.NewBadRequest("no user on this request")
	}
	question := obj.(*authenticationv1.SelfSubjectReview)
	question.Status.UserInfo = authenticationv1.UserInfo{Username: who.GetName(), UID: who.GetUID(), Groups: who.GetGroups()}
	return nil
}

type reviewResource struct{ review }

var _ rest.Creater = reviewResource{}

func (r reviewResource) New() runtime.Object { return r.fresh() }

func (r reviewResource) Create(ctx context.Context, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	if err := r.answer(ctx, obj); err != nil {
		return nil, err
	}
	return obj, nil
}

func (a *api) reviewEndpoint(r review) (*endpoint, error) {
	kind := r.resource.GroupVersion().WithKind(r.kind)
	scope, err := a.scope(scopeOf{resource: r.resource, kind: kind})
	if err != nil {
		return nil, err
	}
	return &endpoint{
		gv:         r.resource.GroupVersion(),
		collection: map[string]http.Handler{http.MethodPost: perRequest(func() http.HandlerFunc { return handlers.CreateResource(reviewResource{r}, scope, nil) })},
		resource:   metav1.APIResource{Name: r.resource.Resource, SingularName: r.singular, Kind: r.kind, Verbs: metav1.Verbs{"create"}},
	}, nil
}

// tokenResource gives tokens to service accounts (TokenRequest).
type tokenResource struct{ accounts *resource }

const (
	defaultTokenLife = time.Hour
	minTokenLife     = 10 * time.Minute
	maxTokenLife     = 1 << 32 * time.Second
)

func (t *tokenResource) New() runtime.Object { return &authenticationv1.TokenRequest{} }

func (t *tokenResource) Create(ctx context.Context, name string, obj runtime.Object, _ rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	asked, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a TokenRequest, got %T", obj))
	}
	if _, err := t.accounts.Get(ctx, name, nil); err != nil {
		return nil, err
	}
	seconds := int64(defaultTokenLife / time.Second)
	if asked.Spec.ExpirationSeconds != nil {
		seconds = *asked.Spec.ExpirationSeconds
	}
	at := field.NewPath("spec", "expirationSeconds")
	var errs field.ErrorList
	if seconds < int64(minTokenLife/time.Second) {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration less than 10 minutes"))
	}
	if seconds > int64(maxTokenLife/time.Second) {
		errs = append(errs, field.Invalid(at, seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(errs) > 0 {
		return nil, apierrors.NewInvalid(tokenRequestKind.GroupKind(), name, errs)
	}
	life := time.Duration(seconds) * time.Second
	token, expires := t.accounts.identity.temporaryToken(request.NamespaceValue(ctx), name, life)
	asked.Name, asked.Namespace = name, request.NamespaceValue(ctx)
	asked.CreationTimestamp = t.accounts.now()
	asked.Spec.ExpirationSeconds = &seconds
	asked.Status = authenticationv1.TokenRequestStatus{Token: token, ExpirationTimestamp: metav1.NewTime(expires)}
	return asked, nil
}
