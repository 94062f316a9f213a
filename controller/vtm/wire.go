package vtm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"reflect"
	"strings"
)

// apiPath is where version 8.3 of the API begins. All clients of a cluster must
// use one major version at a time (vtm/rest.md §1).
const apiPath = "/api/tm/8.3/"

// escape makes one path segment of a name: everything but unreserved characters
// is percent-encoded, so that no name can change the path.
func escape(name string) string {
	switch name {
	case ".", "..":
		// A client or proxy in between could take these for steps in the path.
		return strings.ReplaceAll(name, ".", "%2E")
	}
	return url.PathEscape(name)
}

func configPath(id ID) string { return "config/active/" + string(id.Type) + "/" + escape(id.Name) }

func folderPath(path string) string { return "config/active/" + path + "/" }

// encode gives a JSON resource's body: sorted keys, and none of the \u0026-style
// escapes that old versions did not decode (vtm/rest.md §2).
func encode(p Properties) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(map[string]any{"properties": p}); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func decode(id ID, body []byte) (*Resource, error) {
	if id.Type.IsFile() {
		return NewFile(id.Type, id.Name, body), nil
	}
	var document struct {
		Properties Properties `json:"properties"`
	}
	if err := decodeJSON(body, &document); err != nil {
		return nil, err
	}
	if document.Properties == nil {
		return nil, errors.New(`no "properties" in it`)
	}
	return &Resource{ID: id, Properties: slimmed(id.Type, document.Properties)}, nil
}

// slimmed is the normal form of what an answer holds, without the keys at their
// default: those are not even copied, since an answer has a hundred of them.
func slimmed(t Type, p Properties) Properties {
	out := Properties{}
	for section, keys := range p {
		for key, value := range keys {
			k := schema()[t][section][key]
			switch {
			case k == nil:
				value = plain(value)
			case !k.Required && k.isDefault(value):
				continue
			default:
				value = k.normalize(value)
			}
			if out[section] == nil {
				out[section] = make(map[string]any)
			}
			out[section][key] = value
		}
	}
	return out
}

// isDefault reports whether value, as it came, is the key's default.
func (k *keySchema) isDefault(value any) bool {
	switch d := k.Default.(type) {
	case bool:
		return value == d
	case string:
		return value == d
	case []any:
		list, ok := value.([]any)
		return ok && len(list) == len(d) && (len(d) == 0 || reflect.DeepEqual(k.normalize(value), k.Default))
	}
	return reflect.DeepEqual(k.normalize(value), k.Default)
}

func decodeJSON(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows the JSON value")
	}
	return nil
}
