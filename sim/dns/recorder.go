package dns

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"path"
)

// Recorder makes and removes TXT records for who can't send dynamic updates, as lego's
// provider httpreq asks for it: POST, at any path that ends in /present or /cleanup, of
// JSON with fqdn and value.
func Recorder(zone *Zone) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var change struct{ FQDN, Value string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&change); err != nil || r.Method != http.MethodPost {
			http.Error(w, "want POST of JSON with fqdn and value", http.StatusBadRequest)
			return
		}
		switch path.Base(r.URL.Path) {
		case "present":
			zone.AddText(change.FQDN, change.Value)
		case "cleanup":
			zone.RemoveText(change.FQDN, change.Value)
		default:
			http.NotFound(w, r)
		}
	})
}

// Program is the text of a program for lego's provider exec, in bash: it asks a Recorder
// at address (host:port).
func Program(address string) (string, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`#!/bin/bash
set -e
body="{\"fqdn\":\"$2\",\"value\":\"$3\"}"
exec 3<>/dev/tcp/%s/%s
printf 'POST /%%s HTTP/1.0\r\nContent-Length: %%d\r\n\r\n%%s' "$1" "${#body}" "$body" >&3
grep -q '200 OK' <&3
`, host, port), nil
}
