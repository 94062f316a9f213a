package vtm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// normalize returns a deep copy of p in normal form, so that two that mean the
// same to the traffic manager are equal under reflect.DeepEqual and encode to
// the same bytes: integers are int64; sets are sorted, each element once; tables
// are sorted by their primary key, and a row's cells that hold their column's
// default are left out (the traffic manager itself sometimes leaves them out).
// Keys that the schema doesn't know keep their value; it never fails.
func normalize(t Type, p Properties) []Setting {
	n := 0
	for _, keys := range p {
		n += len(keys)
	}
	out := make([]Setting, 0, n)
	for section, keys := range p {
		for key, value := range keys {
			if k := keySchemaOf(t, section, key); k != nil {
				value = k.normalize(value)
			} else {
				value = plain(value)
			}
			out = append(out, Setting{section, key, value})
		}
	}
	return out
}

// New makes a JSON resource with p in normal form.
func New(t Type, name string, p Properties) *Resource {
	return Of(ID{t, name}, normalize(t, p))
}

// NewFile makes a file resource.
func NewFile(t Type, name string, content []byte) *Resource {
	return &Resource{ID: ID{t, name}, Content: content}
}

// Equal reports whether a and b, both in normal form or nil, are the same
// resource with the same content.
func Equal(a, b *Resource) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.ID == b.ID && bytes.Equal(a.Content, b.Content) &&
		slices.EqualFunc(a.settings, b.settings, func(a, b Setting) bool {
			return a.Section == b.Section && a.Key == b.Key && sameNormal(a.Value, b.Value)
		})
}

// sameNormal is reflect.DeepEqual of two values in normal form, without its price for
// tables of thousands of rows.
func sameNormal(a, b any) bool {
	switch a := a.(type) {
	case string:
		return a == b
	case []any:
		b, ok := b.([]any)
		return ok && (a == nil) == (b == nil) && slices.EqualFunc(a, b, sameNormal)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && (a == nil) == (b == nil) && maps.EqualFunc(a, b, sameNormal)
	}
	return reflect.DeepEqual(a, b)
}

// Normal is a value that is in normal form already, and that nobody changes any more: New
// takes it as it is. For tables of thousands of rows.
type Normal struct{ Value any }

// normalize returns value in normal form, which shares nothing with it.
func (k *keySchema) normalize(value any) any {
	if normal, is := value.(Normal); is {
		return normal.Value
	}
	return k.settle(plain(value))
}

// settle brings a value of plain's types into normal form, in its place.
func (k *keySchema) settle(value any) any {
	switch k.Type {
	case "float":
		if n, ok := value.(int64); ok {
			return float64(n)
		}
	case "int":
		// A default or an answer may come as 30.0.
		if f, ok := value.(float64); ok && f == float64(int64(f)) {
			return int64(f)
		}
	case "set":
		if list, ok := value.([]any); ok {
			slices.SortFunc(list, compareValues)
			return slices.CompactFunc(list, func(a, b any) bool { return reflect.DeepEqual(a, b) })
		}
	case "table":
		if rows, ok := value.([]any); ok {
			k.normalizeRows(rows)
		}
	}
	return value
}

func (k *keySchema) normalizeRows(rows []any) {
	for _, r := range rows {
		row, ok := r.(map[string]any)
		if !ok {
			continue
		}
		for name, column := range k.Columns {
			cell, ok := row[name]
			if !ok {
				continue
			}
			cell = column.settle(cell)
			if !column.Required && reflect.DeepEqual(cell, column.Default) {
				delete(row, name)
			} else {
				row[name] = cell
			}
		}
	}
	primary := k.primaryKey()
	slices.SortStableFunc(rows, func(a, b any) int {
		x, _ := a.(map[string]any)
		y, _ := b.(map[string]any)
		return compareValues(x[primary], y[primary])
	})
}

// compareValues orders strings; of other types the order only has to be the
// same each time.
func compareValues(a, b any) int {
	x, xok := a.(string)
	y, yok := b.(string)
	if xok && yok {
		return cmp.Compare(x, y)
	}
	return cmp.Compare(fmt.Sprint(a), fmt.Sprint(b))
}

// plain deep-copies a value as bool, int64, float64, string, []any and
// map[string]any.
func plain(value any) any {
	switch v := value.(type) {
	case nil, bool, string, int64, float64:
		return v
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		f, err := v.Float64()
		if err != nil {
			return v.String()
		}
		return f
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = plain(element)
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, element := range v {
			out[key] = plain(element)
		}
		return out
	}
	// What the program itself composed: int, []string, []map[string]any, named
	// types and so on.
	r := reflect.ValueOf(value)
	switch r.Kind() {
	case reflect.Bool:
		return r.Bool()
	case reflect.String:
		return r.String()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return r.Int()
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return int64(r.Uint())
	case reflect.Float32, reflect.Float64:
		return r.Float()
	case reflect.Slice, reflect.Array:
		out := make([]any, r.Len())
		for i := range out {
			out[i] = plain(r.Index(i).Interface())
		}
		return out
	case reflect.Map:
		out := make(map[string]any, r.Len())
		for _, key := range r.MapKeys() {
			out[key.String()] = plain(r.MapIndex(key).Interface())
		}
		return out
	default:
		return fmt.Sprint(value)
	}
}
