package vtm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
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
func encode(settings []Setting) []byte {
	room := rooms.Get().(*bytes.Buffer)
	defer rooms.Put(room)
	room.Reset()
	b := append(room.AvailableBuffer(), `{"properties":{`...)
	for i, s := range settings {
		if i == 0 || s.Section != settings[i-1].Section {
			if i > 0 {
				b = append(b, `},`...)
			}
			b = append(appendText(b, s.Section), `:{`...)
		} else {
			b = append(b, ',')
		}
		b = appendValue(append(appendText(b, s.Key), ':'), s.Value)
	}
	if len(settings) > 0 {
		b = append(b, '}')
	}
	b = append(b, `}}`...)
	room.Write(b)         // so that it has room for the next one
	return bytes.Clone(b) // a request that has failed may still read it
}

// appendText appends a JSON text. What is not UTF-8 becomes U+FFFD, as in encoding/json.
func appendText(b []byte, text string) []byte {
	b, _ = jsontext.AppendQuote(b, text)
	return b
}

// appendValue appends a value in normal form.
func appendValue(b []byte, value any) []byte {
	switch v := value.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case string:
		return appendText(b, v)
	case []any:
		b = append(b, '[')
		for i, element := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(b, element)
		}
		return append(b, ']')
	case map[string]any:
		b = append(b, '{')
		for i, key := range slices.Sorted(maps.Keys(v)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendValue(append(appendText(b, key), ':'), v[key])
		}
		return append(b, '}')
	}
	text, err := json.Marshal(value)
	if err != nil {
		return append(b, "null"...) // infinite: no JSON says so
	}
	return append(b, text...)
}

// decode reads an answer with a resource, in normal form, without the keys at their
// default.
func decode(id ID, body []byte) (*Resource, error) {
	if id.Type.IsFile() {
		return NewFile(id.Type, id.Name, body), nil
	}
	settings, ok := readLikeBefore(id.Type, body)
	if !ok {
		var err error
		if settings, err = readKeys(id.Type, body); err != nil {
			return nil, err
		}
	}
	return Of(id, settings), nil
}

// readKeys reads an answer key by key, and remembers how it tells those that are not
// at their default.
func readKeys(t Type, body []byte) (settings []Setting, err error) {
	found := false
	var slots []slot
	err = decodeObject(body, func(d *jsontext.Decoder, name []byte) error {
		if string(name) != "properties" {
			return d.SkipValue()
		}
		found = true
		return eachMember(d, func(section []byte) error {
			known, sectionName := schema()[t][string(section)], string(section)
			return eachMember(d, func(key []byte) error {
				at := slot{key: known[string(key)], section: sectionName}
				if at.key != nil {
					at.name = at.key.name
				} else {
					at.name = string(key) // reading on ends what key shows
				}
				text, err := d.ReadValue()
				if err != nil || at.isDefault(text) {
					return err
				}
				at.end = d.InputOffset()
				at.begin = at.end - int64(len(text))
				slots = append(slots, at)
				settings, err = at.take(settings, text)
				return err
			})
		})
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New(`no "properties" in it`)
	}
	// Of a key that comes twice the last one counts.
	slices.Reverse(settings)
	slices.SortStableFunc(settings, compareSettings)
	n := len(settings)
	settings = slices.CompactFunc(settings, func(a, b Setting) bool { return compareSettings(a, b) == 0 })
	if len(settings) == n {
		remember(t, body, slots)
	}
	return slices.Clip(settings), nil
}

// valueOf is the value that text is, as plain has it.
func valueOf(text jsontext.Value) (any, error) {
	switch text.Kind() {
	case '[', '{':
		d := decoderOf(text)
		defer decoders.Put(d)
		return readValue(d)
	case 't', 'f':
		return text.Kind() == 't', nil
	case '"':
		unquoted, err := unquote(text)
		return string(unquoted), err
	case 'n':
		return nil, nil
	}
	return plain(json.Number(text)), nil
}

// readValue reads the value that d is at, as valueOf does.
func readValue(d *jsontext.Decoder) (any, error) {
	switch d.PeekKind() {
	case '[':
		list := []any{}
		if _, err := d.ReadToken(); err != nil {
			return nil, err
		}
		for d.PeekKind() != ']' {
			value, err := readValue(d)
			if err != nil {
				return nil, err
			}
			list = append(list, value)
		}
		_, err := d.ReadToken()
		return list, err
	case '{':
		object := map[string]any{}
		err := eachMember(d, func(name []byte) error {
			key := string(name) // reading on ends what name shows
			value, err := readValue(d)
			object[key] = value
			return err
		})
		return object, err
	}
	text, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	return valueOf(text)
}

// unquote is what a JSON text says: a part of it, where nothing is escaped.
func unquote(text jsontext.Value) ([]byte, error) {
	if bytes.IndexByte(text, '\\') < 0 && utf8.Valid(text) {
		return text[1 : len(text)-1], nil
	}
	return jsontext.AppendUnquote(nil, text)
}

// eachMember calls read with each name of the object that d is at, to read or skip the
// value; with none if null stands in its place. The name's bytes are the decoder's:
// they last until d reads on.
func eachMember(d *jsontext.Decoder, read func(name []byte) error) error {
	token, err := d.ReadToken()
	switch {
	case err != nil:
		return err
	case token.Kind() == 'n':
		return nil
	case token.Kind() != '{':
		return fmt.Errorf("%s where an object should be", token.Kind())
	}
	for d.PeekKind() != '}' {
		text, err := d.ReadValue()
		if err != nil {
			return err
		}
		name, _ := unquote(text) // at most not UTF-8: a name that nobody looks for
		if err := read(name); err != nil {
			return err
		}
	}
	_, err = d.ReadToken()
	return err
}

// decodeChildren reads the list of a folder: the names of its resources, as they come,
// without those of folders and those that aren't wanted. It has one for each of thousands
// of resources.
func decodeChildren(body []byte, wanted func(name []byte) bool) (names []string, err error) {
	found := false
	var room []byte // for one name
	err = decodeObject(body, func(d *jsontext.Decoder, name []byte) error {
		if string(name) != "children" || d.PeekKind() != '[' {
			return d.SkipValue()
		}
		found = true
		if _, err := d.ReadToken(); err != nil {
			return err
		}
		for d.PeekKind() != ']' {
			var name []byte
			folder := false
			err := eachMember(d, func(key []byte) error {
				isFolder := string(key) == "href"
				if !isFolder && string(key) != "name" {
					return d.SkipValue()
				}
				text, err := d.ReadValue()
				switch {
				case err != nil:
					return err
				case text.Kind() != '"':
					return fmt.Errorf("%s where a text should be", text.Kind())
				case isFolder:
					folder = bytes.HasSuffix(text, []byte(`/"`))
					return nil
				}
				text, err = unquote(text)
				name = append(room[:0], text...)
				room = name
				return err
			})
			switch {
			case err != nil:
				return err
			case folder:
			case len(name) == 0:
				return errors.New("a child without a name")
			case wanted(name):
				names = append(names, string(name))
			}
		}
		_, err := d.ReadToken()
		return err
	})
	if err == nil && !found {
		err = errors.New(`no "children" in it`)
	}
	return names, err
}

// lenient decoders take what encoding/json takes, too.
var lenient = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// decoders are for answers and the tables in them, of which there may be thousands in a
// row.
var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// decoderOf takes one of decoders, which whoever has read text gives back.
func decoderOf(text []byte) *jsontext.Decoder {
	d := decoders.Get().(*jsontext.Decoder)
	d.Reset(bytes.NewBuffer(text), lenient...)
	return d
}

// decodeObject calls read with each member's name of the object that body is.
func decodeObject(body []byte, read func(d *jsontext.Decoder, name []byte) error) error {
	d := decoderOf(body)
	defer decoders.Put(d)
	if err := eachMember(d, func(name []byte) error { return read(d, name) }); err != nil {
		return err
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return errFollowed
	}
	return nil
}

func decodeJSON(body []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errFollowed
	}
	return nil
}

var errFollowed = errors.New("something follows the JSON value")
