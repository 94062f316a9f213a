package testenv

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"strings"

	"k8s.io/client-go/rest"

	"vtm-ingress/controller"
	"vtm-ingress/controller/config"
	"vtm-ingress/controller/inspect"
	"vtm-ingress/sim/kube"
)

// besides are what runs beside the controller of a system, on the same traffic managers.
type besides struct {
	stop    []func() // controllers, and what changes records in DNS
	servers []*kube.Server
}

func (b *besides) close() {
	for _, stop := range b.stop {
		stop()
	}
	for _, server := range b.servers {
		server.Close()
	}
	*b = besides{}
}

func (s *system) StartBeside(ctx context.Context, name string, settings map[string]string) error {
	return s.startBeside(ctx, name, s.sandbox.KubernetesConfig("vtm-ingress"), settings)
}

func (s *system) startBeside(ctx context.Context, name string, kubernetes *rest.Config, settings map[string]string) error {
	own := s.Settings()
	maps.Copy(own, settings)
	sources := MemorySettings(func() map[string]string { return own }, nil)
	if _, err := config.Load(sources); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	log := slog.New(slog.NewTextHandler(&s.log, nil)).With("instance", name)
	go func() {
		defer close(done)
		err := controller.Serve(ctx, controller.Options{
			World: s.world, Log: log, KubernetesConfig: kubernetes, Actor: "controller/" + name, Status: &controller.Status{},
		}, sources)
		if err != nil {
			log.Error("controller ended", "error", err)
		}
	}()
	s.besides.stop = append(s.besides.stop, func() {
		cancel()
		<-done
	})
	return nil
}

// otherAPIServer is where that of another cluster listens.
const otherAPIServer = "127.3.9.1:6443"

func (s *system) OtherCluster(ctx context.Context, settings map[string]string) (*rest.Config, error) {
	server, err := kube.Start(kube.Options{
		World: s.around.World, Log: slog.New(slog.DiscardHandler), Name: "other-apiserver", Address: otherAPIServer, PlainHTTP: s.around.Simulated,
	})
	if err != nil {
		return nil, err
	}
	s.besides.servers = append(s.besides.servers, server)
	return server.Config("scenario"), s.startBeside(ctx, "other", server.Config("vtm-ingress"), settings)
}

func (s *system) ByHand(ctx context.Context, command string) (told string, err error) {
	do := map[string]func(context.Context, inspect.Options, bool, io.Writer) error{"adopt": inspect.Adopt, "cleanup": inspect.Cleanup}[command]
	if do == nil {
		return "", fmt.Errorf("there is no command %q", command)
	}
	if len(s.controllers) > 0 {
		return "", errors.New("the controller runs: it would put everything back")
	}
	settings, err := config.Load(MemorySettings(s.Settings, nil))
	if err != nil {
		return "", err
	}
	s.starts["byhand"]++
	o := controller.Options{World: s.world, Log: slog.New(slog.DiscardHandler), Actor: fmt.Sprint("byhand", s.starts["byhand"])}
	client, err := controller.NewClient(o, settings)
	if err != nil {
		return "", err
	}
	defer client.Close()
	var out strings.Builder
	err = do(ctx, inspect.Options{
		World: o.World, Log: o.Log, Settings: settings, Kubernetes: s.sandbox.KubernetesConfig("vtm-ingress"), Client: client, Actor: o.Actor,
	}, true, &out)
	return out.String(), err
}
