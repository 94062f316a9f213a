package kube

import (
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"vtm-ingress/sim/kube/store"
)

// eventLife is how long an Event stays after its last change, as on a real
// server.
const eventLife = time.Hour

// expirations forgets old Events, so that they never pile up. It does so when
// another Event is written: no timer runs for it.
//
// Used by the holder of the store's write right alone; therefore no lock. It
// holds one entry for each write of an Event within the last eventLife.
type expirations struct{ queue []expiration }

// expiration says that what was written under key at revision ends at an
// instant, unless it is written again.
type expiration struct {
	key      string
	revision string
	at       time.Time
}

// written notes the write of an object, made at revision, and removes what has
// ended.
func (x *expirations) written(tx *store.Tx, r *resource, key string, obj runtime.Object, revision uint64) error {
	if _, ok := obj.(*corev1.Event); !ok {
		return nil
	}
	now := r.clock.Now()
	x.queue = append(x.queue, expiration{key: key, revision: strconv.FormatUint(revision, 10), at: now.Add(eventLife)})
	for len(x.queue) > 0 && !now.Before(x.queue[0].at) {
		oldest := x.queue[0]
		x.queue = x.queue[1:]
		event, ok := r.table.Get(oldest.key).(*corev1.Event)
		if !ok || event.ResourceVersion != oldest.revision {
			continue
		}
		if _, err := r.remove(tx, oldest.key); err != nil {
			return err
		}
	}
	return nil
}
