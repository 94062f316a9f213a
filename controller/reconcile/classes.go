package reconcile

import (
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"vtm-ingress/controller/kube"
	"vtm-ingress/controller/translate"
	"vtm-ingress/internal/mutation"
)

// classGrace is how long the Ingresses of an IngressClass that is gone stay as they
// are: whoever replaces one deletes it first.
const classGrace = time.Minute

// goneClasses are IngressClasses that are no more, and count as if they were for a
// while. Of Run's goroutine alone.
type goneClasses struct {
	cluster types.UID
	seen    *kube.Table[string, *networkingv1.IngressClass]
	gone    map[string]goneClass
	// looked: the Ingresses that are served and whose class was gone before this
	// instance began were looked for.
	looked bool
	// with is seen together with gone: the same Table while neither changes, since
	// translation reuses what comes of it. Nil: nothing is gone.
	with *kube.Table[string, *networkingv1.IngressClass]
}

type goneClass struct {
	class *networkingv1.IngressClass
	until time.Time
}

// keepClasses gives the Snapshot in which the IngressClasses that are gone for less
// than classGrace still are, and tells the owners of their Ingresses once.
func (l *Loop) keepClasses(snapshot *kube.Snapshot) *kube.Snapshot {
	c := &l.classes
	if c.cluster != snapshot.ClusterUID || c.gone == nil {
		*c = goneClasses{cluster: snapshot.ClusterUID, gone: map[string]goneClass{}}
	}
	until := l.now().Add(classGrace)
	changed := false
	for name := range c.seen.Differing(snapshot.Classes) {
		changed = true
		if snapshot.Classes.Get(name) == nil {
			class := c.seen.Get(name)
			c.gone[name] = goneClass{class, until}
			l.tellGone(snapshot, class)
		}
	}
	c.seen = snapshot.Classes
	if l.observed != nil && !c.looked {
		c.looked = true
		served := l.observed.Programmed().Owners
		for _, ingress := range snapshot.Ingresses.All() {
			name := ingress.Spec.IngressClassName
			if name == nil || !served[ingress.UID] || snapshot.Classes.Get(*name) != nil || c.gone[*name].class != nil {
				continue
			}
			class := &networkingv1.IngressClass{
				ObjectMeta: metav1.ObjectMeta{Name: *name},
				Spec:       networkingv1.IngressClassSpec{Controller: translate.ControllerName},
			}
			c.gone[*name] = goneClass{class, until}
			changed = true
			l.tellGone(snapshot, class)
		}
	}
	for name, g := range c.gone {
		if snapshot.Classes.Get(name) != nil || mutation.On(mutation.ClassGraceOff) || !l.now().Before(g.until) {
			delete(c.gone, name)
			changed = true
			continue
		}
		l.wakeAt(g.until)
	}
	if len(c.gone) == 0 {
		c.with = nil
		return snapshot
	}
	if changed || c.with == nil {
		c.with = snapshot.Classes
		for name, g := range c.gone {
			c.with = c.with.With(name, g.class)
		}
	}
	out := *snapshot
	out.Classes = c.with
	return &out
}

// tellGone warns the owners of the Ingresses of a class which is gone: of those that
// name it, and, if it was the cluster's only default, of those that name none.
func (l *Loop) tellGone(snapshot *kube.Snapshot, class *networkingv1.IngressClass) {
	if class.Spec.Controller != translate.ControllerName {
		return
	}
	text := fmt.Sprintf("IngressClass %s is gone: what serves stays as it is for %s, then it is taken away: create the class again, or name another", class.Name, classGrace)
	l.o.Log.Warn(text)
	wasDefault := translate.IsDefault(class)
	for _, other := range snapshot.Classes.All() {
		wasDefault = wasDefault && !translate.IsDefault(other)
	}
	for key, ingress := range snapshot.Ingresses.All() {
		name := ingress.Spec.IngressClassName
		if name != nil && *name == class.Name || wasDefault && translate.Unclassed(ingress) {
			l.notices[key] = append(l.notices[key], translate.Reason{Code: "IngressClassMissing", Message: text})
			l.untold.add(key)
		}
	}
}
