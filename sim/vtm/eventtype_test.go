package vtm

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"vtm-ingress/internal/facts"
	"vtm-ingress/sim/dataplane"
)

func TestEventTypesMatchByTagAndObject(t *testing.T) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	kind := sch.types["event_types"]
	matcher := func(body string) eventTypeMatcher {
		r, refused := merge(kind, "mine", nil, []byte(`{"properties":`+body+`}`), nil)
		if refused != nil {
			t.Fatalf("%s: %s", body, refused.body())
		}
		return newMatcher(r)
	}
	nodefail := dataplane.Event{Section: "pools/web", Tag: "nodefail", More: []string{"nodes/10.0.0.1:80"}}
	custom := dataplane.Event{Section: "rules/r", Tag: "customevent", Text: "sold out: shoes"}
	for _, tc := range []struct {
		body  string
		event dataplane.Event
		want  bool
	}{
		{`{}`, nodefail, false},
		{`{"pools":{"event_tags":["nodefail"]}}`, nodefail, true},
		{`{"pools":{"event_tags":["nodefail"],"objects":["*"]}}`, nodefail, true},
		{`{"pools":{"event_tags":["*"],"objects":["web"]}}`, nodefail, true},
		{`{"pools":{"event_tags":["*"],"objects":["other"]}}`, nodefail, false},
		{`{"pools":{"event_tags":["nodeworking"]}}`, nodefail, false},
		{`{"monitors":{"event_tags":["nodefail"]}}`, nodefail, false},
		{`{"pools":{"objects":["*"]}}`, nodefail, false},
		{`{"config":{"event_tags":["confmod"]}}`, dataplane.Event{Section: "pools/web", Tag: "confmod"}, true},
		{`{"pools":{"event_tags":["*"]}}`, dataplane.Event{Section: "pools/web", Tag: "confmod"}, false},
		{`{"trafficscript":{"event_tags":["sold out"]}}`, custom, true},
		{`{"trafficscript":{"event_tags":["sold"]}}`, custom, false},
		{`{"trafficscript":{"event_tags":["*"]}}`, custom, true},
		{`{"rules":{"event_tags":["*"]}}`, custom, false},
		{`{"general":{"event_tags":["authfail"]}}`, dataplane.Event{Section: "admin", Tag: "authfail"}, true},
		{`{"faulttolerance":{"event_tags":["machinefail"]}}`, dataplane.Event{Section: "faulttolerance", Tag: "machinefail"}, true},
		{`{"licensekeys":{"event_tags":["expired"],"objects":["*"]}}`, dataplane.Event{Section: "licensekeys", Tag: "expired"}, true},
	} {
		if got := matcher(tc.body).matches(Event{Event: tc.event}); got != tc.want {
			t.Errorf("%s matches %+v: %t, want %t", tc.body, tc.event, got, tc.want)
		}
	}
}

func TestEveryTagOfABuiltInEventTypeIsStored(t *testing.T) {
	sch, err := parseSchema(facts.RESTSchema)
	if err != nil {
		t.Fatal(err)
	}
	for name, sections := range builtinEventTypes() {
		for section := range sections {
			if sch.types["event_types"].section(section) == nil {
				t.Errorf("event type %s has a section %s, which the schema lacks", name, section)
			}
		}
	}
}

func TestALineOfTheLogIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.StringMatching(`[a-zA-Z/._\- ]{1,20}`)
		e := Event{Time: time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), 0).UTC(), Event: dataplane.Event{
			Level: "INFO", Section: word.Draw(t, "section"), Tag: word.Draw(t, "tag"), Text: rapid.String().Draw(t, "text"),
			More: rapid.SliceOfN(word, 0, 3).Draw(t, "more"),
		}}
		line := e.String()
		if strings.ContainsAny(line, "\n\r\x00") {
			t.Fatalf("%q is more than one line", line)
		}
		got, ok := parseEvent(line)
		if !ok || got.String() != line || got.Tag != e.Tag || got.Section != e.Section || len(got.More) != len(e.More) {
			t.Fatalf("%q is read as %+v, %t", line, got, ok)
		}
	})
}

func TestTheRingReturnsWhatCameSince(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r ring[int]
		bound, added := rapid.IntRange(1, 9).Draw(t, "bound"), rapid.IntRange(0, 30).Draw(t, "added")
		for i := range added {
			r.add(i, bound)
		}
		seen := rapid.IntRange(0, 35).Draw(t, "seen")
		got := r.since(uint64(seen))
		first := max(seen, added-bound)
		if len(got) != max(0, added-first) {
			t.Fatalf("bound %d, %d added: since %d are %v", bound, added, seen, got)
		}
		for i, v := range got {
			if v != first+i {
				t.Fatalf("bound %d, %d added: since %d are %v", bound, added, seen, got)
			}
		}
	})
}

func TestALogFileIsRotatedWhenItIsFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log", "errors")
	f, err := openEventFile(path, 100, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	for i := range 50 {
		f.write(fmt.Sprintf("line %02d %s", i, strings.Repeat("x", 30)))
	}
	want := 49
	for _, name := range []string{path, path + ".1", path + ".2", path + ".3"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if len(b) > 100 {
			t.Errorf("%s has %d bytes", name, len(b))
		}
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		for i := len(lines) - 1; i >= 0; i-- {
			if !strings.HasPrefix(lines[i], fmt.Sprintf("line %02d ", want)) {
				t.Errorf("%s: %q, want line %02d", name, lines[i], want)
			}
			want--
		}
	}
	if old, _ := filepath.Glob(path + ".*"); len(old) != logFilesOld {
		t.Errorf("kept: %v", old)
	}
}

func TestALogThatCannotBeWrittenStopsNothing(t *testing.T) {
	f, err := openEventFile("/dev/full", 100, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Skip("this machine has no /dev/full:", err)
	}
	defer f.close()
	f.write("a line")
	if f.size != 0 || !f.failed {
		t.Errorf("%d bytes were written, failed %t", f.size, f.failed)
	}
}
