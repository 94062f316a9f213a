package vtm_test

import (
	"net/http"
	"strings"
	"testing"

	"vtm-ingress/sim/vtm"
)

func TestAUserMayDoWhatItsGroupPermits(t *testing.T) {
	_, c := start(t, func(o *vtm.Options) {
		o.Users = map[string]string{"admin": "secret", "guest": "g", "operator": "o", "lost": "l", "nobody": "n"}
		o.Groups = map[string]string{"guest": "Guest", "operator": "Operators", "lost": "No such group", "nobody": "Nobodies"}
	})
	c.want(201, "PUT", "/config/active/user_groups/Operators", `{"properties":{"basic":{"permissions":[{"name":"all","access_level":"full"}]}}}`)
	c.want(201, "PUT", "/config/active/user_groups/Nobodies", `{"properties":{"basic":{"permissions":[{"name":"all","access_level":"none"}]}}}`)
	for user, want := range map[string][3]int{ // GET, PUT, DELETE
		"guest": {200, 403, 403}, "operator": {200, 201, 204}, "lost": {403, 403, 403}, "nobody": {403, 403, 403},
	} {
		path := map[string]string{"GET": "/config/active/pools", "PUT": "/config/active/pools/" + user, "DELETE": "/config/active/pools/" + user}
		for i, method := range []string{"GET", "PUT", "DELETE"} {
			req, err := http.NewRequest(method, c.base+path[method], strings.NewReader(emptyPool))
			if err != nil {
				t.Fatal(err)
			}
			req.SetBasicAuth(user, user[:1])
			if got := c.send(req); got.status != want[i] {
				t.Errorf("%s of %s: %d %s, want %d", method, user, got.status, got.body, want[i])
			}
		}
	}
}
