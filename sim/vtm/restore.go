package vtm

import (
	"bytes"
	"context"
	"net/http"
	"reflect"

	"vtm-ingress/sim/dataplane"
)

// live leaves out tombstones.
func live(all []*resource) []*resource {
	list := make([]*resource, 0, len(all))
	for _, r := range all {
		if !r.deleted {
			list = append(list, r)
		}
	}
	return list
}

// changeBackup makes one change of the backups, after the changes that are under
// way.
func (t *TrafficManager) changeBackup(r *request, change func() error) *apiError {
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	select {
	case t.writing <- struct{}{}:
		defer func() { <-t.writing }()
	case <-ctx.Done():
		return errBusy()
	}
	if err := t.diskError(); err != nil {
		return errDisk(err)
	}
	if err := change(); err != nil {
		return errDisk(err)
	}
	return nil
}

// restoreBackup makes the configuration what it was: everywhere, as any change.
func (t *TrafficManager) restoreBackup(r *request, name string, b *backup) (answer, *apiError) {
	resources := b.resources
	if b.file != "" {
		read, err := readBackupFile(b.file, t.schema)
		if err != nil {
			return answer{}, errDisk(err)
		}
		resources = read.resources
	}
	ctx, cancel := context.WithTimeout(r.Context(), writeTimeout)
	defer cancel()
	if err := t.restoreHere(ctx, r, name, resources); err != nil {
		return answer{}, err
	}
	// Without the token, which other members' changes need.
	t.replicateNow(ctx)
	return b.shown(http.StatusOK)
}

func (t *TrafficManager) restoreHere(ctx context.Context, r *request, name string, resources []*resource) *apiError {
	select {
	case t.writing <- struct{}{}:
		defer func() { <-t.writing }()
	case <-ctx.Done():
		return errBusy()
	}
	if err := t.diskError(); err != nil {
		return errDisk(err)
	}
	changes := t.restoring(resources)
	now := t.o.World.Clock().Now()
	var update dataplane.Update
	applies := false
	for i, next := range changes {
		next.stamp = nextStamp(t.store.last(next.kind, next.name), now, t.o.Name)
		old := t.store.get(next.kind, next.name)
		if err := t.put(next); err != nil {
			// What was stored is in effect, and a restore that is tried again goes on
			// from here.
			changes = changes[:i]
			t.applyRestored(changes, &update, applies)
			return errDisk(err)
		}
		applies = t.update(&update, next) || applies
		if t.strict != nil && next.deleted {
			t.strict.changed(old, nil)
		}
	}
	t.applyRestored(changes, &update, applies)
	t.lastWrite.Store(now.UnixNano())
	t.record.write(Write{Time: now, User: r.user, Method: http.MethodPut, Path: "backups/full/" + name, Status: http.StatusOK})
	t.logEvent(dataplane.Event{Level: "INFO", Section: "backups/" + name, Tag: "confrestored", Text: "Configuration restored from backup"})
	return nil
}

// applyRestored puts stored changes into effect. The references between them are
// read when all are stored: rules need their libraries to compile.
func (t *TrafficManager) applyRestored(changes []*resource, update *dataplane.Update, applies bool) {
	for _, r := range changes {
		if t.strict != nil && !r.deleted {
			t.strict.changed(nil, r)
		}
		t.noteChange(r)
	}
	if applies {
		t.data.Apply(*update)
	}
}

// restoring lists the changes that make the configuration what resources say:
// those that differ are written, those that are not among them deleted. Built-in
// resources stay, and who is a member of the cluster is not changed.
func (t *TrafficManager) restoring(resources []*resource) []*resource {
	var changes []*resource
	wanted := make(map[target]bool, len(resources))
	for _, r := range resources {
		wanted[target{r.kind.path, r.name}] = true
		old := t.store.get(r.kind, r.name)
		if old == nil && r.kind.path == "traffic_managers" || old != nil && sameContent(old, r) {
			continue
		}
		changes = append(changes, &resource{kind: r.kind, name: r.name, values: r.values, content: r.content, builtin: old != nil && old.builtin})
	}
	for _, r := range live(t.store.all(t.schema)) {
		if !wanted[target{r.kind.path, r.name}] && !r.builtin && r.kind.path != "traffic_managers" {
			changes = append(changes, &resource{kind: r.kind, name: r.name, deleted: true})
		}
	}
	return changes
}

func sameContent(a, b *resource) bool {
	return bytes.Equal(a.content, b.content) && reflect.DeepEqual(a.values, b.values)
}
