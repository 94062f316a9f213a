package reconcile

import (
	"context"
	"errors"
	"fmt"

	"vtm-ingress/controller/kube"
)

// Look calls do, between two rounds, with what the latest one was about. do may
// neither change nor keep any of it. An error says that ctx ended before that, or
// that nothing is known yet.
func (l *Loop) Look(ctx context.Context, do func(*kube.Snapshot, *Observed, *Plan, Round)) error {
	var err error
	done := make(chan struct{})
	look := func() {
		defer close(done)
		if l.latest == nil || l.observed == nil {
			err = errors.New("the traffic manager has not been read yet: the log says why")
			return
		}
		do(l.snapshot, l.observed, Diff(l.latest.Result.Desired, l.observed, l.settled), *l.latest)
	}
	select {
	case l.look <- look:
	case <-ctx.Done():
		return fmt.Errorf("changes are being made on the traffic manager: ask again later (%w)", context.Cause(ctx))
	}
	<-done
	return err
}
