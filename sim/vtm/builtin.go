package vtm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"vtm-ingress/sim/dataplane"
)

// builtin is what a new traffic manager has, as PUT bodies would say it: path ->
// name -> section -> key -> value. The monitors are those of vtm/runtime.md,
// "Monitoring"; groups and event types have the names that a real one has.
func (t *TrafficManager) builtin() map[string]map[string]map[string]map[string]any {
	type sections = map[string]map[string]any
	monitor := func(kind string, delay, timeout, failures int, more ...sections) sections {
		s := sections{"basic": {"type": kind, "delay": delay, "timeout": timeout, "failures": failures}}
		for _, m := range more {
			for name, keys := range m {
				if s[name] == nil {
					s[name] = map[string]any{}
				}
				for k, v := range keys {
					s[name][k] = v
				}
			}
		}
		return s
	}
	tls := sections{"basic": {"use_ssl": true}}
	monitors := map[string]sections{
		"Ping":         monitor("ping", 2, 5, 3),
		"Connect":      monitor("connect", 2, 5, 3),
		"Simple HTTP":  monitor("http", 5, 10, 3),
		"Simple HTTPS": monitor("http", 5, 10, 3, tls),
		"Full HTTP":    monitor("http", 10, 10, 3),
		"Full HTTPS":   monitor("http", 5, 10, 3, tls),
		"Client First": monitor("tcp_transaction", 5, 5, 3),
		"Server First": monitor("tcp_transaction", 5, 5, 3),
		"FTP":          monitor("tcp_transaction", 5, 5, 3, sections{"tcp": {"response_regex": `^220`, "close_string": `QUIT\r\n`}}),
		"POP":          monitor("tcp_transaction", 5, 5, 3, sections{"tcp": {"response_regex": `^\+OK [^\n]+\n`, "close_string": `QUIT\r\n`}}),
		"SMTP":         monitor("tcp_transaction", 5, 5, 3, sections{"tcp": {"response_regex": `^220`, "close_string": `QUIT\r\n`}}),
		"DNS": monitor("program", 5, 5, 3, sections{"script": {"program": "dns.pl", "arguments": []any{
			map[string]any{"name": "request_host", "description": "Hostname to look up in DNS", "value": ""},
			map[string]any{"name": "response_addr", "description": "Address to expect in DNS response", "value": ""},
		}}}),
		"RTSP":    monitor("rtsp", 5, 10, 5),
		"SIP UDP": monitor("sip", 5, 10, 5),
		"SIP TCP": monitor("sip", 5, 10, 5, sections{"sip": {"transport": "tcp"}}),
		"SIP TLS": monitor("sip", 5, 10, 5, sections{"sip": {"transport": "tcp"}}, tls),
	}
	global := sections{}
	if t.o.ReplicateAtOnce {
		global["rest_api"] = map[string]any{"replicate_lull": 0}
	}
	return map[string]map[string]sections{
		"global_settings":  {"": global},
		"security":         {"": {}},
		"appliance/nat":    {"": {}},
		"traffic_managers": {t.o.Name: {}},
		"monitors":         monitors,
		"event_types":      builtinEventTypes(),
		"actions":          builtinActions(),
		"user_groups":      groups(),
		"log_export":       logExports(),
		"aptimizer/profiles": {
			"Express": {}, "Basic": {}, "Advanced": {},
		},
		"aptimizer/scopes": {"Any hostname or path": {}},
	}
}

// install reads the stored configuration, adds what is built in and missing, and
// gives all of it to the data plane as one change, without a line in the log.
func (t *TrafficManager) install(m *member) error {
	switch {
	case m != nil && (m.loaded != nil || m.loadError != nil):
		if m.loadError != nil {
			return m.loadError
		}
		t.store.putAll(m.loaded)
		m.loaded = nil
	case t.disk != nil:
		all, err := t.disk.load(t.schema, newParsedFiles())
		if err != nil {
			return err
		}
		t.store.putAll(all)
	}
	all := t.builtin()
	for _, path := range slices.Sorted(maps.Keys(all)) {
		for _, name := range slices.Sorted(maps.Keys(all[path])) {
			if t.store.get(t.schema.types[path], name) != nil {
				continue
			}
			body, err := json.Marshal(map[string]any{"properties": all[path][name]})
			if err != nil {
				return fmt.Errorf("built-in %s/%s: %w", path, name, err)
			}
			r, refused := merge(t.schema.types[path], name, nil, body, nil)
			if refused != nil {
				return fmt.Errorf("built-in %s/%s: %s", path, name, refused.body())
			}
			r.builtin = true
			if path == "traffic_managers" {
				// Unlike the others this one is not the same everywhere, so it is told.
				r.stamp = nextStamp(t.store.last(r.kind, name), t.started, name)
			}
			if err := t.commit(r); err != nil {
				return err
			}
		}
	}
	for _, path := range slices.Sorted(maps.Keys(builtinFiles)) {
		for _, name := range slices.Sorted(maps.Keys(builtinFiles[path])) {
			kind := t.schema.types[path]
			if t.store.get(kind, name) != nil {
				continue
			}
			if err := t.commit(&resource{kind: kind, name: name, builtin: true, content: []byte(builtinFiles[path][name])}); err != nil {
				return err
			}
		}
	}
	var u dataplane.Update
	for _, r := range t.store.all(t.schema) {
		if r.deleted {
			continue
		}
		t.update(&u, r)
		if t.strict != nil && len(r.versions) > 0 {
			t.strict.changed(nil, r)
		}
	}
	t.data.Apply(u)
	return nil
}
