package inspect

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"vtm-ingress/controller/config"
	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/translate"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/outside"
)

// Options say where to look.
type Options struct {
	World    outside.World
	Log      *slog.Logger
	Settings *config.Settings
	// Kubernetes says how to reach the API server; nil: manifests are all there is.
	Kubernetes *rest.Config
	// Client of the traffic manager; the caller closes it.
	Client *vtm.Client
	// Relay is what the controller knows of the event log's relay; nil: there is none.
	Relay *translate.Relay
	// Actor names the connections.
	Actor string
	// Manifests are laid over what the cluster holds (ReadManifests).
	Manifests []runtime.Object
}

// View is Kubernetes and the traffic manager at one moment, and what follows.
type View struct {
	Snapshot *kube.Snapshot
	Observed *reconcile.Observed
	Result   *translate.Result
	Plan     *reconcile.Plan
	Now      time.Time      // when all was read
	Says     reconcile.Says // empty too if it could not be asked
	// Given are the Ingresses of manifests.
	Given []*networkingv1.Ingress
}

// Look reads everything once and changes nothing.
func Look(ctx context.Context, o Options) (*View, error) {
	v := &View{Snapshot: &kube.Snapshot{}, Now: o.World.Clock().Now()}
	if o.Kubernetes != nil {
		snapshot, err := kube.List(ctx, kube.Options{
			World: o.World, Log: o.Log, Config: o.Kubernetes, Settings: o.Settings, Actor: o.Actor + "/kube",
		})
		if err != nil {
			return nil, err
		}
		v.Snapshot = snapshot
	}
	observed, err := observe(ctx, o, v.Snapshot)
	if err != nil {
		return nil, err
	}
	v.Observed = observed
	if len(o.Manifests) > 0 {
		v.Snapshot = lay(o, v.Snapshot, observed)
		for _, object := range o.Manifests {
			if ingress, is := object.(*networkingv1.Ingress); is {
				v.Given = append(v.Given, ingress)
			}
		}
	}
	v.Result = translate.New().Translate(translate.Input{
		Snapshot: v.Snapshot, Settings: o.Settings,
		Appliance: observed.Appliance, Programmed: observed.Programmed(), SelfSigned: &undrawn, Relay: o.Relay,
	})
	v.Plan = reconcile.Diff(v.Result.Desired, observed, nil)
	if state, err := o.Client.State(ctx); err != nil {
		o.Log.Warn("the traffic manager's state can't be read, so that what it says is wrong is missing", "error", err)
	} else {
		v.Says, _ = reconcile.Diagnose(state, observed, o.Settings.ControllerID)
	}
	return v, nil
}

// undrawn stands for the self-signed certificate that the controller will draw where
// the traffic manager has none: what is shown of a plan is the same each time.
var undrawn = translate.KeyPair{
	Certificate: []byte("(self-signed: drawn by the controller when it runs)"),
	PrivateKey:  []byte("(drawn with it)"),
}

// observe reads the traffic manager. Without a cluster, the one whose marks are
// there is taken for ours.
func observe(ctx context.Context, o Options, snapshot *kube.Snapshot) (*reconcile.Observed, error) {
	observed, err := reconcile.Observe(ctx, o.Client, o.Settings.ControllerID, string(snapshot.ClusterUID))
	var foreign *reconcile.ForeignClusterError
	if o.Kubernetes == nil && errors.As(err, &foreign) {
		snapshot.ClusterUID = types.UID(foreign.Cluster)
		return reconcile.Observe(ctx, o.Client, o.Settings.ControllerID, foreign.Cluster)
	}
	if o.Kubernetes == nil && err == nil {
		snapshot.ClusterUID = "of-no-cluster"
	}
	return observed, err
}

// ownerOf gives the owner of a resource as "Ingress shop/web".
func ownerOf(r *vtm.Resource) string {
	if r == nil {
		return ""
	}
	mark, ok := r.Mark()
	if !ok {
		return ""
	}
	if mark.Namespace == "" {
		return mark.Kind + " " + mark.Name
	}
	return fmt.Sprintf("%s %s/%s", mark.Kind, mark.Namespace, mark.Name)
}
