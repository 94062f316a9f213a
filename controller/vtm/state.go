package vtm

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// State is what the member in use says is wrong with its configuration and with
// what it serves (vtm/rest.md §8). The sentences are the product's own.
type State struct {
	Errors, TIPErrors []string
}

// State reads the state of the member in use. A traffic manager accepts
// references to nothing, rules that do not compile and keys that do not match,
// and says so only here.
func (c *Client) State(ctx context.Context) (State, error) {
	const path = "status/local_tm/state"
	a, err := c.do(ctx, request{method: http.MethodGet, path: path, resource: path})
	if err != nil {
		return State{}, err
	}
	state, err := decodeState(a.body)
	if err != nil {
		return State{}, a.garbage(err.Error())
	}
	return state, nil
}

// decodeState passes over all but the sentences: an answer lists each virtual server and
// pool, too.
func decodeState(body []byte) (state State, err error) {
	found := false
	err = decodeObject(body, func(d *jsontext.Decoder, name []byte) error {
		if string(name) != "state" || d.PeekKind() != '{' {
			return d.SkipValue()
		}
		found = true
		return eachMember(d, func(key []byte) error {
			into := &state.Errors
			switch string(key) {
			case "errors":
			case "tip_errors":
				into = &state.TIPErrors
			default:
				return d.SkipValue()
			}
			text, err := d.ReadValue()
			if err != nil {
				return err
			}
			return decodeJSON(text, into)
		})
	})
	if err == nil && !found {
		err = errors.New(`no "state" in it`)
	}
	return state, err
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
