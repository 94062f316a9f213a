package vtm_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vtm-ingress/sim/dataplane"
	"vtm-ingress/sim/network"
	"vtm-ingress/sim/vtm"
)

// office is a traffic manager under fake time, and who tries to log in.
type office struct {
	t  *testing.T
	n  *network.Network
	tm *vtm.TrafficManager
}

// underFakeTime runs f with a traffic manager of users admin and ops, both with
// the password "secret", and the given settings of global_settings!security.
func underFakeTime(t *testing.T, settings string, f func(o *office)) {
	synctest.Test(t, func(t *testing.T) {
		n := network.New(network.Options{Seed: 1})
		tm, err := vtm.Start(vtm.Options{
			World: n.World(), Log: slog.New(slog.DiscardHandler), Name: "vtm-1", Address: "127.1.0.1", PlainHTTP: true,
			Users: map[string]string{"admin": "secret", "ops": "secret"}, AddressMap: dataplane.NewAddressMap(dataplane.MapLoopback),
		})
		if err != nil {
			t.Fatal(err)
		}
		o := &office{t, n, tm}
		if got, _ := o.put("admin", "secret", "global_settings", `{"properties":{`+settings+`}}`); got != 200 {
			t.Fatalf("settings: %d", got)
		}
		f(o)
		tm.Close()
		n.Close()
		time.Sleep(2 * time.Minute) // transports' dials end
	})
}

// put answers with the status and how long it took.
func (o *office) put(user, password, path, body string) (int, time.Duration) {
	return o.send("PUT", user, password, path, body)
}

// try reads something.
func (o *office) try(user, password string) (int, time.Duration) {
	return o.send("GET", user, password, "pools", "")
}

func (o *office) send(method, user, password, path, body string) (int, time.Duration) {
	o.t.Helper()
	c := o.n.World().HTTPClient("client-"+user+password+path, nil)
	defer c.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(o.t.Context(), time.Hour)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, method, "http://"+o.tm.RESTAddress()+"/api/tm/8.3/config/active/"+path, strings.NewReader(body))
	req.SetBasicAuth(user, password)
	began := time.Now()
	resp, err := c.Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, time.Since(began).Round(time.Second)
}

// log counts the event log's lines of a tag about a user.
func (o *office) log(tag, user string) (n int) {
	for _, e := range o.tm.EventLog() {
		if e.Tag == tag && strings.Contains(e.Text, `"`+user+`"`) {
			n++
		}
		if strings.Contains(e.String(), "wrong-1") {
			o.t.Errorf("a password is in the event log: %s", e)
		}
	}
	return n
}

func TestAfterAFailedLoginTheNextWaitsForTheLoginDelay(t *testing.T) {
	underFakeTime(t, `"security":{"login_delay":7}`, func(o *office) {
		for i, step := range []struct {
			user, password string
			status         int
			took           time.Duration
		}{
			{"ops", "wrong-1", 401, 0},
			{"nobody", "wrong-1", 401, 0}, {"nobody", "wrong-1", 401, 0}, // unknown users are not tracked
			{"ops", "wrong-1", 401, 7 * time.Second},
			{"ops", "secret", 200, 7 * time.Second},
			{"ops", "wrong-1", 401, 0}, // the success forgot the failures
			{"ops", "secret", 200, 0},  // it is remembered, and no attempt
			{"admin", "secret", 200, 0},
		} {
			if status, took := o.try(step.user, step.password); status != step.status || took != step.took {
				t.Errorf("step %d: %d after %v, want %d after %v", i, status, took, step.status, step.took)
			}
		}
		if n := o.log("authfail", "ops"); n != 3 {
			t.Errorf("%d lines about ops", n)
		}
	})
}

func TestManyAttemptsAtOnceAreOneEachLoginDelay(t *testing.T) {
	underFakeTime(t, `"security":{"login_delay":4}`, func(o *office) {
		o.try("ops", "wrong-1")
		began, failed := time.Now(), make([]time.Duration, 5)
		var wg sync.WaitGroup
		for i := range failed {
			wg.Go(func() {
				if status, _ := o.try("ops", fmt.Sprint("wrong-1", i)); status != 401 {
					t.Errorf("%d", status)
				}
				failed[i] = time.Since(began)
			})
		}
		wg.Wait()
		if took := time.Since(began).Round(time.Second); took != 20*time.Second {
			t.Errorf("five guesses took %v, want 20s: %v", took, failed)
		}
	})
}

func TestTooManyFailedLoginsSuspendAUserForAWhile(t *testing.T) {
	underFakeTime(t, `"security":{"login_delay":0,"max_login_attempts":3,"max_login_suspension_time":10,"track_unknown_users":true},"rest_api":{"auth_timeout":0}`, func(o *office) {
		for _, user := range []string{"ops", "nobody"} {
			for range 3 {
				o.try(user, "wrong-1")
			}
			if n := o.log("loginsuspended", user); n != 1 {
				t.Errorf("%d lines about the suspension of %s", n, user)
			}
		}
		if status, _ := o.try("ops", "secret"); status != 401 {
			t.Errorf("a suspended user is let in: %d", status)
		}
		if status, _ := o.try("admin", "secret"); status != 200 {
			t.Errorf("another user is refused: %d", status)
		}
		time.Sleep(9*time.Minute + 58*time.Second)
		if status, _ := o.try("ops", "secret"); status != 401 {
			t.Errorf("let in before the suspension is over: %d", status)
		}
		time.Sleep(4 * time.Second)
		if status, _ := o.try("ops", "secret"); status != 200 {
			t.Errorf("still refused: %d", status)
		}
		o.try("ops", "wrong-1")
		if status, _ := o.try("ops", "secret"); status != 200 {
			t.Errorf("the count did not begin anew: %d", status)
		}
	})
}

func TestASuccessIsRememberedForTheAuthTimeout(t *testing.T) {
	underFakeTime(t, `"security":{"login_delay":0,"max_login_attempts":1},"rest_api":{"auth_timeout":60}`, func(o *office) {
		o.try("ops", "secret")
		o.try("ops", "wrong-1") // suspended
		if status, _ := o.try("ops", "secret"); status != 200 {
			t.Errorf("what is remembered is checked again: %d", status)
		}
		time.Sleep(61 * time.Second)
		if status, _ := o.try("ops", "secret"); status != 401 {
			t.Errorf("remembered for longer than the time-out: %d", status)
		}
	})
}

func TestOnlyListedAddressesAreLetIn(t *testing.T) {
	tm, c := start(t, nil)
	const path = "/config/active/security"
	for _, list := range []string{`["127.0.0.1"]`, `["192.0.2.1","127.0.0.0/8"]`, `["::ffff:127.0.0.1"]`, `[]`} {
		c.want(200, "PUT", path, `{"properties":{"basic":{"access":`+list+`}}}`)
		c.want(200, "GET", path, nil)
	}
	c.want(200, "PUT", path, `{"properties":{"basic":{"access":["192.0.2.0/24","localhost","x/y"]}}}`)
	for _, method := range []string{"GET", "PUT"} {
		if r := c.want(403, method, path, `{}`); r.json(t)["error_id"] != "resource.forbidden" {
			t.Errorf("%s", r.body)
		}
	}
	for _, e := range tm.EventLog() {
		if e.Tag == "accessdenied" && strings.Contains(e.Text, "127.0.0.1") {
			return
		}
	}
	t.Error("the event log does not tell who was refused")
}
