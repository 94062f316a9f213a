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

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/internal/mutation"
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
	err := r.settle(ctx)
	r.askAll(ctx)
	if err != nil && !r.violated() {
		r.violate(6, "%v", err)
	}
	if r.violated() {
		return
	}
	before := len(r.system.box.TrafficManagers.Writes())
	time.Sleep(silence)
	if writes := r.system.box.TrafficManagers.Writes()[before:]; len(writes) > 0 {
		r.violate(6, "%d writes although nothing changes, the first %s %s by %s", len(writes), writes[0].Method, writes[0].Path, writes[0].User)
	}
	r.nothingForeignChanged(ctx)
	r.noSecretIsInEvents()
	for _, c := range r.system.controllers {
		r.noSecretIsInMetrics(c)
	}
}

// pending says what is not yet as it should be; nil: all is.
func (r *run) pending(ctx context.Context) error {
	for _, c := range r.system.controllers {
		if !c.status.Ready() {
			return fmt.Errorf("controller %s is not ready", c.name)
		}
	}
	if err := r.podsAreReady(); err != nil {
		return err
	}
	if left := r.excusedUntil() - r.now(); left > 0 {
		return fmt.Errorf("traffic managers may count nodes as failed for %s more", left)
	}
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
	return r.ownersKnow()
}

// excusedUntil is when the last fault of the data path no longer excuses a failed request:
// monitors of a traffic manager look less and less often at a node that does not answer
// (back_off), so that it may count as failed for a while after it could be reached.
func (r *run) excusedUntil() (until time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.active {
		until = max(until, a.to+a.fault.excuse())
	}
	return until
}

// podsAreReady: users may have changed Deployments a moment ago.
func (r *run) podsAreReady() error {
	var list appsv1.DeploymentList
	if status, err := r.system.get("/apis/apps/v1/deployments", &list); err != nil || status != http.StatusOK {
		return fmt.Errorf("the API server does not list Deployments: status %d, %v", status, err)
	}
	for _, d := range list.Items {
		want, never := *d.Spec.Replicas, d.Spec.Template.Annotations[neverReady] != ""
		switch s := d.Status; {
		case s.ObservedGeneration < d.Generation || s.ReadyReplicas < want && !never:
			return fmt.Errorf("the Deployment %s/%s has %d ready Pods of %d", d.Namespace, d.Name, s.ReadyReplicas, want)
		case s.UpdatedReplicas < min(want, 1) || (s.UpdatedReplicas < want || s.Replicas > want) && !never:
			return fmt.Errorf("the Deployment %s/%s is being rolled out: it has %d Pods, %d of them new, and wants %d", d.Namespace, d.Name, s.Replicas, s.UpdatedReplicas, want)
		case want > 0 && !never && availableFor(d.Status) < seenAgain:
			return fmt.Errorf("the Deployment %s/%s is available since a moment ago: traffic managers may still count its nodes as failed", d.Namespace, d.Name)
		}
	}
	return nil
}

// seenAgain is within what time traffic managers use nodes again that had nothing to
// answer with: their monitors have backed off, and pools try failed nodes a minute later.
const seenAgain = 2 * time.Minute

// availableFor is for how long a Deployment has had Pods enough.
func availableFor(s appsv1.DeploymentStatus) time.Duration {
	for _, c := range s.Conditions {
		if c.Type == appsv1.DeploymentAvailable {
			return time.Since(c.LastTransitionTime.Time)
		}
	}
	return seenAgain // nobody says so
}

// view is what `plan` would tell.
func (r *run) view(ctx context.Context) (*inspect.View, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	settings, err := config.Load(r.system.sources(func(map[string]string) {}))
	if err != nil {
		return nil, err
	}
	o := controller.Options{World: r.system.network.World(), Log: slog.New(slog.DiscardHandler), Actor: "look"}
	client, err := controller.NewClient(o, settings)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var view *inspect.View
	mutation.Without(func() { // or it would look with the same eyes
		view, err = inspect.Look(ctx, inspect.Options{
			World: o.World, Log: o.Log, Settings: settings, Client: client, Actor: "look",
			Kubernetes: r.system.box.KubernetesConfig("users"),
		})
	})
	return view, err
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
func (r *run) ownersKnow() error {
	w, ok := r.lookAtWorld()
	if !ok {
		return errors.New("the API server is away")
	}
	var events corev1.EventList
	if status, err := r.system.get("/api/v1/events", &events); err != nil || status != http.StatusOK {
		return fmt.Errorf("Events: status %d, %w", status, err)
	}
	for n := range w.ingresses {
		i := &w.ingresses[n]
		told := ""
		for _, point := range i.Status.LoadBalancer.Ingress {
			told += point.IP + point.Hostname
		}
		c, ok := w.claimOf(i)
		serves := ok && w.site(c.address, asTold).serves(i)
		switch {
		case serves && told != c.address:
			return fmt.Errorf("Ingress %s/%s is served at %s, and its status says %q", i.Namespace, i.Name, c.address, told)
		case !serves && told != "":
			return fmt.Errorf("Ingress %s/%s is not served, and its status says %s", i.Namespace, i.Name, told)
		}
		if serves && c.issued && w.secrets[i.Namespace+"/"+i.Spec.TLS[0].SecretName] == "" {
			return fmt.Errorf("Ingress %s/%s is served, and has no certificate yet", i.Namespace, i.Name)
		}
		warned := slices.ContainsFunc(events.Items, func(e corev1.Event) bool {
			return e.InvolvedObject.UID == i.UID && e.Type == corev1.EventTypeWarning
		})
		if !serves && !warned {
			return fmt.Errorf("Ingress %s/%s is not served, and no Event says so", i.Namespace, i.Name)
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

// askAll asks, once all is well, for each host where something listens, and for some
// of the paths; and where nothing does. Each answer must be the right one, and not just
// one that was right lately.
func (r *run) askAll(ctx context.Context) {
	r.learn() // certificates may have been issued since the last step
	w, ok := r.lookAtWorld()
	if !ok {
		r.violate(0, "the API server is away although all is well")
		return
	}
	addresses := slices.Clone(sharedAddresses)
	for _, q := range steadyQuestions {
		addresses = append(addresses, q.address)
	}
	for n := range ingresses {
		addresses = append(addresses, fmt.Sprintf("10.1.1.%d", n+1))
	}
	slices.Sort(addresses)
	number := 0
	ask := func(q question) {
		number++
		got := r.get(ctx, fmt.Sprintf("asker/%d", number), q)
		want := w.answer(q, asTold)
		if want.kind == nobody && got.err == nil {
			r.violate(6, "%s: nobody is served there, and got %s", q, &got)
			return
		}
		if why := r.differs(q, want, got, w); why != "" {
			r.violate(6, "%s", why)
		}
		r.judgeCertificate(q, got, []answer{want}, true)
	}
	for _, address := range slices.Compact(addresses) {
		s := w.site(address, asTold)
		ports := slices.Collect(maps.Keys(s.ports))
		ports = append(ports, 80, 443)
		slices.Sort(ports)
		for _, port := range slices.Compact(ports) {
			l := s.ports[port]
			q := question{address: address, port: port, tls: port == 443, host: askedHosts[0], path: "/"}
			if l == nil {
				ask(q)
				continue
			}
			q.tls = l.tls
			for n, host := range slices.Concat(askedHosts, []string{"four.steady.example", "many-3.steady.example"}) {
				q.host = host
				for m := range 3 {
					q.path = askedPaths[r.below(len(askedPaths), "ask/"+q.address, 100*port+10*n+m)]
					ask(q)
				}
			}
		}
	}
}
