package kube_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"

	"vtm-ingress/internal/kubeclient"
)

// fill creates count ConfigMaps m-00, m-01, … with the label odd.
func fill(ctx context.Context, t *testing.T, c *kubeclient.Client, count int) {
	t.Helper()
	for i := range count {
		m := configMap(fmt.Sprintf("m-%02d", i), nil)
		m.Labels = map[string]string{"odd": fmt.Sprint(i%2 == 1)}
		if _, err := c.CoreV1().ConfigMaps(here).Create(ctx, m, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

func names(list *corev1.ConfigMapList) string {
	var all []string
	for _, m := range list.Items {
		all = append(all, m.Name)
	}
	return strings.Join(all, " ")
}

func TestChunksShowOneMoment(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 5)
	maps := c.CoreV1().ConfigMaps(here)
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if names(page) != "m-00 m-01" || page.RemainingItemCount == nil || *page.RemainingItemCount != 3 || page.Continue == "" {
		t.Fatalf("first chunk: %s, %+v", names(page), page.ListMeta)
	}
	// What happens between the chunks does not show.
	if err := maps.Delete(ctx, "m-03", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := maps.Create(ctx, configMap("m-025", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	first := page.ResourceVersion
	page, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue})
	if err != nil || names(page) != "m-02 m-03" || page.ResourceVersion != first {
		t.Fatalf("second chunk: %s, %+v, %v", names(page), page.ListMeta, err)
	}
	page, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue})
	if err != nil || names(page) != "m-04" || page.Continue != "" || page.RemainingItemCount != nil {
		t.Fatalf("last chunk: %s, %+v, %v", names(page), page.ListMeta, err)
	}
	if page, err = maps.List(ctx, metav1.ListOptions{Limit: 2, LabelSelector: "odd=false"}); err != nil || names(page) != "m-00 m-02" || page.RemainingItemCount != nil {
		t.Fatalf("chunk with a selector: %s, %+v, %v", names(page), page.ListMeta, err)
	}
}

func TestExpiredChunksGoOnInconsistently(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 5)
	maps := c.CoreV1().ConfigMaps(here)
	page, err := maps.List(ctx, metav1.ListOptions{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "m-03", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	s.ForgetHistory()
	_, err = maps.List(ctx, metav1.ListOptions{Limit: 2, Continue: page.Continue})
	status, ok := err.(apierrors.APIStatus)
	if !apierrors.IsResourceExpired(err) || !ok || status.Status().Continue == "" {
		t.Fatalf("expired chunk: %v", err)
	}
	page, err = maps.List(ctx, metav1.ListOptions{Continue: status.Status().Continue})
	if err != nil || names(page) != "m-02 m-04" {
		t.Fatalf("rest: %s, %v", names(page), err)
	}
	for _, token := range []string{"x", "e30", "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTk5OTk5LCJzdGFydCI6Im0tMDAifQ"} {
		if _, err := maps.List(ctx, metav1.ListOptions{Continue: token}); !apierrors.IsBadRequest(err) {
			t.Errorf("continue token %q: %v, want a bad request", token, err)
		}
	}
	// client-go's pager falls back by itself.
	found := 0
	err = pager.New(pager.SimplePageFunc(func(o metav1.ListOptions) (runtime.Object, error) {
		if o.Continue != "" {
			s.ForgetHistory()
		}
		o.Limit = 2
		return maps.List(ctx, o)
	})).EachListItem(ctx, metav1.ListOptions{}, func(runtime.Object) error { found++; return nil })
	if err != nil || found != 4 {
		t.Errorf("pager found %d, %v", found, err)
	}
}

func TestListsAtAVersion(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 2)
	maps := c.CoreV1().ConfigMaps(here)
	before, err := maps.List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "m-00", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	at := before.ResourceVersion
	for _, test := range []struct {
		match metav1.ResourceVersionMatch
		want  string
	}{{metav1.ResourceVersionMatchExact, "m-00 m-01"}, {metav1.ResourceVersionMatchNotOlderThan, "m-01"}, {"", "m-01"}} {
		list, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: at, ResourceVersionMatch: test.match})
		if err != nil || names(list) != test.want {
			t.Errorf("%q: %s, %v; want %s", test.match, names(list), err, test.want)
		}
	}
	s.ForgetHistory()
	if _, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: at, ResourceVersionMatch: metav1.ResourceVersionMatchExact}); !apierrors.IsResourceExpired(err) {
		t.Errorf("exactly a forgotten version: %v", err)
	}
	// (client-go's typed clients would try this one ten times.)
	if err := c.CoreV1().RESTClient().Get().Namespace(here).Resource("configmaps").Param("resourceVersion", "999999").MaxRetries(0).Do(ctx).Error(); !apierrors.IsTimeout(err) || !apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) {
		t.Errorf("a version that is not there yet: %v", err)
	}
	if _, err := maps.List(ctx, metav1.ListOptions{ResourceVersion: "x"}); !apierrors.IsBadRequest(err) && !apierrors.IsInvalid(err) {
		t.Errorf("a version that is no number: %v", err)
	}
}

func TestSelectors(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 3)
	for selector, want := range map[string]string{"odd=true": "m-01", "odd in (true,false)": "m-00 m-01 m-02", "!odd": "", "odd!=true": "m-00 m-02"} {
		list, err := c.CoreV1().ConfigMaps(here).List(ctx, metav1.ListOptions{LabelSelector: selector})
		if err != nil || names(list) != want {
			t.Errorf("labels %s: %s, %v", selector, names(list), err)
		}
	}
	for selector, want := range map[string]string{"metadata.name=m-01": "m-01", "metadata.namespace=default,metadata.name!=m-01": "m-00 m-02"} {
		list, err := c.CoreV1().ConfigMaps("").List(ctx, metav1.ListOptions{FieldSelector: selector})
		if err != nil || names(list) != want {
			t.Errorf("fields %s: %s, %v", selector, names(list), err)
		}
	}
	if _, err := c.CoreV1().ConfigMaps(here).List(ctx, metav1.ListOptions{FieldSelector: "data.k=1"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a field that cannot be selected: %v", err)
	}
	for _, name := range []string{"a", "b"} {
		if _, err := c.CoreV1().Pods(here).Create(ctx, pod(name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CoreV1().Pods(here).Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Target: corev1.ObjectReference{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	pods, err := c.CoreV1().Pods("").List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=n1,status.phase=Pending"})
	if err != nil || len(pods.Items) != 1 || pods.Items[0].Name != "a" {
		t.Errorf("pods of n1: %+v, %v", pods.Items, err)
	}
}

func TestTablesAndMetadata(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	fill(ctx, t, c, 2)
	read := func(accept string, into any) {
		t.Helper()
		body, err := c.CoreV1().RESTClient().Get().Namespace(here).Resource("configmaps").SetHeader("Accept", accept).DoRaw(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(body, into); err != nil {
			t.Fatal(err)
		}
	}
	var table metav1.Table
	read("application/json;as=Table;v=v1;g=meta.k8s.io", &table)
	var columns []string
	for _, column := range table.ColumnDefinitions {
		columns = append(columns, column.Name)
	}
	if !slices.Equal(columns, []string{"Name", "Data", "Age"}) || len(table.Rows) != 2 || table.Rows[0].Cells[0] != "m-00" {
		t.Errorf("table %v %+v", columns, table.Rows)
	}
	var partial metav1.PartialObjectMetadataList
	read("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", &partial)
	if partial.Kind != "PartialObjectMetadataList" || len(partial.Items) != 2 || partial.Items[1].Labels["odd"] != "true" {
		t.Errorf("metadata: %+v", partial)
	}
	_, err := c.CoreV1().RESTClient().Get().Namespace(here).Resource("configmaps").SetHeader("Accept", "text/html").DoRaw(ctx)
	if !apierrors.IsNotAcceptable(err) {
		t.Errorf("text/html: %v", err)
	}
}

func TestEventsAreOneStoreUnderTwoGroups(t *testing.T) {
	s := start(t, nil)
	c, ctx := client(t, s, "a"), deadline(t)
	_, err := c.CoreV1().Events(here).Create(ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e"},
		InvolvedObject: corev1.ObjectReference{Kind: "Ingress", Namespace: here, Name: "web"},
		Reason:         "Programmed", Message: "serves", Type: "Normal", Count: 2,
		Source: corev1.EventSource{Component: "controller"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.EventsV1().Events(here).Get(ctx, "e", metav1.GetOptions{})
	if err != nil || e.Note != "serves" || e.Regarding.Name != "web" || e.DeprecatedCount != 2 {
		t.Fatalf("%+v %v", e, err)
	}
	e.Note = "serves well"
	if _, err := c.EventsV1().Events(here).Update(ctx, e, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("change of a note: %v, want invalid", err)
	}
	list, err := c.CoreV1().Events(here).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=web"})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("%+v %v", list, err)
	}
	newer, err := c.EventsV1().Events(here).List(ctx, metav1.ListOptions{})
	if err != nil || len(newer.Items) != 1 || newer.Items[0].Regarding.Name != "web" {
		t.Errorf("%+v %v", newer, err)
	}
}
