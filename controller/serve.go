package controller

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/vtm"
)

// lookEvery is how often settings are looked at again, unless Options say otherwise. It
// is longer than replicate_lull by default: traffic managers replicate when nobody asks
// them anything for that long (vtm/rest.md §5).
const lookEvery = 10 * time.Second

// Serve is Run with settings that may change: flags, environment and file of
// sources, and what the traffic manager keeps where settings_source says so. When
// they change, what runs ends in order and begins anew with the new ones, which
// disturbs nothing that serves; while they are wrong, that is told and what runs
// goes on. o.Settings are not used; o.KubernetesConfig, if set, is, whatever the
// settings say.
func Serve(ctx context.Context, o Options, sources config.Sources) error {
	if o.Status == nil {
		o.Status = &Status{}
	}
	metrics, err := newMetrics(o.Metrics)
	if err != nil {
		return err
	}
	every := cmp.Or(o.LookEvery, lookEvery)
	s := &server{o: o, sources: sources, metrics: metrics}
	defer s.stop()
	for n := uint64(0); ; n++ {
		s.look(ctx)
		select {
		case <-ctx.Done():
			return nil
		case err := <-s.ended:
			// It could not start, or ctx ended.
			s.ended = nil
			if err != nil && n == 0 {
				return err
			}
			if err != nil {
				o.Log.Error("the controller can't run with these settings: change them", "error", err)
			}
		case <-o.World.Clock().After(every + o.World.Jitter(o.Actor+"/settings", n, every/10)):
		}
	}
}

// server is Serve at work; its fields are those of one goroutine.
type server struct {
	o       Options
	sources config.Sources
	metrics *metrics

	running *config.Settings // with which it runs; nil: it does not
	cancel  context.CancelFunc
	ended   chan error
	// What was last told of the settings; "" once it is no longer so.
	problem, warning string
}

// look loads the settings, and lets the controller run with them if they changed.
func (s *server) look(ctx context.Context) {
	settings, err := s.load(ctx)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		what := "what runs goes on as it is"
		if s.running == nil {
			what = "nothing runs until they can be used"
		}
		s.say(&s.problem, slog.LevelError, fmt.Sprintf("settings can't be used, %s: %v", what, err))
		return
	}
	if s.running != nil && settings.Equal(s.running) {
		s.problem = ""
		return
	}
	o := s.o
	if o.KubernetesConfig == nil && settings.EnableIngctrl {
		if o.KubernetesConfig, err = config.KubernetesConfig(settings); err != nil {
			s.say(&s.problem, slog.LevelError, err.Error())
			return
		}
	}
	s.problem = ""
	if s.running != nil {
		s.o.Log.Info("settings changed: going on with the new ones")
		s.stop()
	}
	o.Settings = settings
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- run(running, o, s.metrics) }()
	s.running, s.cancel, s.ended = settings, cancel, ended
}

// stop ends what runs and waits for it.
func (s *server) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	if s.ended != nil {
		<-s.ended
	}
	s.running, s.cancel, s.ended = nil, nil, nil
}

// load reads all settings anew.
func (s *server) load(ctx context.Context) (*config.Settings, error) {
	settings, warnings, err := loadSettings(ctx, s.o, s.sources)
	if err == nil {
		s.say(&s.warning, slog.LevelWarn, strings.Join(warnings, "; "))
	}
	return settings, err
}

// LoadSettings loads the settings of sources, and those that the traffic manager
// keeps if settings_source says so. What is wrong with them is a config.Mistakes.
func LoadSettings(ctx context.Context, o Options, sources config.Sources) (*config.Settings, error) {
	settings, _, err := loadSettings(ctx, o, sources)
	return settings, err
}

func loadSettings(ctx context.Context, o Options, sources config.Sources) (settings *config.Settings, warnings []string, err error) {
	local, err := config.Load(sources)
	if err != nil || local.SettingsSource != "vtm" {
		return local, nil, err
	}
	client, err := newClient(o, local, o.Actor+"/settings", nil)
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	if sources.TrafficManager, err = client.Settings(ctx); err != nil {
		return nil, nil, err
	}
	settings, err = config.Load(sources)
	return settings, config.Warnings(sources), err
}

// say tells something about the settings once, until there is something else to
// tell.
func (s *server) say(said *string, level slog.Level, text string) {
	if text != *said && text != "" {
		s.o.Log.Log(context.Background(), level, text)
	}
	*said = text
}

// NewClient makes a client of the traffic manager, which the caller closes.
func NewClient(o Options, settings *config.Settings) (*vtm.Client, error) {
	return newClient(o, settings, o.Actor+"/vtm", nil)
}

func newClient(o Options, settings *config.Settings, actor string, observe func(method, resource string, status int)) (*vtm.Client, error) {
	options := clientOptions(o, settings, actor)
	options.Observe = observe
	return vtm.NewClient(options)
}

func clientOptions(o Options, settings *config.Settings, actor string) vtm.Options {
	return vtm.Options{
		World: o.World, Log: o.Log, Actor: actor, Endpoints: endpoints(settings),
		Username: settings.VTMUsername, Password: settings.VTMPassword.Reveal(),
		TLS: vtm.TLS{CA: settings.VTMCA, Fingerprint: settings.VTMFingerprint, Insecure: !settings.VTMVerifySSLCert},
	}
}
