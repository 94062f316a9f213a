package vtm_test

import (
	"net/http"
	"strings"
	"testing"

	"vtm-ingress/sim/vtm"
)

// as sends a request as a user whose password is the user's name.
func (c *client) as(user, method, path, body string) reply {
	c.t.Helper()
	req, err := http.NewRequest(method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.SetBasicAuth(user, user)
	return c.send(req)
}

func TestAUserMayDoWhatItsGroupPermits(t *testing.T) {
	_, c := start(t, func(o *vtm.Options) {
		o.Users = map[string]string{"admin": "secret"}
		o.Groups = map[string]string{}
		for user, group := range map[string]string{
			"guest": "Guest", "demo": "Demo", "watcher": "Monitoring", "operator": "Operators", "lost": "No such group",
			"nobody": "Nobodies", "pooler": "Poolers", "odd": "Odd",
		} {
			o.Users[user], o.Groups[user] = user, group
		}
	})
	group := func(name, permissions string) {
		c.want(201, "PUT", "/config/active/user_groups/"+name, `{"properties":{"basic":{"permissions":[`+permissions+`]}}}`)
	}
	group("Operators", `{"name":"all","access_level":"full"}`)
	group("Nobodies", `{"name":"all","access_level":"none"}`)
	group("Poolers", `{"name":"Pools","access_level":"full"},{"name":"all","access_level":"ro"},{"name":"SSL","access_level":"none"}`)
	group("Odd", `{"name":"all","access_level":"everything"}`)
	for _, page := range []struct {
		path   string // "": to a pool of the user's own
		body   string
		method string
		want   map[string]int
	}{
		{"/config/active/pools", "", "GET", map[string]int{"guest": 200, "demo": 200, "watcher": 403, "operator": 200, "lost": 403, "nobody": 403, "pooler": 200, "odd": 403}},
		{"/config/active/pools/USER", "{}", "PUT", map[string]int{"guest": 403, "demo": 201, "watcher": 403, "operator": 201, "lost": 403, "nobody": 403, "pooler": 201, "odd": 403}},
		{"/config/active/pools/USER", "", "DELETE", map[string]int{"guest": 403, "demo": 204, "watcher": 403, "operator": 204, "lost": 403, "nobody": 403, "pooler": 204, "odd": 403}},
		{"/config/active/rules/USER", "x", "PUT", map[string]int{"guest": 403, "demo": 201, "operator": 201, "pooler": 403, "nobody": 403}},
		{"/config/active/ssl/server_keys", "", "GET", map[string]int{"guest": 200, "pooler": 403, "watcher": 403, "demo": 200}},
		{"/config/active/license_keys/USER", "x", "PUT", map[string]int{"guest": 403, "demo": 403, "operator": 201}},
		{"/config/active/user_groups/Admin", "{}", "PUT", map[string]int{"guest": 403, "demo": 403, "operator": 200, "pooler": 403}},
		{"/config/active/global_settings", "{}", "PUT", map[string]int{"guest": 403, "demo": 200, "operator": 200, "pooler": 403, "nobody": 403}},
		{"/status/local_tm/statistics/globals", "", "GET", map[string]int{"guest": 200, "watcher": 200, "nobody": 403}},
		{"/status/local_tm/state", "", "GET", map[string]int{"guest": 200, "watcher": 200, "nobody": 403}},
		{"/status/local_tm/backups/full/USER", "", "PUT", map[string]int{"guest": 403, "demo": 403, "watcher": 403, "operator": 201, "pooler": 403}},
		{"/config/active", "", "GET", map[string]int{"guest": 200, "nobody": 200}}, // of no page
	} {
		for user, want := range page.want {
			if got := c.as(user, page.method, strings.ReplaceAll(page.path, "USER", user), page.body); got.status != want {
				t.Errorf("%s %s of %s: %d %s, want %d", page.method, page.path, user, got.status, got.body, want)
			} else if want == 403 && got.json(t)["error_id"] != "resource.forbidden" {
				t.Errorf("%s", got.body)
			}
		}
	}
}
