package trafficscript

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// jsonFunctions are RFC 8259. true and false become 1 and 0, null becomes "";
// whole numbers of 64 bits become integers, others doubles. Bytes that are no
// UTF-8 are written as the characters of their numbers.
var jsonFunctions = []function{
	fn("json.serialize", 1, 1, func(r *run, a []value) value {
		var b strings.Builder
		if !r.writeJSON(&b, a[0], 0) {
			return value{}
		}
		return stringValue(b.String())
	}),
	fn("json.deserialize", 1, 1, func(r *run, a []value) value {
		d := &jsonReader{r: r, dec: json.NewDecoder(strings.NewReader(r.toString(a[0])))}
		d.dec.UseNumber()
		v, ok := d.value(0)
		if ok {
			_, err := d.dec.Token()
			ok = err != nil && err.Error() == "EOF"
		}
		if !ok {
			r.warn("rulelogmsgwarn", "json.deserialize: the string is no JSON, at offset %d", d.dec.InputOffset())
			return value{}
		}
		return v
	}),
}

type jsonReader struct {
	r   *run
	dec *json.Decoder
}

// value reads one value; false when the text is no JSON, or too deep, or too
// large.
func (d *jsonReader) value(depth int) (value, bool) {
	if depth > maxNesting || !d.r.use(1) || !d.r.alloc(valueSize) {
		return value{}, false
	}
	token, err := d.dec.Token()
	if err != nil {
		return value{}, false
	}
	switch t := token.(type) {
	case string:
		return d.r.text(t), true
	case bool:
		return boolValue(t), true
	case json.Number:
		if n, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			return intValue(n), true
		}
		f, _ := strconv.ParseFloat(t.String(), 64)
		return doubleValue(f), true
	case json.Delim:
		if t == ']' || t == '}' {
			return value{}, false
		}
		list := &aggregate{}
		for d.dec.More() {
			key := ""
			if t == '{' {
				k, err := d.dec.Token()
				if err != nil || !d.r.alloc(valueSize) {
					return value{}, false
				}
				key = k.(string) // the decoder allows no other key
			}
			v, ok := d.value(depth + 1)
			if !ok {
				return value{}, false
			}
			if t == '{' {
				list.put(key, v)
			} else {
				list.elems = append(list.elems, v)
			}
		}
		_, err := d.dec.Token()
		return aggregateValue(list), err == nil
	}
	return value{}, true // null
}

// writeJSON counts what it writes as memory: an array may hold itself many times
// over, by shared storage.
func (r *run) writeJSON(b *strings.Builder, v value, depth int) bool {
	put := func(s string) bool {
		b.WriteString(s)
		return r.alloc(len(s))
	}
	if depth > maxNesting {
		r.misuse("json.serialize: arrays are nested more than %d deep", maxNesting)
		return false
	}
	switch v.kind {
	case kindInt:
		return put(strconv.FormatInt(v.int(), 10))
	case kindDouble:
		if math.IsNaN(v.double()) || math.IsInf(v.double(), 0) {
			return put("null")
		}
		return put(strconv.FormatFloat(v.double(), 'g', -1, 64))
	case kindString:
		return r.work(len(v.str)) && put(quoteJSON(v.str))
	}
	if !r.work(v.agg.len()*16) || !r.alloc(2) {
		return false
	}
	if v.agg.isHash() {
		b.WriteByte('{')
		for i, k := range v.agg.keys() {
			if i > 0 {
				b.WriteByte(',')
			}
			if !put(quoteJSON(k)+":") || !r.writeJSON(b, v.agg.fields[k], depth+1) {
				return false
			}
		}
		b.WriteByte('}')
		return true
	}
	b.WriteByte('[')
	for i, e := range v.agg.elems {
		if i > 0 && !put(",") || !r.writeJSON(b, e, depth+1) {
			return false
		}
	}
	b.WriteByte(']')
	return true
}

// quoteJSON writes a string literal.
func quoteJSON(s string) string {
	if !utf8.ValidString(s) {
		s = widen(s)
	}
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	// A string always encodes; the encoder ends it with a newline.
	_ = enc.Encode(s)
	return strings.TrimSuffix(b.String(), "\n")
}
