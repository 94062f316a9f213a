package translate

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"slices"
	"strings"

	"vtm-ingress/controller/vtm"
)

// document is a "REST-compatible JSON string" (specification, Ingress Metadata
// Annotation Reference): {"properties": {section: {key: value}}}. All that an
// owner writes there is checked before anything is sent.
type document struct {
	annotation string
	of         vtm.Type
	// refuse says why a key may not be set, "" if it may. It is asked after the
	// schema has accepted the value, which is in normal form.
	refuse func(section, key string, value any) string
}

// read returns the properties in normal form. What is wrong is fatal and told,
// each thing once; then it returns nil.
func (d document) read(text string, found *findings) vtm.Properties {
	before := len(*found)
	properties := d.decode(text, found)
	if properties == nil {
		return nil
	}
	normal := vtm.New(d.of, "", properties)
	for _, s := range normal.Settings() {
		if err := vtm.Check(d.of, s.Section, s.Key, s.Value); err != nil {
			found.add(fatal, "InvalidAnnotation", "annotation %s: %s %v", d.annotation, show(s.Section+"/"+s.Key), err)
		} else if why := d.refuse(s.Section, s.Key, s.Value); why != "" {
			found.add(fatal, "InvalidAnnotation", "annotation %s: %s/%s %s", d.annotation, s.Section, s.Key, why)
		}
	}
	if len(*found) > before {
		return nil
	}
	return normal.Properties()
}

func (d document) decode(text string, found *findings) vtm.Properties {
	bad := func(what string) vtm.Properties {
		found.add(fatal, "InvalidAnnotation", `annotation %s %s: write {"properties": {"basic": {...}}}`, d.annotation, what)
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	var whole map[string]json.RawMessage
	if err := decoder.Decode(&whole); err != nil {
		return bad("is no JSON object: " + show(err.Error()))
	}
	if _, err := decoder.Token(); err != io.EOF {
		return bad("holds something after its JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(whole)) {
		if name != "properties" {
			return bad("has the member " + show(name))
		}
	}
	inner := json.NewDecoder(bytes.NewReader(whole["properties"]))
	inner.UseNumber()
	var properties vtm.Properties
	if err := inner.Decode(&properties); err != nil || properties == nil {
		return bad(`has no "properties" that are sections with keys`)
	}
	return properties
}

// merge returns base with the keys of over set, both unchanged.
func merge(base, over vtm.Properties) vtm.Properties {
	if len(over) == 0 {
		return base
	}
	out := maps.Clone(base)
	for section, keys := range over {
		merged := maps.Clone(out[section])
		if merged == nil {
			merged = make(map[string]any, len(keys))
		}
		maps.Copy(merged, keys)
		out[section] = merged
	}
	return out
}
