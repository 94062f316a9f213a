package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"vtm-ingress/controller/reconcile"
	"vtm-ingress/controller/vtm"
	"vtm-ingress/internal/kubeclient"
)

// becomeWriter is how long Cleanup and Adopt wait for the Lease: they are not
// made beside a controller that runs.
const becomeWriter = 10 * time.Second

// writing makes one change through the traffic manager in use.
type writing func(ctx context.Context, change func(context.Context, *vtm.Through) error) error

// asWriter does something while it holds the Lease.
func asWriter(ctx context.Context, o Options, do func(ctx context.Context, write writing) error) error {
	client, err := kubeclient.New(o.World, o.Actor+"/lease", o.Kubernetes)
	if err != nil {
		return err
	}
	defer client.Close()
	s := o.Settings
	writer, err := reconcile.NewWriter(reconcile.WriterOptions{
		World: o.World, Log: o.Log, Client: client, Actor: o.Actor, Namespace: s.LeaseNamespace, Name: s.LeaseName,
		LeaseDuration: s.LeaseDuration, RenewDeadline: s.RenewDeadline, RetryPeriod: s.RetryPeriod,
	})
	if err != nil {
		return err
	}
	candidacy, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		writer.Run(candidacy)
	}()
	defer func() {
		giveUp()
		<-ended
	}()
	// One that died without giving the Lease up has held it for at most that long.
	patience := o.World.Clock().NewTimer(s.LeaseDuration + s.RetryPeriod + becomeWriter)
	defer patience.Stop()
	var permit reconcile.Permit
	for {
		var ok bool
		if permit, ok = writer.Permit(); ok {
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-writer.Changed():
		case <-patience.C():
			return fmt.Errorf("a controller holds the Lease %s/%s and writes: stop it first", s.LeaseNamespace, s.LeaseName)
		}
	}
	return do(ctx, func(ctx context.Context, change func(context.Context, *vtm.Through) error) error {
		through := o.Client.Endpoint()
		if err := writer.Announce(ctx, permit.Term, through); err != nil {
			return fmt.Errorf("%w (%w)", errLeaseLost, err)
		}
		permit, end, ok := writer.Begin(permit.Term, through)
		if !ok {
			return errLeaseLost
		}
		defer end()
		ctx, cancel := context.WithTimeout(ctx, permit.Until.Sub(o.World.Clock().Now()))
		defer cancel()
		return change(ctx, o.Client.Through(through, permit.Agent))
	})
}

var errLeaseLost = errors.New("the Lease was lost: run it again")

// Cleanup deletes all that a controller owns on the traffic manager, or only says
// what that is. It tells on out what it does. What Ingresses have in their status
// stays.
func Cleanup(ctx context.Context, o Options, really bool, out io.Writer) error {
	remove := func(ctx context.Context, write writing) error {
		view, err := Look(ctx, o)
		if err != nil {
			return err
		}
		plan := reconcile.Diff(nil, view.Observed, nil)
		for _, held := range plan.Held {
			fmt.Fprintf(out, "stays: %s: %s\n", held.ID, held.Reason)
		}
		for i := range plan.Steps {
			id := plan.Steps[i].ID
			if really {
				if err := write(ctx, func(ctx context.Context, to *vtm.Through) error { return to.Delete(ctx, id) }); err != nil {
					return err
				}
			}
			fmt.Fprintf(out, "delete %s\n", id)
		}
		fmt.Fprintf(out, "%d resources\n", len(plan.Steps))
		return nil
	}
	if !really {
		return remove(ctx, nil)
	}
	return asWriter(ctx, o, remove)
}

// Adopt makes what a controller of the same controller_id owns for another
// Kubernetes cluster this cluster's, or only says what that is: for a cluster
// that takes the place of one that is gone.
func Adopt(ctx context.Context, o Options, really bool, out io.Writer) error {
	view, err := Look(ctx, o)
	var foreign *reconcile.ForeignClusterError
	switch {
	case err == nil:
		fmt.Fprintf(out, "nothing to adopt: all %d resources of controller_id %s are this cluster's\n", len(view.Observed.Owned), o.Settings.ControllerID)
		return nil
	case !errors.As(err, &foreign):
		return err
	}
	adopt := func(ctx context.Context, write writing) error {
		n := 0
		for _, t := range vtm.Types {
			names, err := o.Client.List(ctx, t)
			if err != nil {
				return err
			}
			for _, name := range names {
				if !strings.HasPrefix(name, vtm.Prefix(o.Settings.ControllerID)) {
					continue
				}
				r, err := o.Client.Get(ctx, vtm.ID{Type: t, Name: name})
				if errors.Is(err, vtm.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				mark, ok := r.Mark()
				if !ok || mark.ID != o.Settings.ControllerID || mark.Cluster == foreign.Own {
					continue
				}
				n++
				fmt.Fprintf(out, "adopt %s, of cluster %s\n", r.ID, mark.Cluster)
				if !really {
					continue
				}
				if err := write(ctx, func(ctx context.Context, to *vtm.Through) error {
					_, err := to.Put(ctx, remarked(r, mark, foreign.Own))
					return err
				}); err != nil {
					return err
				}
			}
		}
		fmt.Fprintf(out, "%d resources, for cluster %s\n", n, foreign.Own)
		return nil
	}
	if !really {
		return adopt(ctx, nil)
	}
	return asWriter(ctx, o, adopt)
}

// remarked is what to send so that r bears the mark of another cluster, and is
// otherwise as it was.
func remarked(r *vtm.Resource, mark vtm.Mark, cluster string) *vtm.Resource {
	old := mark.Format()
	mark.Cluster = cluster
	if r.Type.IsFile() {
		return vtm.NewFile(r.Type, r.Name, bytes.Replace(r.Content, []byte(old), []byte(mark.Format()), 1))
	}
	note, _ := r.Get("basic", "note").(string)
	return vtm.New(r.Type, r.Name, vtm.Properties{"basic": {"note": strings.Replace(note, old, mark.Format(), 1)}})
}
