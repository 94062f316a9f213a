package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// answerTimeout is for one command that asks and does not run.
const answerTimeout = 5 * time.Minute

// changes is the exit status of `plan` when something would change, as that of
// `kubectl diff`.
const changes = 1

// statusError ends the program with a status of its own.
type statusError struct {
	error
	status int
}

// session is what a command that asks works with.
type session struct {
	inspect.Options
	close func()
}

// open loads the settings, those kept on the traffic manager included, and makes
// the clients.
func (f *settingsFlags) open(ctx context.Context, s *surroundings, kubernetes bool) (*session, error) {
	world, log := outside.Real(), slog.New(slog.NewTextHandler(s.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	settings, err := controller.LoadSettings(ctx, controller.Options{World: world, Log: log, Actor: "inspect"}, f.sources(s.environment))
	if err != nil {
		if mistakes := (config.Mistakes)(nil); errors.As(err, &mistakes) {
			return nil, &wrongSettings{err}
		}
		return nil, err
	}
	client, err := controller.NewClient(controller.Options{World: world, Log: log, Actor: "inspect"}, settings)
	if err != nil {
		return nil, err
	}
	o := inspect.Options{World: world, Log: log, Settings: settings, Client: client, Actor: "inspect"}
	if o.Relay, err = controller.RelayOf(settings); err != nil {
		client.Close()
		return nil, err
	}
	if kubernetes {
		if o.Kubernetes, err = config.KubernetesConfig(settings); err != nil {
			client.Close()
			return nil, &wrongSettings{err}
		}
	}
	return &session{Options: o, close: client.Close}, nil
}

// inspect does something with a session, and a bound on its time.
func (f *settingsFlags) inspect(s *surroundings, kubernetes bool, do func(context.Context, *session) error) error {
	ctx, cancel := context.WithTimeout(s.context, answerTimeout)
	defer cancel()
	o, err := f.open(ctx, s, kubernetes)
	if err != nil {
		return err
	}
	defer o.close()
	return do(ctx, o)
}

// planCommand is `plan`.
type planCommand struct {
	Filename  []string `short:"f" help:"Manifest files that are laid over what the cluster holds, as if they had been applied; - is standard input. May be repeated." placeholder:"FILE" type:"path" sep:"none"`
	Alone     bool     `help:"With -f: the manifests are all there is; no cluster is asked."`
	Namespace string   `short:"n" help:"Namespace of manifests that name none." default:"default"`
	Output    string   `short:"o" help:"Form of the answer: text or json." enum:"text,json" default:"text"`
	settingsFlags
}

// Run prints what would change on the traffic manager, and changes nothing. Its
// status is 0: nothing, 1: something, 2: it could not be found out.
func (c *planCommand) Run(s *surroundings) error {
	err := c.run(s)
	var status *statusError
	if err != nil && !errors.As(err, &status) {
		return &statusError{err, 2}
	}
	return err
}

func (c *planCommand) run(s *surroundings) error {
	if c.Alone && len(c.Filename) == 0 {
		return errors.New("--alone needs -f: without a cluster the manifests are all there is")
	}
	return c.inspect(s, !c.Alone, func(ctx context.Context, o *session) error {
		for _, name := range c.Filename {
			objects, err := c.read(name)
			if err != nil {
				return err
			}
			o.Manifests = append(o.Manifests, objects...)
		}
		view, err := inspect.Look(ctx, o.Options)
		if err != nil {
			return err
		}
		answer := []byte(view.String())
		if c.Output == "json" {
			if answer, err = view.JSON(); err != nil {
				return err
			}
		}
		if _, err := s.stdout.Write(answer); err != nil {
			return err
		}
		if !view.Empty() {
			return &statusError{nil, changes}
		}
		return nil
	})
}

func (c *planCommand) read(name string) ([]runtime.Object, error) {
	from := os.Stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		from = file
	}
	return inspect.ReadManifests(name, from, c.Namespace)
}

// explainCommand is `explain`.
type explainCommand struct {
	Ingress   string `arg:"" help:"The Ingress, as NAME or NAMESPACE/NAME."`
	Namespace string `short:"n" help:"Its namespace." default:"default"`
	settingsFlags
}

// Run prints what becomes of one Ingress and why.
func (c *explainCommand) Run(s *surroundings) error {
	return c.inspect(s, true, func(ctx context.Context, o *session) error {
		view, err := inspect.Look(ctx, o.Options)
		if err != nil {
			return err
		}
		name := types.NamespacedName{Namespace: c.Namespace, Name: c.Ingress}
		if namespace, rest, ok := strings.Cut(c.Ingress, "/"); ok {
			name = types.NamespacedName{Namespace: namespace, Name: rest}
		}
		text, err := view.Explain(name)
		if err != nil {
			return err
		}
		_, err = io.WriteString(s.stdout, text)
		return err
	})
}

// checkCommand is `check`.
type checkCommand struct {
	Output string `short:"o" help:"Form of the answer: text or json." enum:"text,json" default:"text"`
	settingsFlags
}

// Run prints whether all is there that the controller needs, with a remedy for
// what is not. Its status is 1 if something must be mended.
func (c *checkCommand) Run(s *surroundings) error {
	return c.inspect(s, true, func(ctx context.Context, o *session) error {
		findings, good := inspect.Check(ctx, inspect.CheckOptions{Options: o.Options, ClientOf: func(endpoint string) (*vtm.Client, error) {
			alone := *o.Settings
			alone.VTMEndpoints, alone.VTMMember = []string{endpoint}, endpoint
			return controller.NewClient(controller.Options{World: o.World, Log: o.Log, Actor: "inspect/" + endpoint}, &alone)
		}})
		if c.Output == "json" {
			encoder := json.NewEncoder(s.stdout)
			encoder.SetIndent("", "  ")
			if err := encoder.Encode(findings); err != nil {
				return err
			}
		} else {
			for _, finding := range findings {
				fmt.Fprintln(s.stdout, finding)
			}
		}
		if !good {
			return &statusError{nil, failed}
		}
		return nil
	})
}

// byHandCommand is `cleanup` or `adopt`.
type byHandCommand struct {
	Yes bool `help:"Really do it. Without this it is only said what would be done."`
	settingsFlags
}

func (c *byHandCommand) do(s *surroundings, what func(context.Context, inspect.Options, bool, io.Writer) error) error {
	return c.inspect(s, true, func(ctx context.Context, o *session) error {
		if err := what(ctx, o.Options, c.Yes, s.stdout); err != nil {
			return err
		}
		if !c.Yes {
			fmt.Fprintln(s.stdout, "nothing was changed: --yes does it")
		}
		return nil
	})
}

type cleanupCommand struct{ byHandCommand }

// Run deletes all that the controller owns on the traffic manager.
func (c *cleanupCommand) Run(s *surroundings) error { return c.do(s, inspect.Cleanup) }

type adoptCommand struct{ byHandCommand }

// Run takes over what belongs to another Kubernetes cluster.
func (c *adoptCommand) Run(s *surroundings) error { return c.do(s, inspect.Adopt) }

// healthCommand is `health`.
type healthCommand struct {
	Ready bool `help:"Ask whether it is ready, not only whether it lives."`
	settingsFlags
}

// Run asks the controller of this machine, at metrics_address, for its health:
// for probes that execute a command.
func (c *healthCommand) Run(s *surroundings) error {
	settings, err := config.Load(c.sources(s.environment))
	if err != nil {
		return &wrongSettings{err}
	}
	if settings.MetricsAddress == "" {
		return errors.New("metrics_address is not set: nothing answers")
	}
	address := settings.MetricsAddress
	if strings.HasPrefix(address, ":") {
		address = "127.0.0.1" + address
	}
	path := "/healthz"
	if c.Ready {
		path = "/readyz"
	}
	ctx, cancel := context.WithTimeout(s.context, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	client := outside.Real().HTTPClient("health", nil)
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(body)))
	}
	_, err = s.stdout.Write(body)
	return err
}
