package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/testenv"
)

const (
	// patience is how long everything may take to become quiet once all is well: a
	// Lease that must run out, replication (20 s at most), back-off, a resync.
	patience = 10 * time.Minute
	// silence is how long nobody must write then.
	silence = 3 * time.Minute
)

// catalogs are those in which the controller has resources.
var catalogs = []string{"virtual_servers", "pools", "traffic_ip_groups", "rules", "monitors", "persistence", "ssl/server_keys"}

// settle waits until all is as it should be.
func (r *run) settle(ctx context.Context) error {
	deadline := time.Now().Add(patience)
	for {
		pending := r.pending(ctx)
		if pending == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", patience, pending)
		}
		time.Sleep(5*time.Second + 11*time.Nanosecond)
	}
}

// quiet is invariants 4 and 6: once all is well, the traffic managers hold what
// Kubernetes says and nothing else of ours, all members the same, owners are told
// the truth, and nobody writes any more.
func (r *run) quiet(ctx context.Context) {
	if err := r.settle(ctx); err != nil {
		r.violate(6, "%v", err)
		return
	}
	for _, c := range r.system.controllers {
		if !c.status.Ready() {
			r.violate(6, "controller %s is not ready", c.name)
		}
	}
	before := len(r.system.box.TrafficManagers.Writes())
	time.Sleep(silence)
	if writes := r.system.box.TrafficManagers.Writes()[before:]; len(writes) > 0 {
		r.violate(6, "%d writes although nothing changes, the first %s %s by %s", len(writes), writes[0].Method, writes[0].Path, writes[0].User)
	}
	r.nothingForeignChanged(ctx)
	r.noSecretIsInEvents()
}

// pending says what is not yet as it should be; nil: all is.
func (r *run) pending(ctx context.Context) error {
	view, err := r.view(ctx)
	if err != nil {
		return err
	}
	if !view.Empty() {
		return fmt.Errorf("the traffic manager is not as Kubernetes says:\n%s", view)
	}
	if err := r.membersAgree(ctx); err != nil {
		return err
	}
	return r.ownersKnow(view)
}

// view is what `plan` would tell.
func (r *run) view(ctx context.Context) (*inspect.View, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	settings, err := config.Load(testenv.MemorySettings(func() map[string]string { return r.system.settings }, nil))
	if err != nil {
		return nil, err
	}
	o := controller.Options{World: r.system.network.World(), Log: slog.New(slog.DiscardHandler), Actor: "look"}
	client, err := controller.NewClient(o, settings)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	return inspect.Look(ctx, inspect.Options{
		World: o.World, Log: o.Log, Settings: settings, Client: client, Actor: "look",
		Kubernetes: r.system.box.KubernetesConfig("vtm-ingress"),
	})
}

// tree is what one member holds of our kinds.
func (r *run) tree(ctx context.Context, member int) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	all := map[string]string{}
	for _, catalog := range catalogs {
		_, body, err := r.rest(ctx, member, http.MethodGet, catalog, "")
		if err != nil {
			return nil, err
		}
		var list struct {
			Children []struct{ Name string }
		}
		if err := json.Unmarshal(body, &list); err != nil {
			return nil, fmt.Errorf("%s of member %d: %w", catalog, member+1, err)
		}
		for _, child := range list.Children {
			path := catalog + "/" + strings.ReplaceAll(child.Name, " ", "%20")
			_, body, err := r.rest(ctx, member, http.MethodGet, path, "")
			if err != nil {
				return nil, err
			}
			all[path] = string(body)
		}
	}
	return all, nil
}

func (r *run) membersAgree(ctx context.Context) error {
	first, err := r.tree(ctx, 0)
	if err != nil {
		return err
	}
	for member := 1; member < len(r.system.box.RESTEndpoints()); member++ {
		other, err := r.tree(ctx, member)
		if err != nil {
			return err
		}
		for _, path := range union(first, other) {
			if first[path] != other[path] {
				return fmt.Errorf("members 1 and %d differ in %s:\n%.600s\n%.600s", member+1, path, first[path], other[path])
			}
		}
	}
	return nil
}

func union(a, b map[string]string) []string {
	var paths []string
	for path := range a {
		paths = append(paths, path)
	}
	for path := range b {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// ownersKnow says whether status and Events tell what is so.
func (r *run) ownersKnow(view *inspect.View) error {
	var list networkingv1.IngressList
	if status, err := r.system.get("/apis/networking.k8s.io/v1/ingresses", &list); err != nil || status != http.StatusOK {
		return fmt.Errorf("Ingresses: status %d, %w", status, err)
	}
	var events corev1.EventList
	if status, err := r.system.get("/api/v1/events", &events); err != nil || status != http.StatusOK {
		return fmt.Errorf("Events: status %d, %w", status, err)
	}
	for _, state := range view.Document().Ingresses {
		i := slices.IndexFunc(list.Items, func(i networkingv1.Ingress) bool {
			return i.Namespace == state.Namespace && i.Name == state.Name
		})
		if i < 0 {
			return fmt.Errorf("there is a verdict on Ingress %s/%s, which is gone", state.Namespace, state.Name)
		}
		served := len(list.Items[i].Status.LoadBalancer.Ingress) > 0
		if served != (state.Verdict != "rejected") {
			return fmt.Errorf("Ingress %s/%s is %s, and its status has %d addresses", state.Namespace, state.Name, state.Verdict, len(list.Items[i].Status.LoadBalancer.Ingress))
		}
		if state.Verdict != "rejected" {
			continue
		}
		told := slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.UID == list.Items[i].UID && e.Type == corev1.EventTypeWarning
		})
		if !told {
			return fmt.Errorf("Ingress %s/%s is rejected (%s), and no Event says so", state.Namespace, state.Name, strings.Join(state.Reasons, "; "))
		}
	}
	return nil
}

// nothingForeignChanged is invariant 4.
func (r *run) nothingForeignChanged(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, path := range slices.Sorted(maps.Keys(foreign)) {
		body := foreign[path]
		status, answer, err := r.rest(ctx, 0, http.MethodGet, path, "")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		if err == nil && !holds(answer, []byte(body)) {
			err = errors.New("it is " + string(answer))
		}
		if err != nil {
			r.violate(4, "%s was somebody else's: %v", path, err)
		}
	}
}

// holds says whether each key of part is in whole with the same value.
func holds(whole, part []byte) bool {
	var a, b map[string]map[string]map[string]any
	if json.Unmarshal(whole, &a) != nil || json.Unmarshal(part, &b) != nil {
		return false
	}
	for section, keys := range b["properties"] {
		for key, value := range keys {
			want, _ := json.Marshal(value)
			if key == "nodes_table" { // its rows have more columns there
				continue
			}
			if got, _ := json.Marshal(a["properties"][section][key]); string(got) != string(want) {
				return false
			}
		}
	}
	return true
}
