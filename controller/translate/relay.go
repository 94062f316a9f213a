package translate

import (
	"fmt"
	"slices"

	"vtm-ingress/controller/vtm"
)

// Relay says how log lines get into the traffic manager's event log: its REST API
// takes none, so that a virtual server of ours does, by a rule.
type Relay struct {
	// Hosts are the members' management addresses or names: it listens there alone.
	Hosts []string
	Port  uint16
	// TokenSum is the SHA-256 of the token that senders must show, in lower-case
	// hexadecimal. Each user of the REST API can read rules, and so this.
	TokenSum string
}

// What the rule takes at most, in bytes: of one request, and of one line.
const (
	RelayRequest = 16 << 10
	RelayLine    = 1000
)

// RelayName is the name of the relay's server key, rule and virtual server.
func RelayName(controllerID string) string { return namer{controllerID}.relay() }

// relay is what Desired holds of a Relay.
type relay struct{ want, shown []*vtm.Resource }

// chooseRelay makes the relay's resources.
func (t *Translator) chooseRelay(in Input) {
	t.relay.want = nil
	if in.Relay == nil {
		return
	}
	for _, r := range t.env.relay(in) {
		t.relay.want = append(t.relay.want, t.intern(r))
	}
}

func (env *environment) relay(in Input) []*vtm.Resource {
	name := env.names.relay()
	mark := vtm.Mark{ID: env.settings.ControllerID, Cluster: string(env.cluster), Kind: "Relay", Name: "event-log", UID: "-"}
	key := in.Programmed.Keys[name]
	if key == nil {
		if in.SelfSigned == nil {
			return nil
		}
		// A private key can't be read back: one that is there stays as it is.
		key = vtm.New(vtm.ServerKeys, name, vtm.Properties{"basic": {
			"note": mark.Format(), "public": string(in.SelfSigned.Certificate), "private": string(in.SelfSigned.PrivateKey), "request": "",
		}})
	}
	rule := vtm.NewFile(vtm.Rules, name, emitRelay(in.Relay.TokenSum, mark.Comment()))
	hosts := make([]any, len(in.Relay.Hosts))
	for i, host := range in.Relay.Hosts {
		hosts[i] = host
	}
	return []*vtm.Resource{key, rule, vtm.New(vtm.VirtualServers, name, vtm.Properties{
		"basic": {
			"note": mark.Format(), "enabled": true, "protocol": "http", "port": int64(in.Relay.Port),
			"listen_on_any": false, "listen_on_hosts": hosts, "pool": discard,
			"request_rules": []any{rule.Name}, "ssl_decrypt": true, "max_concurrent_connections": int64(64),
		},
		"ssl": {"server_cert_default": key.Name},
	})}
}

// emitRelay gives the rule that writes what it is sent into the event log, line by
// line: a line begins with the letter of its level.
func emitRelay(tokenSum, mark string) []byte {
	return []byte(mark + fmt.Sprintf(`# Writes lines into the event log. Written by vtm-ingress-controller, which undoes changes.

if (http.getMethod() != "POST" || string.lowercase(string.hexEncode(string.hashSHA256(http.getHeader("X-Relay-Token")))) != %s) {
    http.sendResponse("403 Forbidden", "text/plain", "Only the controller may write here.\n", "");
}
if (http.getHeader("Content-Length") + 0 > %d || http.getHeader("Transfer-Encoding") != "") {
    http.sendResponse("413 Payload Too Large", "text/plain", "Too much at once.\n", "");
}
foreach ($line in string.split(http.getBody(), "\n")) {
    $text = string.regexsub(string.substring($line, 2, %d), "[\\x00-\\x1f\\x7f]", " ", "g");
    if (string.startsWith($line, "E ")) {
        log.error($text);
    } else if (string.startsWith($line, "W ")) {
        log.warn($text);
    } else if (string.startsWith($line, "I ")) {
        log.info($text);
    }
}
http.sendResponse("204 No Content", "text/plain", "", "");
`, Quote(tokenSum), RelayRequest, RelayLine+1))
}

// showRelay brings Desired to what the relay wants.
func (t *Translator) showRelay(withdraw, show func([]*vtm.Resource)) {
	if slices.Equal(t.relay.shown, t.relay.want) {
		return
	}
	withdraw(t.relay.shown)
	show(t.relay.want)
	t.relay.shown = t.relay.want
}
