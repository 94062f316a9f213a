package vtm_test

import (
	"bufio"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"vtm-ingress/sim/vtm"
)

// inLog returns the events with a tag.
func inLog(tm *vtm.TrafficManager, tag string) []vtm.Event {
	var found []vtm.Event
	for _, e := range tm.EventLog() {
		if e.Tag == tag {
			found = append(found, e)
		}
	}
	return found
}

func TestTheEventLogIsAFileThatOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	keep := func(o *vtm.Options) { o.Data = dir }
	tm, c := start(t, keep)
	c.want(201, "PUT", "/config/active/pools/web", emptyPool)
	tm.Close()
	b, err := os.ReadFile(filepath.Join(dir, "log", "errors"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]\tINFO\tpools/web\tconfadd\tConfiguration file added$`)
	if !line.Match(b) {
		t.Errorf("no line for the new pool in\n%s", b)
	}
	before := tm.EventLog()
	again, _ := start(t, keep)
	after := again.EventLog()
	if len(after) <= len(before) || len(inLog(again, "running")) != 2 {
		t.Fatalf("%d lines after a restart, want those %d and that of its start", len(after), len(before))
	}
	for i := range before {
		if before[i].String() != after[i].String() {
			t.Errorf("line %d was %q, is %q", i, before[i], after[i])
		}
	}
	again.Close()
	if all, err := os.ReadFile(filepath.Join(dir, "log", "errors")); err != nil || !strings.HasPrefix(string(all), string(b)) {
		t.Errorf("the file was not appended to: %v\n%s", err, all)
	}
}

func TestErrorLevelKeepsLesserEventsOutOfTheLog(t *testing.T) {
	tm, c := start(t, nil)
	c.want(200, "PUT", "/config/active/global_settings", `{"properties":{"log":{"error_level":"serious"}}}`)
	c.want(201, "PUT", "/config/active/pools/quiet", emptyPool)
	c.want(201, "PUT", "/config/active/rules/broken", []byte("TEST_TEXT"))
	if n := len(inLog(tm, "confadd")); n != 0 {
		t.Errorf("%d INFO lines", n)
	}
	serious := 0
	for _, e := range inLog(tm, "confmod") {
		if e.Section == "rules/broken" && e.Level == "SERIOUS" {
			serious++
		}
	}
	if serious == 0 {
		t.Error("the SERIOUS line is missing")
	}
	c.want(200, "PUT", "/config/active/global_settings", `{"properties":{"log":{"error_level":"info"}}}`)
	c.want(201, "PUT", "/config/active/pools/told", emptyPool)
	if n := len(inLog(tm, "confadd")); n != 1 {
		t.Errorf("%d INFO lines with error_level info, want 1", n)
	}
}

// counter reads a key of a resource below statistics.
func (c *client) counter(path, key string) any {
	c.t.Helper()
	counts, _ := c.want(200, "GET", "/status/local_tm/statistics/"+path, nil).json(c.t)["statistics"].(map[string]any)
	return counts[key]
}

func TestEventTypesCountWhatTheyMatchAndLogActionsWriteTheirFile(t *testing.T) {
	dir := t.TempDir()
	tm, c := start(t, func(o *vtm.Options) { o.Data = dir })
	c.want(201, "PUT", "/config/active/actions/to%20file", `{"properties":{"basic":{"type":"log"},"log":{"file":"../../../etc/changes.log"}}}`)
	c.want(201, "PUT", "/config/active/actions/mail", `{"properties":{"basic":{"type":"email"}}}`)
	c.want(201, "PUT", "/config/active/event_types/new%20things", `{"properties":{"basic":{"actions":["mail","to file","none such"]},"config":{"event_tags":["confadd"]}}}`)
	before, _ := c.counter("events/All%20Events", "matched").(float64)
	c.want(201, "PUT", "/config/active/pools/a", emptyPool)
	c.want(200, "PUT", "/config/active/pools/a", emptyPool)
	c.want(201, "PUT", "/config/active/pools/b", emptyPool)
	for path, want := range map[string]float64{"events/new%20things": 2, "actions/to%20file": 2, "actions/mail": 0} {
		key := "matched"
		if strings.HasPrefix(path, "actions") {
			key = "processed"
		}
		// The event type itself was an added file as well, before it was in effect.
		if got := c.counter(path, key); got != want && got != want+1 {
			t.Errorf("%s %s is %v, want %v", path, key, got, want)
		}
	}
	if after, _ := c.counter("events/All%20Events", "matched").(float64); after < before+3 {
		t.Errorf("All Events matched %v, before three changes %v", after, before)
	}
	if seen, _ := c.counter("globals", "events_seen").(float64); int(seen) < len(tm.EventLog()) {
		t.Errorf("events_seen is %v, the log has %d lines", seen, len(tm.EventLog()))
	}
	b, err := os.ReadFile(filepath.Join(dir, "log", "changes.log"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b); !strings.Contains(got, "pools/a\tconfadd") || !strings.Contains(got, "pools/b\tconfadd") || strings.Contains(got, "confmod") {
		t.Errorf("the action's file holds\n%s", got)
	}
}

func TestAProgramActionRunsOnlyWherePermittedAndNotForever(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	program := "#!/bin/sh\nprintf '%s|' \"$@\" >>" + out + "\necho told\n"
	configure := func(c *client) {
		c.want(201, "PUT", "/config/active/action_programs/note.sh", []byte(program))
		c.want(201, "PUT", "/config/active/action_programs/hang.sh", []byte("#!/bin/sh\necho waiting\nexec sleep 1000\n"))
		c.want(201, "PUT", "/config/active/actions/note", `{"properties":{"basic":{"type":"program","verbose":true},
			"program":{"program":"note.sh","arguments":[{"name":"who","value":"me; rm -rf /"}]}}}`)
		c.want(201, "PUT", "/config/active/actions/hang", `{"properties":{"basic":{"type":"program","timeout":1},"program":{"program":"hang.sh"}}}`)
		c.want(201, "PUT", "/config/active/actions/gone", `{"properties":{"basic":{"type":"program"},"program":{"program":"none.sh"}}}`)
		c.want(201, "PUT", "/config/active/event_types/del", `{"properties":{"basic":{"actions":["note","hang","gone"]},"config":{"event_tags":["confdel"]}}}`)
		c.want(201, "PUT", "/config/active/pools/web", emptyPool)
		c.want(204, "DELETE", "/config/active/pools/web", nil)
	}
	_, c := start(t, nil)
	configure(c)
	if got := c.counter("actions/note", "processed"); got != float64(0) {
		t.Errorf("without permission it ran: %v", got)
	}

	tm, c := start(t, func(o *vtm.Options) { o.AllowPrograms = true })
	configure(c)
	for len(inLog(tm, "eventactionfail")) < 2 {
		if err := tm.AwaitEvent(t.Context(), uint64(len(tm.EventLog()))); err != nil {
			t.Fatal(err)
		}
	}
	if ok := inLog(tm, "eventactionok"); len(ok) != 1 || ok[0].Section != "actions/note" || !strings.Contains(ok[0].Text, "told") {
		t.Errorf("what the program printed is not told: %v", ok)
	}
	b, err := os.ReadFile(out)
	if want := "--eventtype=del|--who=me; rm -rf /|INFO\tpools/web\tconfdel\tConfiguration file deleted|"; err != nil || string(b) != want {
		t.Errorf("it got %q, %v; want %q", b, err, want)
	}
	failed := inLog(tm, "eventactionfail")
	if !strings.Contains(failed[0].Text, "longer than 1s; it printed: waiting") {
		t.Errorf("the program that hangs: %s", failed[0].Text)
	}
	if !strings.Contains(failed[1].Text, "'none.sh' does not exist") {
		t.Errorf("the program that is not there: %s", failed[1].Text)
	}
	if got := c.counter("actions/note", "processed"); got != float64(1) {
		t.Errorf("processed is %v, want 1", got)
	}
}

func TestAProgramThatRunsEndsWithTheTrafficManager(t *testing.T) {
	tm, c := start(t, func(o *vtm.Options) { o.AllowPrograms = true })
	fifo := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	c.want(201, "PUT", "/config/active/action_programs/hang.sh", []byte("#!/bin/sh\necho >"+fifo+"\nexec sleep 1000\n"))
	c.want(201, "PUT", "/config/active/actions/hang", `{"properties":{"basic":{"type":"program","timeout":0},"program":{"program":"hang.sh"}}}`)
	c.want(201, "PUT", "/config/active/event_types/del", `{"properties":{"basic":{"actions":["hang"]},"config":{"event_tags":["confdel"]}}}`)
	c.want(201, "PUT", "/config/active/pools/web", emptyPool)
	c.want(204, "DELETE", "/config/active/pools/web", nil)
	if _, err := os.ReadFile(fifo); err != nil { // now it runs
		t.Fatal(err)
	}
	tm.Close() // the test ends only if this does
}

func TestTheControlAPIShowsTheEventLogAndFollowsIt(t *testing.T) {
	c, err := vtm.StartCluster(realCluster("", 1))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	base := "http://" + c.Info()[0].Control + "/members/vtm-1/log"
	resp, err := http.Get(base + "?follow")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	until := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("the log ended before %q: %v", what, lines.Err())
	}
	until("general\trunning")
	client := &client{t: t, base: "http://" + c.Info()[0].REST + "/api/tm/8.3", http: http.DefaultClient}
	client.want(201, "PUT", "/config/active/pools/web", emptyPool)
	until("pools/web\tconfadd")
	if err := c.SetFaults([]vtm.FaultRule{{Kind: "stop"}}); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() { // it ends with the traffic manager
	}
	stopped, err := http.Get(base)
	if err != nil {
		t.Fatal(err)
	}
	defer stopped.Body.Close()
	if stopped.StatusCode != 404 {
		t.Errorf("the log of a member that is stopped: %d", stopped.StatusCode)
	}
}
