package kinds

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits of what a new-style Event (one with eventTime) may say.
const (
	maxEventWord = 128  // reportingInstance, action, reason; bytes
	maxEventNote = 1024 // message; bytes
)

func eventRow() Kind {
	return Kind{
		GroupVersionKind: corev1.SchemeGroupVersion.WithKind("Event"),
		Resource:         "events",
		Singular:         "event",
		ShortNames:       []string{"ev"},
		Namespaced:       true,
		CreateOnUpdate:   true,
		New:              newOf[corev1.Event],
		NewList:          newOf[corev1.EventList],

		Validate: check(func(e *corev1.Event) field.ErrorList {
			errs := validateNamespaced(&e.ObjectMeta, anyName)
			return append(errs, validateEvent(e, "reportingComponent")...)
		}),

		Columns: eventColumns(),
		Row:     cells(eventCells),
		SelectableFields: selectable(true, func(e *corev1.Event, set fields.Set) {
			referenceFields(set, "involvedObject", &e.InvolvedObject)
			set["reason"] = e.Reason
			set["reportingComponent"] = e.ReportingController
			set["source"] = or(e.Source.Component, e.ReportingController)
			set["type"] = e.Type
		}),
	}
}

// eventsEventRow shows the same Events as events.k8s.io/v1.
func eventsEventRow() Kind {
	return Kind{
		GroupVersionKind: eventsv1.SchemeGroupVersion.WithKind("Event"),
		Resource:         "events",
		Singular:         "event",
		ShortNames:       []string{"ev"},
		Namespaced:       true,
		CreateOnUpdate:   true,
		MinVersion:       "1.19",
		New:              newOf[eventsv1.Event],
		NewList:          newOf[eventsv1.EventList],

		Validate: check(func(e *eventsv1.Event) field.ErrorList {
			errs := validateNamespaced(&e.ObjectMeta, anyName)
			return append(errs, validateEvent(storedEvent(e), "reportingController")...)
		}),
		ValidateCreate: check(validateNewEvent),
		ValidateUpdate: checkBoth(func(new, old *eventsv1.Event) field.ErrorList {
			var errs field.ErrorList
			for _, f := range []struct {
				name     string
				new, old any
			}{
				{"regarding", new.Regarding, old.Regarding},
				{"reason", new.Reason, old.Reason},
				{"note", new.Note, old.Note},
				{"action", new.Action, old.Action},
				{"related", new.Related, old.Related},
				{"reportingController", new.ReportingController, old.ReportingController},
				{"reportingInstance", new.ReportingInstance, old.ReportingInstance},
				{"type", new.Type, old.Type},
				{"eventTime", new.EventTime, old.EventTime},
			} {
				errs = append(errs, apivalidation.ValidateImmutableField(f.new, f.old, field.NewPath(f.name))...)
			}
			return errs
		}),

		Columns: eventColumns(),
		Row: cells(func(e *eventsv1.Event, now time.Time) []any {
			return eventCells(storedEvent(e), now)
		}),
		SelectableFields: selectable(true, func(e *eventsv1.Event, set fields.Set) {
			referenceFields(set, "regarding", &e.Regarding)
			set["reason"] = e.Reason
			set["reportingController"] = e.ReportingController
			set["type"] = e.Type
		}),

		Presents: &Presentation{
			Of:         corev1.SchemeGroupVersion.WithKind("Event"),
			ToStored:   func(obj runtime.Object) runtime.Object { return storedEvent(obj.(*eventsv1.Event)) },
			FromStored: func(obj runtime.Object) runtime.Object { return shownEvent(obj.(*corev1.Event)) },
		},
	}
}

// storedEvent and shownEvent are each other's inverse.

func storedEvent(e *eventsv1.Event) *corev1.Event {
	out := &corev1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: "v1", Kind: "Event"},
		ObjectMeta:          e.ObjectMeta,
		InvolvedObject:      e.Regarding,
		Reason:              e.Reason,
		Message:             e.Note,
		Source:              e.DeprecatedSource,
		FirstTimestamp:      e.DeprecatedFirstTimestamp,
		LastTimestamp:       e.DeprecatedLastTimestamp,
		Count:               e.DeprecatedCount,
		Type:                e.Type,
		EventTime:           e.EventTime,
		Action:              e.Action,
		Related:             e.Related,
		ReportingController: e.ReportingController,
		ReportingInstance:   e.ReportingInstance,
	}
	if e.Series != nil {
		out.Series = &corev1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out.DeepCopy()
}

func shownEvent(e *corev1.Event) *eventsv1.Event {
	out := &eventsv1.Event{
		TypeMeta:                 metav1.TypeMeta{APIVersion: eventsv1.SchemeGroupVersion.String(), Kind: "Event"},
		ObjectMeta:               e.ObjectMeta,
		EventTime:                e.EventTime,
		ReportingController:      e.ReportingController,
		ReportingInstance:        e.ReportingInstance,
		Action:                   e.Action,
		Reason:                   e.Reason,
		Regarding:                e.InvolvedObject,
		Related:                  e.Related,
		Note:                     e.Message,
		Type:                     e.Type,
		DeprecatedSource:         e.Source,
		DeprecatedFirstTimestamp: e.FirstTimestamp,
		DeprecatedLastTimestamp:  e.LastTimestamp,
		DeprecatedCount:          e.Count,
	}
	if e.Series != nil {
		out.Series = &eventsv1.EventSeries{Count: e.Series.Count, LastObservedTime: e.Series.LastObservedTime}
	}
	return out.DeepCopy()
}

// anyName: the API takes any name of an Event that its path can hold; that is
// checked for every kind alike.
func anyName(string, bool) []string { return nil }

func referenceFields(set fields.Set, prefix string, r *corev1.ObjectReference) {
	set[prefix+".kind"] = r.Kind
	set[prefix+".namespace"] = r.Namespace
	set[prefix+".name"] = r.Name
	set[prefix+".uid"] = string(r.UID)
	set[prefix+".apiVersion"] = r.APIVersion
	set[prefix+".resourceVersion"] = r.ResourceVersion
	set[prefix+".fieldPath"] = r.FieldPath
}

// validateEvent holds what both forms of Event are held to; controllerField is
// the form's name of the reporting controller's field.
func validateEvent(e *corev1.Event, controllerField string) field.ErrorList {
	mismatch := field.ErrorList{field.Invalid(field.NewPath("involvedObject", "namespace"), e.InvolvedObject.Namespace, "does not match event.namespace")}
	if e.EventTime.IsZero() { // an Event of the old style
		of := e.InvolvedObject.Namespace
		if of == "" && e.Namespace != "" && e.Namespace != metav1.NamespaceDefault || of != "" && of != e.Namespace {
			return mismatch
		}
		return nil
	}

	var errs field.ErrorList
	if e.InvolvedObject.Namespace == "" && e.Namespace != metav1.NamespaceDefault && e.Namespace != metav1.NamespaceSystem {
		errs = append(errs, mismatch...)
	}
	controller := field.NewPath(controllerField)
	if e.ReportingController == "" {
		errs = append(errs, field.Required(controller, ""))
	}
	errs = append(errs, invalid(controller, e.ReportingController, validation.IsQualifiedName(e.ReportingController))...)
	word := func(name, value string) {
		if value == "" {
			errs = append(errs, field.Required(field.NewPath(name), ""))
		}
		if len(value) > maxEventWord {
			errs = append(errs, field.Invalid(field.NewPath(name), "", fmt.Sprintf("can have at most %v characters", maxEventWord)))
		}
	}
	word("reportingInstance", e.ReportingInstance)
	word("action", e.Action)
	word("reason", e.Reason)
	if len(e.Message) > maxEventNote {
		errs = append(errs, field.Invalid(field.NewPath("message"), "", fmt.Sprintf("can have at most %v characters", maxEventNote)))
	}
	return errs
}

// validateNewEvent: events.k8s.io/v1 takes new Events of the new style only.
func validateNewEvent(e *eventsv1.Event) field.ErrorList {
	var errs field.ErrorList
	if e.EventTime.IsZero() {
		errs = append(errs, field.Required(field.NewPath("eventTime"), ""))
	}
	if e.Series != nil {
		if e.Series.Count < 2 {
			errs = append(errs, field.Invalid(field.NewPath("series.count"), "", "should be at least 2"))
		}
		if e.Series.LastObservedTime.IsZero() {
			errs = append(errs, field.Required(field.NewPath("series.lastObservedTime"), ""))
		}
	}
	if e.Type != corev1.EventTypeNormal && e.Type != corev1.EventTypeWarning {
		errs = append(errs, field.Invalid(field.NewPath("type"), "", "has invalid value: "+e.Type))
	}
	unset := func(name string, is bool) {
		if !is {
			errs = append(errs, field.Invalid(field.NewPath(name), "", "needs to be unset"))
		}
	}
	unset("firstTimestamp", e.DeprecatedFirstTimestamp.IsZero())
	unset("lastTimestamp", e.DeprecatedLastTimestamp.IsZero())
	unset("count", e.DeprecatedCount == 0)
	unset("source", e.DeprecatedSource == corev1.EventSource{})
	return errs
}

func eventColumns() []metav1.TableColumnDefinition {
	doc := corev1.Event{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		column("Last Seen", doc["lastTimestamp"]),
		column("Type", doc["type"]),
		column("Reason", doc["reason"]),
		column("Object", doc["involvedObject"]),
		wideColumn("Subobject", doc["involvedObject"]),
		wideColumn("Source", doc["source"]),
		column("Message", doc["message"]),
		wideColumn("First Seen", doc["firstTimestamp"]),
		wideColumn("Count", doc["count"]),
		func() metav1.TableColumnDefinition { c := nameColumn(); c.Priority = 1; return c }(),
	}
}

func eventCells(e *corev1.Event, now time.Time) []any {
	first := age(e.FirstTimestamp.Time, now)
	if e.FirstTimestamp.IsZero() {
		first = age(e.EventTime.Time, now)
	}
	last := age(e.LastTimestamp.Time, now)
	if e.LastTimestamp.IsZero() {
		last = first
	}
	count := e.Count
	switch {
	case e.Series != nil:
		last, count = age(e.Series.LastObservedTime.Time, now), e.Series.Count
	case count == 0:
		count = 1
	}
	object := strings.ToLower(e.InvolvedObject.Kind)
	if e.InvolvedObject.Name != "" {
		object += "/" + e.InvolvedObject.Name
	}
	source := or(e.Source.Component, e.ReportingController)
	if host := or(e.Source.Host, e.ReportingInstance); host != "" {
		source += ", " + host
	}
	return []any{last, e.Type, e.Reason, object, e.InvolvedObject.FieldPath, source, strings.TrimSpace(e.Message), first, int64(count), e.Name}
}
