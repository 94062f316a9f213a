package vtm

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/url"
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
	return New(id.Type, id.Name, document.Properties), nil
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
