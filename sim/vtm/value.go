package vtm

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// valueKind is the type of a key's value. A value is held as
//
//	boolKind    bool
//	intKind     int64
//	floatKind   float64
//	stringKind  string
//	listKind    []string, in the order given, may repeat
//	setKind     []string, in the order given, each once
//	tableKind   []row, in the order given, no two with one primary value
type valueKind int

const (
	boolKind valueKind = iota
	intKind
	floatKind
	stringKind
	listKind
	setKind
	tableKind
)

func (k valueKind) String() string {
	return [...]string{"a boolean", "an integer", "a number", "a string", "an array of strings", "an array of strings", "an array of table rows"}[k]
}

// row holds a value for each column of its table, by the column's index; nil
// where none was given.
type row []any

// valueError says what is wrong with a value. id is the inner error id.
type valueError struct {
	id, text string
	rows     map[string]map[string]error // of a table: by primary value and column
}

func (e *valueError) Error() string { return e.text }

func wrongType(want valueKind) error {
	return &valueError{id: "json.wrong_type", text: "The value has the wrong type. Expected " + want.String()}
}

func invalidTable(detail string) error {
	text := "The table is badly formed. Expected an array of table rows"
	if detail != "" {
		text += ": " + detail
	}
	return &valueError{id: "json.invalid_table", text: text}
}

// maxDepth is how deep JSON may be nested; what the schema knows needs six.
const maxDepth = 32

// tooDeep tells, without taking memory, whether JSON is nested too deep. What is
// no JSON may be told wrong either way.
func tooDeep(data []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(data); i++ {
		switch c := data[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// decodeJSON reads exactly one JSON value; numbers become json.Number.
func decodeJSON(data []byte) (any, error) {
	if tooDeep(data) {
		return nil, fmt.Errorf("it is nested deeper than %d", maxDepth)
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("there is no JSON value")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows after the JSON value")
	}
	return v, nil
}

// fromJSON checks a decoded JSON value and gives it the form in which values are
// held. Errors are *valueError.
func (p *property) fromJSON(v any) (any, error) {
	switch p.kind {
	case boolKind:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case intKind:
		if n, ok := v.(json.Number); ok {
			return p.integer(n)
		}
	case floatKind:
		if n, ok := v.(json.Number); ok {
			f, err := n.Float64()
			if err != nil {
				return nil, &valueError{id: "property.out_of_range", text: fmt.Sprintf("The value %s is out of range", clip(n.String()))}
			}
			return f, nil
		}
	case stringKind:
		if s, ok := v.(string); ok {
			return s, p.checkString(s)
		}
	case listKind, setKind:
		items, ok := v.([]any)
		if s, bare := v.(string); bare && p.section == "" && p.name == "value" {
			// custom's string_lists take a bare string: vtm/rest.md §7.
			items, ok = []any{s}, true
		}
		if ok {
			return p.stringList(items)
		}
	case tableKind:
		if rows, ok := v.([]any); ok {
			return p.table(rows)
		}
		return nil, invalidTable("")
	}
	return nil, wrongType(p.kind)
}

func (p *property) integer(n json.Number) (any, error) {
	if strings.ContainsAny(n.String(), ".eE") {
		return nil, wrongType(intKind)
	}
	i, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil || p.min != nil && i < *p.min || p.max != nil && i > *p.max {
		text := fmt.Sprintf("The value %s is out of range", clip(n.String()))
		switch {
		case p.min != nil && p.max != nil:
			text += fmt.Sprintf(": allowed is %d to %d", *p.min, *p.max)
		case p.min != nil:
			text += fmt.Sprintf(": allowed is %d or more", *p.min)
		case p.max != nil:
			text += fmt.Sprintf(": allowed is %d or less", *p.max)
		}
		return nil, &valueError{id: "property.out_of_range", text: text}
	}
	return i, nil
}

func (p *property) checkString(s string) error {
	if len(p.enum) > 0 && !slices.Contains(p.enum, s) {
		return &valueError{id: "property.not_in_enum", text: fmt.Sprintf("The value '%s' is not one of: %s", clip(s), strings.Join(p.enum, ", "))}
	}
	if strings.ContainsRune(s, 0) {
		return &valueError{id: "property.invalid_value", text: "The value holds a NUL character"}
	}
	if p.check != nil {
		if err := p.check(s); err != nil {
			return &valueError{id: "property.invalid_value", text: err.Error()}
		}
	}
	return nil
}

func (p *property) stringList(items []any) (any, error) {
	list := make([]string, 0, len(items))
	seen := make(map[string]bool)
	for _, item := range items {
		s, ok := item.(string)
		if !ok {
			return nil, wrongType(p.kind)
		}
		if err := p.checkString(s); err != nil {
			return nil, err
		}
		if p.kind == setKind {
			if seen[s] {
				continue
			}
			seen[s] = true
		}
		list = append(list, s)
	}
	return list, nil
}

// table checks rows; what is wrong in single cells is gathered for all rows.
func (p *property) table(rows []any) (any, error) {
	table := make([]row, 0, len(rows))
	bad := make(map[string]map[string]error)
	seen := make(map[any]bool, len(rows))
	for i, v := range rows {
		object, ok := v.(map[string]any)
		if !ok {
			return nil, invalidTable(fmt.Sprintf("row %d is not an object", i+1))
		}
		primary := p.columns[p.primary]
		named, ok := object[primary.name]
		if !ok {
			return nil, invalidTable(fmt.Sprintf("row %d has no %s", i+1, primary.name))
		}
		rowName := fmt.Sprintf("row %d", i+1)
		switch named := named.(type) {
		case string:
			rowName = clip(named)
		case json.Number:
			rowName = clip(named.String())
		}
		fail := func(column string, err error) {
			if bad[rowName] == nil {
				bad[rowName] = make(map[string]error)
			}
			bad[rowName][column] = err
		}
		r := make(row, len(p.columns))
		for name, cell := range object {
			c := p.column(name)
			if c < 0 {
				fail(name, unknownProperty())
				continue
			}
			value, err := p.columns[c].fromJSON(cell)
			if err != nil {
				fail(name, err)
				continue
			}
			r[c] = value
		}
		for c, column := range p.columns {
			if _, given := object[column.name]; !given && column.required {
				fail(column.name, noDefault())
			} else if r[c] == nil && column.fallback != nil {
				r[c] = column.fallback
			}
		}
		if key := r[p.primary]; key != nil {
			if seen[key] {
				return nil, invalidTable(fmt.Sprintf("two rows have the %s '%s'", primary.name, rowName))
			}
			seen[key] = true
		}
		table = append(table, r)
	}
	if len(bad) > 0 {
		return nil, &valueError{id: "json.invalid_table", text: "Rows of the table are invalid", rows: bad}
	}
	return table, nil
}

func unknownProperty() error {
	return &valueError{id: "json.unknown_property", text: "Property is unknown"}
}

func noDefault() error {
	return &valueError{id: "property.no_default", text: "The property has no default value and must be given"}
}

func checkIP(s string) error {
	if _, err := netip.ParseAddr(s); err != nil || strings.Contains(s, "%") {
		return fmt.Errorf("'%s' is not an IP address", clip(s))
	}
	return nil
}

func checkIPOrEmpty(s string) error {
	if s == "" {
		return nil
	}
	return checkIP(s)
}

// checkNode wants "host:port", where host is an IP address, an IPv6 one in
// brackets, or a name.
func checkNode(s string) error {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		n, portErr := strconv.ParseUint(port, 10, 16)
		if portErr == nil && n > 0 && host != "" && !strings.ContainsAny(host, " \t\r\n/?#@\x00") &&
			(!strings.Contains(host, ":") || checkIP(host) == nil) {
			return nil
		}
	}
	return fmt.Errorf("'%s' is not a node: expected host:port with a port of 1 to 65535", clip(s))
}

// portOf is the port of a node that checkNode accepts.
func portOf(node string) int {
	_, port, _ := net.SplitHostPort(node)
	n, _ := strconv.Atoi(port)
	return n
}

// clip bounds what an error repeats of the input.
func clip(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// appendJSON writes a value as GET shows it.
func (p *property) appendJSON(b []byte, v any) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return strconv.AppendFloat(b, v, 'g', -1, 64)
	case string:
		if p.secret {
			return appendString(b, hashSecret(v))
		}
		return appendString(b, v)
	case []string:
		b = append(b, '[')
		for i, s := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, s)
		}
		return append(b, ']')
	case []row:
		b = append(b, '[')
		for i, r := range v {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(b, '{')
			first := true
			for c, cell := range r {
				if cell == nil {
					continue
				}
				if !first {
					b = append(b, ',')
				}
				first = false
				b = p.columns[c].appendJSON(append(b, p.columns[c].label...), cell)
			}
			b = append(b, '}')
		}
		return append(b, ']')
	}
	return append(b, "null"...)
}

// hashSecret is what GET shows of a private key, so that clients can compare but
// not read it: vtm/rest.md §6.
func hashSecret(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// appendString writes a JSON string; most need no escapes.
func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			var out bytes.Buffer
			e := json.NewEncoder(&out)
			e.SetEscapeHTML(false)
			_ = e.Encode(s) // a string and a Buffer never fail
			return append(b, bytes.TrimRight(out.Bytes(), "\n")...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
