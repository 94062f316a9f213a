package node

import "testing"

func TestAnImageIsFoundByItsNameWithoutRegistryAndTag(t *testing.T) {
	images, err := DefaultImages().WithCommand("registry.example/*/special", "true")
	if err != nil {
		t.Fatal(err)
	}
	for image, want := range map[string]Program{
		"hello":                              echo{},
		"hello:1":                            echo{},
		"hello-echo:1":                       echo{},
		"docker.io/library/echo@sha256:0123": echo{},
		"registry.k8s.io/e2e-test-images/agnhost:2": echo{},
		"localhost:5000/echoserver":                 echo{},
		"localhost:5000/nginx":                      nil,
		"nginx:hello":                               nil,
		"":                                          nil,
		"hello/nginx":                               nil,
		"registry.example/team/special@sha256:01234": process{},
	} {
		got := images.find(image)
		_, isEcho := got.(echo)
		_, wantsEcho := want.(echo)
		if (got == nil) != (want == nil) || isEcho != wantsEcho {
			t.Errorf("%q: %T, want %T", image, got, want)
		}
	}
	if _, err := DefaultImages().WithCommand("[", "true"); err == nil {
		t.Error("a malformed pattern is taken")
	}
}

func TestEarlierRowsGoFirst(t *testing.T) {
	images, err := DefaultImages().WithCommand("hello", "true")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := images.find("hello:1").(process); !ok {
		t.Error("a row of one's own does not go before the built-in ones")
	}
	if _, ok := DefaultImages().find("hello:1").(echo); !ok {
		t.Error("the table that one began with has changed")
	}
}

func TestReferencesAreExpandedAsInAPod(t *testing.T) {
	values := map[string]string{"A": "1", "B": "$(A)"}
	for text, want := range map[string]string{
		"$(A)": "1", "x$(A)y$(A)": "x1y1", "$$(A)": "$(A)", "$(B)": "$(A)", "$(C)": "$(C)", "$": "$", "$A": "$A", "$(A": "$(A", "$$$(A)": "$1", "": "",
	} {
		if got := expand(text, values); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestALogKeepsItsEnd(t *testing.T) {
	tail := &logTail{changed: make(chan struct{})}
	for range 10_000 {
		if n, err := tail.Write([]byte("0123456789012345678901234567890123456789\n")); n != 41 || err != nil {
			t.Fatal(n, err)
		}
	}
	tail.Write([]byte("the end\n"))
	if n := len(tail.text); n < logLimit || n > 2*logLimit {
		t.Errorf("%d bytes are kept", n)
	}
	buffer := make([]byte, 100)
	r := &logReader{ctx: t.Context(), tail: tail, at: tail.start(new(int64(1)))}
	if n, _ := r.Read(buffer); string(buffer[:n]) != "the end\n" {
		t.Errorf("%q", buffer[:n])
	}
	// A reader that is too slow goes on with what there is.
	r = &logReader{ctx: t.Context(), tail: tail}
	if n, err := r.Read(buffer); n != len(buffer) || err != nil {
		t.Errorf("%d %v", n, err)
	}
}

func TestAnImageCanBeTheBuiltinEcho(t *testing.T) {
	images, err := DefaultImages().WithCommand("shop/*", BuiltinEcho)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := images.find("shop/till:2").(echo); !ok {
		t.Errorf("%T, want the built-in echo server", images.find("shop/till:2"))
	}
}
