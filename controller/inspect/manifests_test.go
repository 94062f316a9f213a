package inspect

import (
	"strings"
	"testing"
)

func TestAKindThatIsMisspeltIsTold(t *testing.T) {
	read := func(apiVersion, kind string) (int, string) {
		objects, err := ReadManifests("f", strings.NewReader("apiVersion: "+apiVersion+"\nkind: "+kind+"\nmetadata: {name: x}\n"), "shop")
		if err != nil {
			return len(objects), err.Error()
		}
		return len(objects), ""
	}
	for _, test := range []struct {
		apiVersion, kind string
		objects          int
		told             string
	}{
		{"networking.k8s.io/v1", "Ingress", 1, ""},
		{"networking.k8s.io/v1", "Ingres", 0, "Ingres of networking.k8s.io/v1 is unknown: did you mean Ingress?"},
		{"v1", "service", 0, "service of v1 is unknown: did you mean Service?"},
		{"v1", "ConfigMap", 0, ""},
		{"apps/v1", "Deployment", 0, ""},
		{"networking.k8s.io/v1", "NotYetKnown", 0, ""},
		{"example.org/v1", "Ingres", 0, ""},
	} {
		if n, told := read(test.apiVersion, test.kind); n != test.objects || (test.told == "") != (told == "") || !strings.Contains(told, test.told) {
			t.Errorf("%s %s: %d objects, %q", test.apiVersion, test.kind, n, told)
		}
	}
}

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
