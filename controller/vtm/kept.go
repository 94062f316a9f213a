package vtm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// keptSettings is the resource in which the traffic manager keeps settings of the
// controller. Each user of the REST API can read it.
var keptSettings = ID{Type: "custom", Name: "vtm-ingress-controller"}

// Settings reads the controller's settings that the traffic manager keeps: values
// by key. nil: none are kept.
func (c *Client) Settings(ctx context.Context) (map[string][]string, error) {
	r, err := c.Get(ctx, keptSettings)
	if errors.Is(err, ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	rows, _ := r.Get("basic", "string_lists").([]any)
	settings := make(map[string][]string, len(rows))
	for _, row := range rows {
		columns, _ := row.(map[string]any)
		name, ok := columns["name"].(string)
		if !ok {
			return nil, fmt.Errorf("traffic manager %s: %s: a row of string_lists without a name: remove it", c.Endpoint(), keptSettings)
		}
		// A single text is accepted in place of a list (vtm/rest.md §7).
		list, isList := columns["value"].([]any)
		if !isList && columns["value"] != nil {
			list = []any{columns["value"]}
		}
		values := make([]string, 0, len(list))
		for _, v := range list {
			text, ok := v.(string)
			if !ok {
				return nil, fmt.Errorf("traffic manager %s: %s: %s holds what is no text: write it as texts", c.Endpoint(), keptSettings, name)
			}
			values = append(values, text)
		}
		settings[name] = values
	}
	return settings, nil
}

// KeepSettings replaces the controller's settings that the traffic manager keeps.
func (c *Client) KeepSettings(ctx context.Context, settings map[string][]string) error {
	rows := make([]any, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		values := make([]any, len(settings[name]))
		for i, text := range settings[name] {
			values[i] = text
		}
		rows = append(rows, map[string]any{"name": name, "value": values})
	}
	_, err := c.Put(ctx, New(keptSettings.Type, keptSettings.Name, Properties{"basic": {"string_lists": rows}}))
	return err
}
