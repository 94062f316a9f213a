package vtm

import (
	"bytes"
	"strings"
)

// Mark says to whom a resource on the traffic manager belongs. It is one line of
// text: the first line of the note of a JSON resource, the first comment line of
// a rule. What does not bear a mark with the controller's ID and its cluster is
// somebody else's and is never changed or deleted.
type Mark struct {
	// ID is the setting controller_id: it tells controllers that share a traffic
	// manager apart.
	ID string
	// Cluster is the UID of the namespace kube-system of the Kubernetes cluster.
	Cluster string
	// Kind, Namespace and Name of the owner, and its UID. Namespace is empty for
	// an owner that has none. No part holds a space or a slash, as no name in
	// Kubernetes does.
	Kind, Namespace, Name string
	UID                   string
}

// markVersion begins every mark. Its number changes only when an older program
// could misread the newer form.
const markVersion = "vtm-ingress/1"

// Format gives the mark's line, without a line end.
func (m Mark) Format() string {
	return markVersion + " id=" + m.ID + " cluster=" + m.Cluster +
		" owner=" + m.Kind + "/" + m.Namespace + "/" + m.Name + " uid=" + m.UID
}

// Comment gives the mark as the first line of a rule, with its line end.
func (m Mark) Comment() string { return "# " + m.Format() + "\n" }

// ParseMark reads the mark in the first line of a note. It reports false for
// every text that Format could not have made, since a note may hold anything.
func ParseMark(note string) (Mark, bool) {
	line, _, _ := strings.Cut(note, "\n")
	line = strings.TrimSuffix(line, "\r")
	rest, ok := strings.CutPrefix(line, markVersion)
	if !ok {
		return Mark{}, false
	}
	var values [4]string // read without a list: there are tens of thousands
	for i, key := range [...]string{" id=", " cluster=", " owner=", " uid="} {
		if rest, ok = strings.CutPrefix(rest, key); !ok {
			return Mark{}, false
		}
		end := strings.IndexByte(rest, ' ')
		if end < 0 {
			end = len(rest)
		}
		if end == 0 {
			return Mark{}, false
		}
		values[i], rest = rest[:end], rest[end:]
	}
	kind, of, _ := strings.Cut(values[2], "/")
	namespace, name, ok := strings.Cut(of, "/")
	if !ok || rest != "" || kind == "" || name == "" || strings.Contains(name, "/") {
		return Mark{}, false
	}
	return Mark{ID: values[0], Cluster: values[1], Kind: kind, Namespace: namespace, Name: name, UID: values[3]}, true
}

// Mark returns the resource's ownership mark, false when it bears none.
func (r *Resource) Mark() (Mark, bool) {
	if r.Type.IsFile() {
		line, _, _ := bytes.Cut(r.Content, []byte("\n"))
		text, ok := bytes.CutPrefix(line, []byte("# "))
		if !ok {
			return Mark{}, false
		}
		return ParseMark(string(text))
	}
	note, ok := r.Get("basic", "note").(string)
	if !ok {
		return Mark{}, false
	}
	return ParseMark(note)
}

// Prefix begins the names of all resources of the controller with that id, and
// of no other's: an id holds no underscore.
func Prefix(id string) string { return id + "_" }
