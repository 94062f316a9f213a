package inspect

import (
	"strings"
	"testing"
)

// FuzzReadManifests: whatever a file holds, it is read or refused.
func FuzzReadManifests(f *testing.F) {
	f.Add("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n---\n---\n# nothing\n---\nkind: List\napiVersion: v1\nitems: [{apiVersion: v1, kind: Node}]\n")
	f.Add(`{"apiVersion":"networking.k8s.io/v1","kind":"IngressList","items":[{"metadata":{"name":"a"}}]}`)
	f.Add("kind: [")
	f.Add("apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: List\n  items: [null, 7, {}]\n")
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := ReadManifests("f", strings.NewReader(text), "shop")
		if err != nil && (objects != nil || !strings.HasPrefix(err.Error(), "f: ")) {
			t.Errorf("%v, %v", objects, err)
		}
	})
}
