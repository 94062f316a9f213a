package report

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/translate"
	"vtm-ingress/internal/kubeclient"
	"vtm-ingress/internal/mutation"
)

const (
	component   = "vtm-ingress-controller"
	programmed  = "Programmed" // the reason of the Event that says that all is well
	messageSize = 1024         // of an Event, in bytes: the API server refuses more
	nameSize    = 253          // of an object
)

// told is one Event's meaning.
type told struct {
	warning         bool
	reason, message string
}

// pendingEvent is one to be sent.
type pendingEvent struct {
	told
	at time.Time
	// first says that this process has not told the same before: another one, which
	// ended, may have.
	first bool
}

// remember notes that t is told, and says whether it is for the first time.
func (rec *record) remember(t told) (first bool) {
	if len(rec.ever) >= rememberedEvents || slices.Contains(rec.ever, t) {
		return false
	}
	rec.ever = append(rec.ever, t)
	return true
}

func (rec *record) toldAlready(t told) bool { return slices.Contains(rec.last, t) }

// tellings are the Events that entry calls for. settled is false while it is not
// yet known what comes of it: what was told before then stands.
func tellings(e Entry) (list []told, settled bool) {
	if e.Verdict == nil {
		return nil, true
	}
	switch {
	case e.Verdict.Outcome == translate.Rejected:
	case e.Live && e.Verdict.Outcome == translate.Complete:
		list = append(list, told{false, programmed, "served on " + places(e.Verdict)})
	case len(e.Problems) > 0:
		list = append(list, warning(e.Problems))
	case !e.Live:
		return nil, false
	}
	if len(e.Verdict.Reasons) > 0 {
		list = append(list, warning(e.Verdict.Reasons))
	}
	return list, true
}

func warning(reasons []translate.Reason) told {
	messages := make([]string, len(reasons))
	for i, r := range reasons {
		messages[i] = r.Message
	}
	return told{true, reasons[0].Code, strings.Join(messages, "; ")}
}

func places(v *translate.Verdict) string {
	var list []string
	for _, a := range v.Addresses {
		for _, port := range a.Ports {
			list = append(list, net.JoinHostPort(a.IP.String(), strconv.Itoa(int(port))))
		}
	}
	return strings.Join(list, ", ")
}

func (r *Reporter) log(name types.NamespacedName, t told) {
	level := slog.LevelInfo
	if t.warning {
		level = slog.LevelWarn
	}
	r.o.Log.Log(context.Background(), level, fmt.Sprintf("Ingress %s: %s", name, t.message),
		"namespace", name.Namespace, "name", name.Name, "reason", t.reason)
}

// writeEvent creates an Event.
//
// Not by client-go's recorder: that one drops Events when a queue is full or an
// object has many, does not know whether this instance may still write, and draws
// its pauses at random. And since the name is made here, the same Event is not
// told again after a restart: it exists already.
func (r *Reporter) writeEvent(ctx context.Context, client *kubeclient.Client, ingress *networkingv1.Ingress, e pendingEvent) error {
	if mutation.On(mutation.EventsSilent) {
		return nil
	}
	event := newEvent(corev1.ObjectReference{
		APIVersion: networkingv1.SchemeGroupVersion.String(), Kind: "Ingress",
		Namespace: ingress.Namespace, Name: ingress.Name, UID: ingress.UID, ResourceVersion: ingress.ResourceVersion,
	}, e, r.o.Actor)
	err := r.request(ctx, func(ctx context.Context) error {
		_, err := client.CoreV1().Events(ingress.Namespace).Create(ctx, event, metav1.CreateOptions{})
		return err
	})
	switch {
	case err == nil, apierrors.IsAlreadyExists(err):
		return nil
	case err == errNotWriting, err == errDrop:
		return err
	case apierrors.IsInvalid(err):
		// Trying again would not help; what is to be said stands in the log.
		r.o.Log.Error(fmt.Sprintf("Ingress %s/%s: an Event was refused: %v", ingress.Namespace, ingress.Name, err))
		return nil
	}
	return fmt.Errorf("an Event of Ingress %s/%s can't be created: %w%s", ingress.Namespace, ingress.Name, err, remedy(err, "create events"))
}

// newEvent makes an Event about an object, in whose namespace it is.
func newEvent(about corev1.ObjectReference, e pendingEvent, instance string) *corev1.Event {
	kind := corev1.EventTypeNormal
	if e.warning {
		kind = corev1.EventTypeWarning
	}
	at := metav1.NewTime(e.at)
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: about.Namespace, Name: eventName(about, e)},
		InvolvedObject: about,
		Type:           kind, Reason: e.reason, Message: cut(strings.ToValidUTF8(e.message, "\uFFFD"), messageSize),
		Source:         corev1.EventSource{Component: component},
		FirstTimestamp: at, LastTimestamp: at, Count: 1,
		ReportingController: component, ReportingInstance: instance,
	}
}

// eventName tells apart what differs. What is told for the first time since the
// start has a name without its time, so that it is not told again after a restart.
// What is told again, since it changed meanwhile, has another name each time.
func eventName(about corev1.ObjectReference, e pendingEvent) string {
	what := []string{string(about.UID), e.reason, e.message}
	if !e.first {
		what = append(what, strconv.FormatInt(e.at.UnixNano(), 10))
	}
	hash := sha256.Sum256([]byte(strings.Join(what, "\x00")))
	suffix := "." + hex.EncodeToString(hash[:8])
	name := about.Name[:min(len(about.Name), nameSize-len(suffix))]
	return strings.TrimRight(name, ".-") + suffix
}

// cut shortens text to at most size bytes, at a character's end.
func cut(text string, size int) string {
	if len(text) <= size {
		return text
	}
	const mark = "…"
	end := size - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
