package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

const here = metav1.NamespaceDefault

func TestUpdateOfAnOldVersionConflicts(t *testing.T) {
	s := start(t, nil)
	maps, ctx := client(t, s, "a").CoreV1().ConfigMaps(here), deadline(t)
	first, err := maps.Create(ctx, configMap("m", map[string]string{"k": "1"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	second := first.DeepCopy()
	second.Data["k"] = "2"
	if second, err = maps.Update(ctx, second, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if second.ResourceVersion == first.ResourceVersion {
		t.Error("an update left resourceVersion alone")
	}
	first.Data["k"] = "3"
	if _, err := maps.Update(ctx, first, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v, want a conflict", err)
	}
	first.ResourceVersion = ""
	if _, err := maps.Update(ctx, first, metav1.UpdateOptions{}); err != nil {
		t.Errorf("update without a version: %v", err)
	}
	first.UID = "another"
	if _, err := maps.Update(ctx, first, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of another UID: %v, want a conflict", err)
	}
	first.Name, first.UID = "missing", ""
	if _, err := maps.Update(ctx, first, metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("update of what does not exist: %v, want not found", err)
	}
}

func TestUpdateThatChangesNothingMakesNoNewVersion(t *testing.T) {
	s := start(t, nil)
	maps, ctx := client(t, s, "a").CoreV1().ConfigMaps(here), deadline(t)
	created, err := maps.Create(ctx, configMap("m", map[string]string{"k": "1"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	updated, err := maps.Update(ctx, created, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if updated.ResourceVersion != created.ResourceVersion {
		t.Errorf("resourceVersion %s became %s", created.ResourceVersion, updated.ResourceVersion)
	}
}

func TestPatches(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	for _, test := range []struct {
		kind  types.PatchType
		patch string
		want  map[string]string
	}{
		{types.JSONPatchType, `[{"op":"test","path":"/data/a","value":"1"},{"op":"replace","path":"/data/a","value":"x"}]`, map[string]string{"a": "x", "b": "2"}},
		{types.MergePatchType, `{"data":{"a":null,"c":"3"}}`, map[string]string{"b": "2", "c": "3"}},
		{types.StrategicMergePatchType, `{"data":{"$patch":"replace","c":"3"}}`, map[string]string{"c": "3"}},
		{types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"apply"},"data":{"c":"3"}}`, map[string]string{"a": "1", "b": "2", "c": "3"}},
	} {
		name := strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(string(test.kind), "application/"), "strategic-"), "-patch+json")
		name = strings.TrimSuffix(name, "-patch+yaml")
		if _, err := c.CoreV1().ConfigMaps(here).Create(ctx, configMap(name, map[string]string{"a": "1", "b": "2"}), metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
		options := metav1.PatchOptions{}
		if test.kind == types.ApplyPatchType {
			options.FieldManager = "test"
		}
		got, err := c.CoreV1().ConfigMaps(here).Patch(ctx, name, test.kind, []byte(test.patch), options)
		if err != nil {
			t.Errorf("%s: %v", test.kind, err)
			continue
		}
		if d := cmp.Diff(test.want, got.Data); d != "" {
			t.Errorf("%s: %s", test.kind, d)
		}
		if err := c.CoreV1().ConfigMaps(here).Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.CoreV1().ConfigMaps(here).Patch(ctx, "missing", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	if !apierrors.IsNotFound(err) {
		t.Errorf("patch of what does not exist: %v, want not found", err)
	}
	_, err = c.CoreV1().Services(here).Patch(ctx, "kubernetes", types.JSONPatchType, []byte(`[{"op":"test","path":"/spec/type","value":"x"}]`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("JSON patch whose test fails: %v, want invalid", err)
	}
}

func TestStrategicMergeKnowsListKeys(t *testing.T) {
	s := start(t, nil)
	services, ctx := client(t, s, "a").CoreV1().Services(here), deadline(t)
	svc := service("app", corev1.ServiceTypeClusterIP)
	svc.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "https", Port: 443}}
	if _, err := services.Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := services.Patch(ctx, "app", types.StrategicMergePatchType, []byte(`{"spec":{"ports":[{"port":443,"name":"tls"}]}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	names := map[int32]string{}
	for _, p := range got.Spec.Ports {
		names[p.Port] = p.Name
	}
	if d := cmp.Diff(map[int32]string{80: "http", 443: "tls"}, names); d != "" {
		t.Error(d)
	}
}

// apply applies data to the ConfigMap m as manager.
func apply(ctx context.Context, t *testing.T, patch func(context.Context, string, types.PatchType, []byte, metav1.PatchOptions, ...string) (*corev1.ConfigMap, error), manager string, force bool, data map[string]string) (*corev1.ConfigMap, error) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "m"}, "data": data})
	if err != nil {
		t.Fatal(err)
	}
	return patch(ctx, "m", types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: manager, Force: &force})
}

func TestServerSideApplyKeepsOwnersApart(t *testing.T) {
	s := start(t, nil)
	maps, ctx := client(t, s, "a").CoreV1().ConfigMaps(here), deadline(t)
	if _, err := apply(ctx, t, maps.Patch, "one", false, map[string]string{"a": "1"}); err != nil {
		t.Fatalf("apply creates: %v", err)
	}
	if _, err := apply(ctx, t, maps.Patch, "two", false, map[string]string{"b": "2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := apply(ctx, t, maps.Patch, "two", false, map[string]string{"a": "2"}); !apierrors.IsConflict(err) {
		t.Errorf("another manager's field: %v, want a conflict", err)
	}
	forced, err := apply(ctx, t, maps.Patch, "two", true, map[string]string{"a": "2"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"a": "2"}, forced.Data); d != "" {
		t.Errorf("what a manager no longer applies goes away: %s", d)
	}
	again, err := apply(ctx, t, maps.Patch, "two", false, map[string]string{"a": "2"})
	if err != nil {
		t.Fatal(err)
	}
	if again.ResourceVersion != forced.ResourceVersion {
		t.Error("an apply without a change made a new version")
	}
	var managers []string
	for _, m := range again.ManagedFields {
		managers = append(managers, fmt.Sprint(m.Manager, " ", m.Operation))
	}
	if !slices.Contains(managers, "two Apply") {
		t.Errorf("managers %v", managers)
	}
}

func TestOwnersOfALeaseAreKeptOnceItIsApplied(t *testing.T) {
	s := start(t, nil)
	leases, ctx := client(t, s, "a").CoordinationV1().Leases(here), deadline(t)
	lease, err := leases.Create(ctx, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "l"}, Spec: coordinationv1.LeaseSpec{HolderIdentity: ptr.To("a")}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lease.Spec.HolderIdentity = ptr.To("b")
	if lease, err = leases.Update(ctx, lease, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(lease.ManagedFields) > 0 {
		t.Errorf("owners of a renewed Lease: %v, want none", lease.ManagedFields)
	}
	apply := func(name, manager, holder string) error {
		body := fmt.Appendf(nil, `{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": %q}, "spec": {"holderIdentity": %q}}`, name, holder)
		_, err := leases.Patch(ctx, name, types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: manager})
		return err
	}
	if err := apply("l", "one", "c"); !apierrors.IsConflict(err) {
		t.Errorf("applied over what was there before: %v, want a conflict", err)
	}
	if err := apply("m", "one", "c"); err != nil {
		t.Fatalf("apply creates: %v", err)
	}
	if err := apply("m", "two", "d"); !apierrors.IsConflict(err) {
		t.Errorf("another manager's field: %v, want a conflict", err)
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	dry := []string{metav1.DryRunAll}
	svc, err := c.CoreV1().Services(here).Create(ctx, service("app", corev1.ServiceTypeNodePort), metav1.CreateOptions{DryRun: dry})
	if err != nil {
		t.Fatal(err)
	}
	if svc.Spec.ClusterIP == "" || svc.Spec.Ports[0].NodePort == 0 {
		t.Errorf("a dry run shows no addresses: %+v", svc.Spec)
	}
	if _, err := c.CoreV1().Services(here).Get(ctx, "app", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("created by a dry run: %v", err)
	}
	// The port is still free.
	svc.ResourceVersion, svc.UID = "", ""
	if _, err := c.CoreV1().Services(here).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		t.Errorf("a dry run kept a node port: %v", err)
	}
	svc.Labels = map[string]string{"a": "b"}
	updated, err := c.CoreV1().Services(here).Update(ctx, svc, metav1.UpdateOptions{DryRun: dry})
	if err != nil || updated.Labels["a"] != "b" {
		t.Errorf("dry update: %v, %v", updated.Labels, err)
	}
	if err := c.CoreV1().Services(here).Delete(ctx, "app", metav1.DeleteOptions{DryRun: dry}); err != nil {
		t.Error(err)
	}
	kept, err := c.CoreV1().Services(here).Get(ctx, "app", metav1.GetOptions{})
	if err != nil || kept.Labels["a"] != "" {
		t.Errorf("after dry runs: labels %v, %v", kept.Labels, err)
	}
}

func TestFieldValidation(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	body := []byte(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"m"},"dta":{},"data":{"a":"1","a":"2"}}`)
	post := func(directive string) (string, error) {
		var told string
		result := c.CoreV1().RESTClient().Post().Namespace(here).Resource("configmaps").
			Param("fieldValidation", directive).Param("dryRun", "All").
			SetHeader("Content-Type", "application/json").Body(body).Do(ctx)
		for _, w := range result.Warnings() {
			told += w.Text + "\n"
		}
		return told, result.Error()
	}
	if _, err := post("Strict"); !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), `unknown field "dta"`) || !strings.Contains(err.Error(), `duplicate field "data.a"`) {
		t.Errorf("strict: %v", err)
	}
	if told, err := post("Warn"); err != nil || !strings.Contains(told, `unknown field "dta"`) {
		t.Errorf("warn: warnings %q, %v", told, err)
	}
	if told, err := post("Ignore"); err != nil || told != "" {
		t.Errorf("ignore: warnings %q, %v", told, err)
	}
	if _, err := post("Wrong"); !apierrors.IsInvalid(err) {
		t.Errorf("wrong directive: %v, want invalid", err)
	}
}

func TestGeneratedNamesAreUniqueAndValid(t *testing.T) {
	s := start(t, nil)
	maps, ctx := client(t, s, "a").CoreV1().ConfigMaps(here), deadline(t)
	seen := map[string]bool{}
	for range 20 {
		made, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: strings.Repeat("x", 70)}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if seen[made.Name] || len(made.Name) > 63 {
			t.Errorf("generated name %q", made.Name)
		}
		seen[made.Name] = true
	}
}

func TestDeletion(t *testing.T) {
	s := start(t, nil)
	maps, ctx := client(t, s, "a").CoreV1().ConfigMaps(here), deadline(t)
	create := func(name string, finalizers ...string) *corev1.ConfigMap {
		t.Helper()
		m := configMap(name, nil)
		m.Finalizers = finalizers
		made, err := maps.Create(ctx, m, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return made
	}
	get := func(name string) *corev1.ConfigMap {
		t.Helper()
		m, err := maps.Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return m
	}

	t.Run("preconditions hold", func(t *testing.T) {
		m := create("conditions")
		wrong := types.UID("wrong")
		if err := maps.Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}}); !apierrors.IsConflict(err) {
			t.Errorf("wrong UID: %v, want a conflict", err)
		}
		if err := maps.Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: ptr.To("1")}}); !apierrors.IsConflict(err) {
			t.Errorf("wrong version: %v, want a conflict", err)
		}
		if err := maps.Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &m.UID, ResourceVersion: &m.ResourceVersion}}); err != nil {
			t.Error(err)
		}
		if err := maps.Delete(ctx, m.Name, metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("deleted twice: %v, want not found", err)
		}
	})
	t.Run("finalizers hold the object", func(t *testing.T) {
		create("held", "example.com/one", "example.com/two")
		if err := maps.Delete(ctx, "held", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		m := get("held")
		if m == nil || m.DeletionTimestamp == nil {
			t.Fatalf("after the delete: %+v", m)
		}
		m.Finalizers = append(m.Finalizers, "example.com/three")
		if _, err := maps.Update(ctx, m, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("a new finalizer after the delete: %v, want invalid", err)
		}
		m.Finalizers = []string{"example.com/two"}
		if m, err := maps.Update(ctx, m, metav1.UpdateOptions{}); err != nil || m.DeletionTimestamp == nil {
			t.Fatalf("%+v %v", m, err)
		}
		if _, err := maps.Patch(ctx, "held", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if m := get("held"); m != nil {
			t.Errorf("still there without finalizers: %+v", m)
		}
	})
	t.Run("propagation sets the collector's finalizers", func(t *testing.T) {
		for policy, want := range map[metav1.DeletionPropagation]string{
			metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
			metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
		} {
			name := strings.ToLower(string(policy))
			create(name)
			if err := maps.Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
				t.Fatal(err)
			}
			if m := get(name); m == nil || !slices.Equal(m.Finalizers, []string{want}) || m.DeletionTimestamp == nil {
				t.Errorf("%s: %+v", policy, m)
			}
		}
		create("background")
		if err := maps.Delete(ctx, "background", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)}); err != nil {
			t.Fatal(err)
		}
		if m := get("background"); m != nil {
			t.Errorf("background: still there: %+v", m)
		}
	})
	t.Run("a collection by label", func(t *testing.T) {
		for i := range 5 {
			m := configMap(fmt.Sprintf("many-%d", i), nil)
			m.Labels = map[string]string{"odd": fmt.Sprint(i%2 == 1)}
			if _, err := maps.Create(ctx, m, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		if err := maps.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "odd=true"}); err != nil {
			t.Fatal(err)
		}
		left, err := maps.List(ctx, metav1.ListOptions{LabelSelector: "odd"})
		if err != nil || len(left.Items) != 3 {
			t.Errorf("%d left, %v; want 3", len(left.Items), err)
		}
	})
}

func TestPodsAreGivenTime(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	pods := c.CoreV1().Pods(here)
	if _, err := pods.Create(ctx, pod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(ctx, binding, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("bound twice: %v, want a conflict", err)
	}
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	p, err := pods.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 || p.Spec.NodeName != "n1" {
		t.Fatalf("while its node ends it: %+v %v", p, err)
	}
	if err := pods.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("after its end: %v", err)
	}
	// One that no node runs goes at once.
	if _, err := pods.Create(ctx, pod("unscheduled"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, "unscheduled", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(ctx, "unscheduled", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("unscheduled pod: %v", err)
	}
}

func pod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "echo:1"}}},
	}
}

func TestNamespacesLiveAndDie(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	if _, err := c.CoreV1().ConfigMaps("shop").Create(ctx, configMap("m", nil), metav1.CreateOptions{}); !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), `namespaces "shop" not found`) {
		t.Errorf("in a namespace that does not exist: %v", err)
	}
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ServiceAccounts("shop").Get(ctx, "default", metav1.GetOptions{}); err != nil {
		t.Errorf("default service account: %v", err)
	}
	if err := c.CoreV1().Namespaces().Delete(ctx, "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	shop, err := c.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{})
	if err != nil || shop.Status.Phase != corev1.NamespaceTerminating || shop.DeletionTimestamp == nil {
		t.Fatalf("a deleted namespace: %+v %v", shop, err)
	}
	_, err = c.CoreV1().ConfigMaps("shop").Create(ctx, configMap("m", nil), metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("in a namespace that ends: %v", err)
	}
	shop.Spec.Finalizers = nil
	if _, err := c.CoreV1().Namespaces().Finalize(ctx, shop, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().Namespaces().Get(ctx, "shop", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("finalized: %v", err)
	}
	if err := c.CoreV1().Namespaces().Delete(ctx, "kube-system", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("kube-system deleted: %v", err)
	}
}
