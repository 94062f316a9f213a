package admin_test

import (
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// tailed are the objects of the lines that a page's tail gives, and where it goes on.
func (b *browser) tailed(address string) (objects []string, next string) {
	b.t.Helper()
	var answer struct {
		After string
		Lines []struct{ Object, Member, Text string }
	}
	p := b.want(200, address)
	if err := json.Unmarshal([]byte(p.text), &answer); err != nil {
		b.t.Fatalf("%v\n%s", err, p.text)
	}
	for _, l := range answer.Lines {
		objects = append(objects, l.Object)
	}
	u, _ := url.Parse(address)
	q := u.Query()
	q.Set("after", answer.After)
	return objects, u.Path + "?" + q.Encode()
}

func TestTheLogIsFilteredAndItsTailBringsWhatIsNewOfAllMembers(t *testing.T) {
	s := start(t, 2, "127.9.1.0")
	s.rest("vtm-1", "PUT", "persistence/before", `{}`)
	s.rest("vtm-1", "PUT", "rules/bad", `this is no rule`)
	s.rest("vtm-1", "PUT", "virtual_servers/web", `{"properties":{"basic":{"enabled":true,"port":8078,"pool":"discard","listen_on_any":false,"listen_on_hosts":["127.9.1.1"],"request_rules":["bad"]}}}`)
	b := s.browser("vtm-2").logIn("admin")
	tail := func(query string) string {
		p := b.want(200, "/log?"+query)
		return html.UnescapeString(regexp.MustCompile(`data-tail="([^"]*)"`).FindStringSubmatch(p.text)[1])
	}
	rows := func(query string) string { return b.want(200, "/log?"+query).text }
	if p := rows(""); !strings.Contains(p, "persistence/before") || !strings.Contains(p, "vtm-1") || !strings.Contains(p, "rules/bad") {
		t.Error("the log does not show what happened on another member")
	}
	for query, want := range map[string][2]string{ // shown and not shown
		"text=BEFORE":  {"persistence/before", "vservers/web"},
		"level=WARN":   {"rules/bad", "persistence/before"},
		"member=vtm-2": {"Traffic manager vtm-2 is running", "Traffic manager vtm-1 is running"},
		"level=LOUD":   {"persistence/before", "no such thing"},
	} {
		if p := rows(query); !strings.Contains(p, want[0]) || strings.Contains(p, want[1]) {
			t.Errorf("%s: the page shows %s: %v, %s: %v", query, want[0], strings.Contains(p, want[0]), want[1], strings.Contains(p, want[1]))
		}
	}

	all, filtered := tail(""), tail("text=persistence/&member=vtm-1")
	if got, _ := b.tailed(all); len(got) != 0 {
		t.Errorf("nothing has happened, and the tail brings %q", got)
	}
	s.rest("vtm-1", "PUT", "persistence/after", `{}`)
	s.rest("vtm-2", "PUT", "monitors/after", `{"properties":{"basic":{"type":"ping"}}}`)
	got, all := b.tailed(all)
	for _, want := range []string{"persistence/after", "monitors/after"} {
		if !slices.Contains(got, want) {
			t.Errorf("the tail lacks %s: %q", want, got)
		}
	}
	if got, _ := b.tailed(filtered); !slices.Equal(got, []string{"persistence/after"}) {
		t.Errorf("the filtered tail brings %q", got)
	}
	s.rest("vtm-1", "DELETE", "persistence/after", "")
	if got, _ := b.tailed(all); !slices.Equal(slices.Compact(got), []string{"persistence/after"}) { // each member tells it
		t.Errorf("going on, the tail brings %q", got)
	}
}
