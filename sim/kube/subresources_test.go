package kube_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	policyv1beta1 "k8s.io/api/policy/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"

	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
	"vtm-ingress/sim/kube"
)

func TestStatusAndSpecAreApart(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	ingresses := c.NetworkingV1().Ingresses(here)
	address := networkingv1.IngressStatus{LoadBalancer: networkingv1.IngressLoadBalancerStatus{Ingress: []networkingv1.IngressLoadBalancerIngress{{IP: "10.1.2.3"}}}}
	web := ingress("web")
	web.Status = address
	made, err := ingresses.Create(ctx, web, metav1.CreateOptions{})
	if err != nil || len(made.Status.LoadBalancer.Ingress) != 0 || made.Generation != 1 {
		t.Fatalf("a created Ingress has status %+v, generation %d, %v", made.Status, made.Generation, err)
	}
	made.Status = address
	made.Spec.DefaultBackend.Service.Name = "other"
	made, err = ingresses.UpdateStatus(ctx, made, metav1.UpdateOptions{})
	if err != nil || made.Spec.DefaultBackend.Service.Name != "app" || made.Status.LoadBalancer.Ingress[0].IP != "10.1.2.3" || made.Generation != 1 {
		t.Fatalf("after a status update: %+v, %v", made, err)
	}
	made.Status = networkingv1.IngressStatus{}
	made.Spec.DefaultBackend.Service.Name = "other"
	made, err = ingresses.Update(ctx, made, metav1.UpdateOptions{})
	if err != nil || len(made.Status.LoadBalancer.Ingress) != 1 || made.Generation != 2 {
		t.Fatalf("after an update: %+v, %v", made, err)
	}
	patched, err := ingresses.Patch(ctx, "web", types.MergePatchType, []byte(`{"status":{"loadBalancer":{"ingress":null}}}`), metav1.PatchOptions{}, "status")
	if err != nil || len(patched.Status.LoadBalancer.Ingress) != 0 {
		t.Fatalf("after a status patch: %+v, %v", patched, err)
	}
}

func TestScale(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	deployments := c.AppsV1().Deployments(here)
	labels := map[string]string{"app": "web"}
	_, err := deployments.Create(ctx, &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod("p").Spec},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 1 || scale.Status.Selector != "app=web" {
		t.Fatalf("%+v %v", scale, err)
	}
	scale.Spec.Replicas = 4
	if scale, err = deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{FieldManager: "scaler"}); err != nil || scale.Spec.Replicas != 4 {
		t.Fatalf("%+v %v", scale, err)
	}
	d, err := deployments.Get(ctx, "web", metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 4 || d.Generation != 2 {
		t.Fatalf("%+v %v", d, err)
	}
	var owner string
	for _, m := range d.ManagedFields {
		if strings.Contains(m.FieldsV1.GetRawString(), "f:replicas") {
			owner = m.Manager
		}
	}
	if owner != "scaler" {
		t.Errorf("spec.replicas belongs to %q", owner)
	}
	if err := c.AppsV1().RESTClient().Patch(types.MergePatchType).Namespace(here).Resource("deployments").Name("web").SubResource("scale").
		Body([]byte(`{"spec":{"replicas":2}}`)).Do(ctx).Error(); err != nil {
		t.Error(err)
	}
	if d, _ = deployments.Get(ctx, "web", metav1.GetOptions{}); *d.Spec.Replicas != 2 {
		t.Errorf("%d replicas after a patch", *d.Spec.Replicas)
	}
	scale.ResourceVersion, scale.Spec.Replicas = "", -1
	if _, err := deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("-1 replicas: %v", err)
	}
	scale.ResourceVersion = "1"
	if _, err := deployments.UpdateScale(ctx, "web", &autoscalingv1.Scale{ObjectMeta: scale.ObjectMeta}, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("scale of an old version: %v", err)
	}
}

func TestEvictionDeletes(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	meta := metav1.ObjectMeta{Name: "p", Namespace: here}
	for form, evict := range map[string]func() error{
		"policy/v1": func() error { return c.PolicyV1().Evictions(here).Evict(ctx, &policyv1.Eviction{ObjectMeta: meta}) },
		"policy/v1beta1": func() error {
			return c.PolicyV1beta1().Evictions(here).Evict(ctx, &policyv1beta1.Eviction{ObjectMeta: meta})
		},
	} {
		if _, err := c.CoreV1().Pods(here).Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := evict(); err != nil {
			t.Fatalf("%s: %v", form, err)
		}
		if _, err := c.CoreV1().Pods(here).Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("%s: evicted: %v", form, err)
		}
	}
}

// kubectl drain evicts where it finds the group and the subresource, else it
// deletes.
func TestClientsFindEviction(t *testing.T) {
	for _, test := range []struct{ kubernetes, policy string }{{"1.20", "v1beta1"}, {"1.22", "v1"}, {"", "v1"}} {
		s := start(t, func(o *kube.Options) { o.Version = test.kubernetes })
		d := client(t, s, "a").Discovery()
		groups, err := d.ServerGroups()
		if err != nil {
			t.Fatal(err)
		}
		at := slices.IndexFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == "policy" })
		if at < 0 || groups.Groups[at].PreferredVersion.Version != test.policy {
			t.Errorf("%q: policy in %v", test.kubernetes, groups.Groups)
		}
		if list, err := d.ServerResourcesForGroupVersion("policy/" + test.policy); err != nil || list.APIResources == nil {
			t.Errorf("%q: %v %v", test.kubernetes, list, err)
		}
		list, err := d.ServerResourcesForGroupVersion("v1")
		if err != nil {
			t.Fatal(err)
		}
		at = slices.IndexFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == "pods/eviction" })
		if at < 0 || list.APIResources[at].Group != "policy" || list.APIResources[at].Version != test.policy {
			t.Errorf("%q: pods/eviction in %v", test.kubernetes, list.APIResources)
		}
	}
}

func TestLogsComeFromTheNode(t *testing.T) {
	s := start(t, func(o *kube.Options) {
		o.Logs = func(_ context.Context, namespace, pod string, options corev1.PodLogOptions) (io.ReadCloser, error) {
			if options.TailLines == nil || *options.TailLines != 1 || options.Follow {
				t.Errorf("options %+v", options)
			}
			return io.NopCloser(strings.NewReader(namespace + "/" + pod + "/" + options.Container + "\n")), nil
		}
	})
	c, ctx := client(t, s, "a"), deadline(t)
	pods := c.CoreV1().Pods(here)
	if _, err := pods.Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	log, err := pods.GetLogs("p", &corev1.PodLogOptions{TailLines: ptr.To[int64](1)}).DoRaw(ctx)
	if err != nil || string(log) != "default/p/main\n" {
		t.Errorf("%q %v", log, err)
	}
	if _, err := pods.GetLogs("p", &corev1.PodLogOptions{Container: "other"}).DoRaw(ctx); !apierrors.IsBadRequest(err) {
		t.Errorf("log of a container that is not there: %v", err)
	}
	if _, err := pods.GetLogs("q", &corev1.PodLogOptions{}).DoRaw(ctx); !apierrors.IsNotFound(err) {
		t.Errorf("log of a pod that is not there: %v", err)
	}
}

func TestWhoIsWho(t *testing.T) {
	s := start(t, nil)
	ctx := deadline(t)
	whoami := func(config *rest.Config) (string, error) {
		c, err := kubeclient.New(outside.Real(), "who", config)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		review, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
		if err != nil {
			return "", err
		}
		return review.Status.UserInfo.Username + " " + strings.Join(review.Status.UserInfo.Groups, ","), nil
	}
	check := func(name string, config *rest.Config, want string) {
		t.Helper()
		if got, err := whoami(config); err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", name, got, err, want)
		}
	}
	check("token", s.Config("ada"), "ada system:masters,system:authenticated")
	first, again, other := s.Config("ada").BearerToken, s.Config("ada").BearerToken, s.Config("bob").BearerToken
	if first != again || first == other {
		t.Error("tokens are not one a user")
	}
	anonymous := rest.CopyConfig(s.Config("ada"))
	anonymous.BearerToken = ""

	certified := rest.CopyConfig(anonymous)
	var err error
	if certified.CertData, certified.KeyData, err = s.ClientCertificate("carl"); err != nil {
		t.Fatal(err)
	}
	check("certificate", certified, "carl system:masters,system:authenticated")

	account := rest.CopyConfig(anonymous)
	account.BearerToken = s.ServiceAccountToken("shop", "robot")
	check("account", account, "system:serviceaccount:shop:robot system:serviceaccounts,system:serviceaccounts:shop,system:authenticated")

	c := client(t, s, "a")
	request, err := c.CoreV1().ServiceAccounts(here).CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](600)}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	account.BearerToken = request.Status.Token
	check("requested token", account, "system:serviceaccount:default:default system:serviceaccounts,system:serviceaccounts:default,system:authenticated")
	if _, err := c.CoreV1().ServiceAccounts(here).CreateToken(ctx, "default", &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](1)}}, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("token for a second: %v", err)
	}

	if _, err := whoami(anonymous); !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous: %v", err)
	}
	anonymous.BearerToken = "wrong"
	if _, err := whoami(anonymous); !apierrors.IsUnauthorized(err) {
		t.Errorf("wrong token: %v", err)
	}
	foreign := start(t, nil)
	stranger := rest.CopyConfig(s.Config("ada"))
	stranger.CAData = foreign.CertificateAuthority()
	if _, err := whoami(stranger); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a server whose authority the client does not know: %v", err)
	}

	rules, err := c.AuthorizationV1().SelfSubjectRulesReviews().Create(ctx, &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: here},
	}, metav1.CreateOptions{})
	if err != nil || len(rules.Status.ResourceRules) != 1 || rules.Status.ResourceRules[0].Verbs[0] != "*" {
		t.Errorf("%+v %v", rules, err)
	}
	access, err := c.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "pods"}},
	}, metav1.CreateOptions{})
	if err != nil || !access.Status.Allowed {
		t.Errorf("%+v %v", access, err)
	}
}
