package main

import (
	"errors"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/internal/outside"
)

// runCommand is `run`.
type runCommand struct{ settingsFlags }

// settingsFlags are the settings as flags, and their file.
type settingsFlags struct {
	Config string `help:"Settings file, YAML. The environment variable VTM_INGRESS_CONFIG names it too." placeholder:"FILE"`
	// Plugins holds one struct with a flag for each setting that may have one.
	kong.Plugins
}

// newSettingsFlags makes the flags from the settings' description, so that both
// never differ. All are optional texts, or switches: config judges them.
func newSettingsFlags() settingsFlags {
	var fields []reflect.StructField
	for _, s := range config.All() {
		if s.Flag() == "" {
			continue
		}
		kind := reflect.TypeFor[*string]()
		if s.Type == "bool" {
			kind = reflect.TypeFor[*bool]()
		}
		help := s.Meaning
		if s.Default != "" {
			help += " Default: " + s.Default + "."
		}
		fields = append(fields, reflect.StructField{
			Name: fieldName(s.Key), Type: kind,
			// A dollar sign would begin a variable of the parser.
			Tag: reflect.StructTag("name:" + strconv.Quote(s.Flag()) +
				" help:" + strconv.Quote(strings.ReplaceAll(help, "$", "$$")) +
				" placeholder:" + strconv.Quote(strings.ToUpper(s.Type))),
		})
	}
	return settingsFlags{Plugins: kong.Plugins{reflect.New(reflect.StructOf(fields)).Interface()}}
}

// fieldName makes an exported name of a setting's key.
func fieldName(key string) string { return "Setting_" + key }

// given returns the flags that were given, by key.
func (r *settingsFlags) given() map[string]string {
	out := map[string]string{}
	flags := reflect.ValueOf(r.Plugins[0]).Elem()
	for _, s := range config.All() {
		field := flags.FieldByName(fieldName(s.Key))
		if !field.IsValid() || field.IsNil() {
			continue
		}
		switch value := field.Interface().(type) {
		case *string:
			out[s.Key] = *value
		case *bool:
			out[s.Key] = strconv.FormatBool(*value)
		}
	}
	return out
}

// openLocal makes a client of the traffic manager by the settings given here
// alone.
func (r *settingsFlags) openLocal(s *surroundings) (*session, error) {
	settings, err := config.Load(r.sources(s.environment))
	if err != nil {
		return nil, &wrongSettings{err}
	}
	o := controller.Options{World: outside.Real(), Log: slog.New(slog.NewTextHandler(s.stderr, nil)), Actor: "settings"}
	client, err := controller.NewClient(o, settings)
	if err != nil {
		return nil, err
	}
	return &session{Options: inspect.Options{World: o.World, Log: o.Log, Settings: settings, Client: client}, close: client.Close}, nil
}

// wrongSettings are settings with which the controller can't start.
type wrongSettings struct{ error }

// sources are what settings are read from.
func (r *settingsFlags) sources(environment []string) config.Sources {
	file := r.Config
	for _, variable := range environment {
		if path, ok := strings.CutPrefix(variable, config.FileVariable+"="); ok && file == "" {
			file = path
		}
	}
	return config.Sources{Flags: r.given(), Environment: environment, File: file}
}

// Run runs the controller.
func (r *runCommand) Run(s *surroundings) error {
	sources := r.sources(s.environment)
	settings, err := config.Load(sources)
	if err != nil {
		return &wrongSettings{err}
	}
	// What the traffic manager keeps may say how to reach Kubernetes, or that nobody
	// is to.
	if _, err := config.KubernetesConfig(settings); err != nil && settings.EnableIngctrl && settings.SettingsSource != "vtm" {
		return &wrongSettings{err}
	}
	var handler slog.Handler = slog.NewTextHandler(s.stderr, nil)
	if settings.LogFormat == "json" {
		handler = slog.NewJSONHandler(s.stderr, nil)
	}
	log := slog.New(handler)
	// What client-go logs by itself gets the same form.
	s.libraries(log)

	host, err := os.Hostname()
	if err != nil {
		return err
	}
	world := outside.Real()
	status := &controller.Status{}
	if !slices.ContainsFunc(s.environment, func(v string) bool { return strings.HasPrefix(v, "GOGC=") }) {
		collect := &collector{}
		collect.start()
		defer collect.usual() // or each collection goes on to set the room
		status.WhenReady(collect.usual)
	}
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	stopPublic, err := serve(world, "metrics_address", settings.MetricsAddress, public(world, status, metrics), log)
	if err != nil {
		return err
	}
	stopPrivate, err := serve(world, "debug_address", settings.DebugAddress, private(status), log)
	if err != nil {
		return errors.Join(err, stopPublic())
	}
	err = controller.Serve(s.context, controller.Options{
		World: world, Log: log, Actor: host, Status: status, Metrics: metrics,
	}, sources)
	return errors.Join(err, stopPublic(), stopPrivate())
}
