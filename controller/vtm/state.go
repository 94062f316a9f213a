package vtm

import (
	"context"
	"time"
)

// State is what the member in use says is wrong with its configuration and with
// what it serves (vtm/rest.md §8). The sentences are the product's own.
type State struct {
	Errors    []string `json:"errors"`
	TIPErrors []string `json:"tip_errors"`
}

// State reads the state of the member in use. A traffic manager accepts
// references to nothing, rules that do not compile and keys that do not match,
// and says so only here.
func (c *Client) State(ctx context.Context) (State, error) {
	const path = "status/local_tm/state"
	var answer struct {
		State *State `json:"state"`
	}
	a, err := c.read(ctx, path, path, &answer)
	if err != nil {
		return State{}, err
	}
	if answer.State == nil {
		return State{}, a.garbage(`no "state" in it`)
	}
	return *answer.State, nil
}

// SinceChange reads how long ago the configuration of the member in use changed,
// to a hundredth of a second (vtm/rest.md §8).
func (c *Client) SinceChange(ctx context.Context) (time.Duration, error) {
	const path = "status/local_tm/statistics/globals"
	var answer struct {
		Statistics struct {
			Since *int64 `json:"time_last_config_update"`
		} `json:"statistics"`
	}
	a, err := c.read(ctx, path, path, &answer)
	if err != nil {
		return 0, err
	}
	if answer.Statistics.Since == nil {
		return 0, a.garbage(`no "time_last_config_update" in it`)
	}
	return time.Duration(*answer.Statistics.Since) * 10 * time.Millisecond, nil
}
