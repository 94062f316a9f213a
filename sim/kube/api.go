package kube

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/utils/clock"

	"vtm-ingress/sim/kube/kinds"
	"vtm-ingress/sim/kube/store"
)

// api is what all resources share. It is complete before the first request and
// not changed after; what changes lies in store, identity and addresses, each
// with a lock of its own, and in refusals.
type api struct {
	log       *slog.Logger
	clock     clock.WithTicker
	version   kubernetesVersion
	scheme    *runtime.Scheme
	codecs    serializer.CodecFactory
	converter managedfields.TypeConverter
	store     *store.Store
	identity  *identity
	logs      LogsFunc
	openapi   http.Handler
	faults    faults

	// seed makes UIDs and generated names of one server differ from those of
	// another. They are functions of it and of revisions.
	seed [16]byte

	kinds     []*kinds.Kind // those this version serves, in the table's order
	resources map[schema.GroupVersionResource]*resource
	// namespaces is the resource of that name, which creations look into.
	namespaces *resource
	services   *allocations
	events     *expirations
	refusals   atomic.Pointer[[]Refusal]
}

// LogsFunc gives the log of a container, which a node keeps. options.Container
// is not empty. The stream ends when ctx ends, and, unless options.Follow, with
// the last line. An error of type *apierrors.StatusError is answered as it is.
type LogsFunc func(ctx context.Context, namespace, pod string, options corev1.PodLogOptions) (io.ReadCloser, error)

func newSeed(random io.Reader) (seed [16]byte, err error) {
	if _, err = io.ReadFull(random, seed[:]); err != nil {
		err = fmt.Errorf("emulated API server: random bytes: %w", err)
	}
	return seed, err
}

// digest hashes the server's seed, what it is for, and a number.
func (a *api) digest(purpose string, n uint64) [sha256.Size]byte {
	b := append(a.seed[:len(a.seed):len(a.seed)], purpose...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, n))
}

// uid is the UID (RFC 9562, version 4 by form) of the object created at
// revision.
func (a *api) uid(revision uint64) types.UID {
	d := a.digest("uid", revision)
	d[6] = d[6]&0x0f | 0x40
	d[8] = d[8]&0x3f | 0x80
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", d[0:4], d[4:6], d[6:8], d[8:10], d[10:16]))
}

// nameAlphabet is that of the real server's generated names: no vowels, and no
// digits that look like letters.
const nameAlphabet = "bcdfghjklmnpqrstvwxz2456789"

const (
	maxNameLength       = 63
	generatedNameLength = 5
)

// generateName is the attempt-th name that begins with base, for an object to
// be created at revision.
func (a *api) generateName(base string, revision, attempt uint64) string {
	base = base[:min(len(base), maxNameLength-generatedNameLength)]
	d := a.digest("name", revision<<8+attempt)
	name := []byte(base)
	for _, b := range d[:generatedNameLength] {
		name = append(name, nameAlphabet[int(b)%len(nameAlphabet)])
	}
	return string(name)
}

// now is the server's time as metadata holds it.
func (a *api) now() metav1.Time { return metav1.NewTime(a.clock.Now()) }
