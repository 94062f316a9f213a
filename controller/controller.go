package controller

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/report"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/outside"
)

// Options for Run.
type Options struct {
	World    outside.World
	Log      *slog.Logger
	Settings *config.Settings
	// KubernetesConfig says how to reach the API server (config.KubernetesConfig).
	KubernetesConfig *rest.Config
	// Actor names this instance: its connections, its name in the Lease and in
	// Events. Two that run at the same time have different ones.
	Actor string
	// Status, if set, tells how far it is.
	Status *Status
	// Metrics, if set, is where the controller's metrics are registered, once.
	Metrics prometheus.Registerer
	// LookEvery is how often Serve looks at settings again; 0: every 10 seconds.
	LookEvery time.Duration
}

// Run is the controller. It works until ctx ends, then lets requests under way
// end, gives the Lease up and returns nil. An error means that it could not even
// start; what fails later is told and tried again.
func Run(ctx context.Context, o Options) error {
	metrics, err := newMetrics(o.Metrics)
	if err != nil {
		return err
	}
	return run(ctx, o, metrics)
}

func run(ctx context.Context, o Options, metrics *metrics) error {
	if o.Status == nil {
		o.Status = &Status{}
	}
	var self *report.Self // made below, before anything runs
	relay, relayed, err := newRelay(o, func() *report.Self { return self })
	if err != nil {
		return err
	}
	handler := o.Log.Handler()
	if relay != nil {
		defer relay.close()
		handler = relay.Handler(handler)
	}
	log := slog.New(report.EventLog(handler, o.Settings.VTMVerbose))
	o.Log = log
	if !o.Settings.EnableIngctrl {
		log.Info("switched off by enable_ingctrl")
		o.Status.nowReady()
		<-ctx.Done()
		return nil
	}
	watcher, err := kube.New(kube.Options{
		World: o.World, Log: log, Config: o.KubernetesConfig, Settings: o.Settings, Actor: o.Actor + "/kube",
	})
	if err != nil {
		return fmt.Errorf("client of the Kubernetes API server: %w", err)
	}
	leases, err := kubeclient.New(o.World, o.Actor+"/lease", o.KubernetesConfig)
	if err != nil {
		return fmt.Errorf("client of the Kubernetes API server: %w", err)
	}
	defer leases.Close()
	watch, err := kubeclient.New(o.World, o.Actor+"/lease-watch", o.KubernetesConfig)
	if err != nil {
		return fmt.Errorf("client of the Kubernetes API server: %w", err)
	}
	defer watch.Close()
	writer, err := reconcile.NewWriter(reconcile.WriterOptions{
		World: o.World, Log: log, Client: leases, Watch: watch, Actor: o.Actor, Judged: true,
		Namespace: o.Settings.LeaseNamespace, Name: o.Settings.LeaseName,
		LeaseDuration: o.Settings.LeaseDuration, RenewDeadline: o.Settings.RenewDeadline, RetryPeriod: o.Settings.RetryPeriod,
	})
	if err != nil {
		return err
	}
	may := func() bool { _, ok := writer.Permit(); return ok }
	self, err = report.NewSelf(report.SelfOptions{
		World: o.World, Config: o.KubernetesConfig, Actor: o.Actor + "/self",
		Namespace: o.Settings.LeaseNamespace, Name: o.Settings.LeaseName, May: may,
	})
	if err != nil {
		return fmt.Errorf("client of the Kubernetes API server: %w", err)
	}
	client, err := newClient(o, o.Settings, o.Actor+"/vtm", func(method, resource string, status int) {
		o.Status.alive(o.World.Clock().Now())
		metrics.request(method, resource, status)
	})
	if err != nil {
		return err
	}
	defer client.Close()
	home, closeHome, err := newHome(o, writer)
	if err != nil {
		return err
	}
	defer closeHome()
	reporter, err := report.New(report.Options{
		World: o.World, Log: log, Config: o.KubernetesConfig, Actor: o.Actor + "/report",
		ControllerID: o.Settings.ControllerID,
		May:          may,
		Current:      watcher.Ingress,
	})
	if err != nil {
		return fmt.Errorf("client of the Kubernetes API server: %w", err)
	}
	issuer, closeIssuer, err := newIssuer(o, writer, metrics)
	if err != nil {
		return err
	}
	defer closeIssuer()
	loop := reconcile.New(reconcile.Options{
		World: o.World, Log: log, Actor: o.Actor + "/loop", Settings: o.Settings,
		Client: client, Lease: writer, Home: home.Endpoint, Relay: relayed, TooOld: watcher.TooOld,
		Snapshot: watcher.Snapshot, Changed: watcher.Changed(), Confirm: watcher.List, Relist: watcher.Relist,
		Report: reporter.Report, Warn: self.Warn, Over: self.Over, ACME: issuer.State, ACMEChanged: issuer.Changed(),
		InLine: o.Status.nowReady,
		Done: func(r reconcile.Round) {
			metrics.round(r)
			if r.Writing {
				issuer.Want(r.Result.Certificates, watcher.Snapshot())
			}
			o.Status.round(r)
		},
		Busy: func(busy bool) { o.Status.work(o.World.Clock().Now(), busy) },
	})
	metrics.begin(watcher, issuer, home)
	o.Status.begin(watcher, loop, writer, home)
	defer o.Status.end()

	// Whoever writes ends before the Lease is given up, or two could write.
	candidacy, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var running, candidate sync.WaitGroup
	candidate.Go(func() { writer.Run(candidacy) })
	if relay != nil {
		// It outlives the others, and so brings their last words.
		candidate.Go(func() { relay.Run(candidacy) })
	}
	running.Go(func() { home.Run(ctx) })
	running.Go(func() { watcher.Run(ctx) })
	running.Go(func() { reporter.Run(ctx) })
	running.Go(func() { self.Run(ctx) })
	running.Go(func() { loop.Run(ctx) })
	running.Go(func() { issuer.Run(ctx) })
	running.Wait()
	giveUp()
	candidate.Wait()
	return nil
}

// newHome makes what looks after this instance's own traffic manager, with a client of
// its own. Its times follow those of the Lease.
func newHome(o Options, writer *reconcile.Writer) (home *reconcile.Home, done func(), err error) {
	s := *o.Settings
	others := len(s.VTMEndpoints) > 1
	s.VTMEndpoints = endpoints(o.Settings)[:1]
	options := clientOptions(o, &s, o.Actor+"/home")
	options.Timeout = s.RenewDeadline / 3 // several looks fit into a moment
	client, err := vtm.NewClient(options)
	if err != nil {
		return nil, nil, err
	}
	return reconcile.NewHome(reconcile.HomeOptions{
		World: o.World, Log: o.Log, Actor: o.Actor, Client: client, Others: others,
		Every: 5 * s.RetryPeriod, Retry: s.RetryPeriod, Moment: s.RenewDeadline,
		Busy: writer.Unreplicated, Judge: writer.Judge,
	}), client.Close, nil
}

// endpoints are the REST URLs in the order in which they are tried: this
// instance's own traffic manager first.
func endpoints(s *config.Settings) []string {
	out := slices.Clone(s.VTMEndpoints)
	if i := slices.Index(out, s.VTMMember); i > 0 {
		out = slices.Insert(slices.Delete(out, i, i+1), 0, s.VTMMember)
	}
	return out
}
