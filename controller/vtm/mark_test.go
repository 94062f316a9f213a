package vtm

import (
	"testing"
)

func TestMarksAreReadBackAndNothingElseIsAMark(t *testing.T) {
	mark := Mark{ID: "k8s", Cluster: "6f1e", Kind: "Ingress", Namespace: "shop", Name: "web.1", UID: "77aa"}
	const line = "vtm-ingress/1 id=k8s cluster=6f1e owner=Ingress/shop/web.1 uid=77aa"
	if got := mark.Format(); got != line {
		t.Fatalf("Format: %q, want %q", got, line)
	}
	for _, test := range []struct {
		resource *Resource
		want     bool
	}{
		{New(Pools, "p", Properties{"basic": {"note": line}}), true},
		{New(Pools, "p", Properties{"basic": {"note": line + "\nseen by Anna"}}), true},
		{New(Pools, "p", Properties{"basic": {"note": line + "\r\nseen by Anna"}}), true},
		{New(Pools, "p", Properties{"basic": {"note": "seen by Anna\n" + line}}), false},
		{New(Pools, "p", Properties{"basic": {"note": ""}}), false},
		{New(Pools, "p", Properties{"basic": {"note": 7}}), false},
		{New(Pools, "p", Properties{}), false},
		{New(Pools, "p", Properties{"basic": {"note": "vtm-ingress/2" + line[len("vtm-ingress/1"):]}}), false},
		{New(Pools, "p", Properties{"basic": {"note": line + " more=1"}}), false},
		{New(Pools, "p", Properties{"basic": {"note": "vtm-ingress/1 id= cluster=c owner=I/n/w uid=u"}}), false},
		{New(Pools, "p", Properties{"basic": {"note": "vtm-ingress/1 id=k cluster=c owner=I/n/w/x uid=u"}}), false},
		{NewFile(Rules, "r", []byte("# "+line+"\nhttp.close();")), true},
		{NewFile(Rules, "r", []byte("# "+line)), true},
		{NewFile(Rules, "r", []byte(line+"\n")), false},
		{NewFile(Rules, "r", []byte("\n# "+line)), false},
		{NewFile(Rules, "r", nil), false},
	} {
		got, ok := test.resource.Mark()
		if ok != test.want {
			t.Errorf("%v %q: mark %v, want %v", test.resource.Properties(), test.resource.Content, ok, test.want)
		}
		if ok && got != mark {
			t.Errorf("read back %+v, want %+v", got, mark)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add("vtm-ingress/1 id=k8s cluster=c owner=Ingress/n/w uid=u\nrest")
	f.Add("vtm-ingress/1 id=a=b cluster==c owner=//x uid=\x00")
	f.Fuzz(func(t *testing.T, note string) {
		mark, ok := ParseMark(note)
		if !ok {
			return
		}
		if again, ok := ParseMark(mark.Format()); !ok || again != mark {
			t.Errorf("%q: %+v does not read back: %+v", note, mark, again)
		}
	})
}
