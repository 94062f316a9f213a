package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"vtm-ingress/controller/config"
)

// settingsCommand is `settings`: those that the traffic manager keeps, as its page
// System > Ingress Controller does.
type settingsCommand struct {
	Get   settingsGetCommand   `cmd:"" default:"withargs" help:"Print what is kept."`
	Set   settingsSetCommand   `cmd:"" help:"Keep values: KEY=VALUE, of a list with commas between them."`
	Unset settingsUnsetCommand `cmd:"" help:"Keep no value any more for these keys."`
}

type settingsGetCommand struct{ settingsFlags }

// Run prints each setting that is kept.
func (c *settingsGetCommand) Run(s *surroundings) error {
	return c.with(s, func(ctx context.Context, o *session) error {
		kept, err := o.Client.Settings(ctx)
		if err != nil {
			return err
		}
		secret := map[string]bool{}
		for _, setting := range config.All() {
			secret[setting.Key] = setting.Type == "secret"
		}
		for _, name := range slices.Sorted(maps.Keys(kept)) {
			value := strings.Join(kept[name], ",")
			if secret[name] {
				value = "[hidden]"
			}
			fmt.Fprintf(s.stdout, "%s=%s\n", name, value)
		}
		return nil
	})
}

type settingsSetCommand struct {
	Values []string `arg:"" name:"KEY=VALUE" help:"What is to be kept."`
	settingsFlags
}

// Run keeps values on the traffic manager, if all settings are right with them.
func (c *settingsSetCommand) Run(s *surroundings) error {
	return c.change(s, func(kept map[string][]string) error {
		for _, text := range c.Values {
			name, value, ok := strings.Cut(text, "=")
			if !ok {
				return fmt.Errorf("%s: want KEY=VALUE", text)
			}
			for _, setting := range config.All() {
				if setting.Key == name && setting.Type == "secret" {
					return fmt.Errorf("%s: every user of the REST API can read what is kept there: keep %s_file, the name of a file that holds it", name, name)
				}
			}
			kept[name] = strings.Split(value, ",")
		}
		return nil
	})
}

type settingsUnsetCommand struct {
	Keys []string `arg:"" name:"KEY" help:"What is not to be kept any more."`
	settingsFlags
}

// Run forgets values that the traffic manager keeps.
func (c *settingsUnsetCommand) Run(s *surroundings) error {
	return c.change(s, func(kept map[string][]string) error {
		for _, key := range c.Keys {
			if _, ok := kept[key]; !ok {
				return fmt.Errorf("%s: not kept", key)
			}
			delete(kept, key)
		}
		return nil
	})
}

// with does something with a client of the traffic manager. The settings kept
// there may be wrong: that is what these commands mend.
func (f *settingsFlags) with(s *surroundings, do func(context.Context, *session) error) error {
	ctx, cancel := context.WithTimeout(s.context, answerTimeout)
	defer cancel()
	o, err := f.openLocal(s)
	if err != nil {
		return err
	}
	defer o.close()
	return do(ctx, o)
}

// change edits what is kept and stores it, if it is right together with what is
// given here.
func (f *settingsFlags) change(s *surroundings, edit func(map[string][]string) error) error {
	return f.with(s, func(ctx context.Context, o *session) error {
		kept, err := o.Client.Settings(ctx)
		if err != nil {
			return err
		}
		if kept == nil {
			kept = map[string][]string{}
		}
		if err := edit(kept); err != nil {
			return err
		}
		sources := f.sources(s.environment)
		sources.TrafficManager = kept
		if _, err := config.Load(sources); err != nil {
			var mistakes config.Mistakes
			if errors.As(err, &mistakes) {
				return &wrongSettings{fmt.Errorf("nothing was changed:\n%w", err)}
			}
			return err
		}
		return o.Client.KeepSettings(ctx, kept)
	})
}
