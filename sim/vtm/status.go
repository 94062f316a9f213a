package vtm

import (
	"encoding/json"
	"maps"
	"net/http"
	"runtime"
	"slices"
)

// productVersion is the version of the product that is emulated: the newest that
// speaks REST API 8.3.
const productVersion = "22.3"

// status answers for what is below status/: the traffic manager under its own
// name and as local_tm (vtm/rest.md §8), and the other members of its cluster.
func (t *TrafficManager) status(r *request, path []string) (answer, *apiError) {
	names := []string{t.o.Name}
	if t.cluster != nil {
		names = slices.Sorted(slices.Values(t.cluster.Names()))
	}
	if len(path) == 0 {
		children := make([]child, len(names))
		for i, name := range names {
			children[i] = child{name, true}
		}
		return r.folder(children...)
	}
	switch name := path[0]; {
	case name == t.o.Name || name == "local_tm":
	case !slices.Contains(names, name):
		return r.notFound()
	default:
		other := t.cluster.running(name)
		if other == nil || !t.cluster.reach(t.o.Name, name) {
			return answer{}, errMemberAway(name)
		}
		t = other
	}
	path = r.enter(path)
	if len(path) == 0 {
		return r.folder(child{"backups", true}, child{"information", false}, child{"state", false}, child{"statistics", true})
	}
	if page := "status/" + path[0]; pages[page] != "" {
		if err := r.permitted(page); err != nil {
			return answer{}, err
		}
	}
	switch what := path[0]; {
	case what == "backups":
		return t.backups(r, r.enter(path))
	case what == "information" && len(path) == 1:
		return t.shows(r, "information", "information", map[string]any{
			"platform": runtime.GOOS + "/" + runtime.GOARCH, "tm_version": productVersion, "uuid": t.uuid,
		})
	case what == "state" && len(path) == 1:
		return t.shows(r, "state", "state", t.state())
	case what == "statistics":
		return t.statistics(r, r.enter(path))
	}
	return r.notFound()
}

// shows answers for one status resource: all members that the schema gives to
// path, those of values with their value, others with zero.
func (t *TrafficManager) shows(r *request, path, root string, values map[string]any) (answer, *apiError) {
	if err := r.reading("status resource"); err != nil {
		return answer{}, err
	}
	r.about = func() *metadata { return t.schema.statusMetadata(path) }
	members := maps.Clone(t.schema.status[path])
	maps.Copy(members, values)
	b, err := json.Marshal(map[string]any{root: members})
	if err != nil {
		return answer{}, &apiError{status: http.StatusInternalServerError, ID: "internal.error", Text: clip(err.Error())}
	}
	return answer{status: http.StatusOK, body: b}, nil
}

// array is a list that is never null in JSON.
func array(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
