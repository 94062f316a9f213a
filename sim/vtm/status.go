package vtm

import (
	"encoding/json"
	"net/http"
	"runtime"
	"time"
)

// status answers for what is below status/: the traffic manager under its own
// name and as local_tm (vtm/rest.md §8).
func (t *TrafficManager) status(r *request, path []string) (answer, *apiError) {
	if len(path) == 0 {
		return r.folder(child{t.o.Name, true})
	}
	if path[0] != t.o.Name && path[0] != "local_tm" {
		return r.notFound()
	}
	path = r.enter(path)
	if len(path) == 0 {
		return r.folder(child{"information", false}, child{"state", false}, child{"statistics", true})
	}
	what := path[0]
	path = r.enter(path)
	switch {
	case what == "information" && len(path) == 0:
		return r.status("information", map[string]any{
			"platform": runtime.GOOS + "/" + runtime.GOARCH, "tm_version": "22.3", "uuid": t.uuid,
		})
	case what == "statistics":
		return t.statistics(r, path)
	}
	return r.notFound()
}

// status answers for one status resource, which has one top-level member.
func (r *request) status(root string, body any) (answer, *apiError) {
	if err := r.reading("status resource"); err != nil {
		return answer{}, err
	}
	b, err := json.Marshal(map[string]any{root: body})
	if err != nil {
		return answer{}, &apiError{status: http.StatusInternalServerError, ID: "internal.error", Text: clip(err.Error())}
	}
	return answer{status: http.StatusOK, body: b}, nil
}

// statistics answers for counters: those that are counted.
func (t *TrafficManager) statistics(r *request, path []string) (answer, *apiError) {
	if len(path) == 0 {
		return r.folder(child{"globals", false})
	}
	if path[0] == "globals" && len(path) == 1 {
		now := t.o.World.Clock().Now()
		return r.status("statistics", map[string]any{
			"up_time":                 hundredths(now.Sub(t.started)),
			"time_last_config_update": hundredths(now.Sub(time.Unix(0, t.lastWrite.Load()))),
		})
	}
	return r.notFound()
}

// hundredths is the unit in which a traffic manager counts time.
func hundredths(d time.Duration) int64 { return int64(d / (10 * time.Millisecond)) }
