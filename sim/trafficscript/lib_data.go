package trafficscript

import (
	"encoding/binary"
	"strings"
)

// dataFunctions keep values between transactions, and log.
var dataFunctions = append(append(storeFunctions("data.", func(t *Transaction) *Store { return t.Data }),
	storeFunctions("data.local.", func(t *Transaction) *Store { return t.LocalData })...),
	fn("connection.data.get", 1, 1, func(r *run, a []value) value { return r.stored(r.tx.ConnectionData, a) }),
	fn("connection.data.set", 2, 2, func(r *run, a []value) value { return r.store(r.tx.ConnectionData, a) }),
	logFunction("log.info", LevelInfo, "rulelogmsginfo"),
	logFunction("log.warn", LevelWarn, "rulelogmsgwarn"),
	logFunction("log.error", LevelSerious, "rulelogmsgserious"),
)

// maxLogMessage bounds one message in the event log.
const maxLogMessage = 8 << 10

func logFunction(name string, level Level, tag string) function {
	return fn(name, 1, 1, func(r *run, a []value) value {
		r.log(level, tag, r.toString(a[0]))
		return value{}
	})
}

func (r *run) log(level Level, tag, message string) {
	if r.ended != Finished {
		return
	}
	r.host.Log(Event{Level: level, Tag: tag, Rule: r.rule.name, Line: r.line, Message: printable(message)})
}

// printable makes one line of bounded length: control characters, which could
// forge another line, become blanks.
func printable(message string) string {
	if len(message) > maxLogMessage {
		message = message[:maxLogMessage] + "..."
	}
	b := []byte(message)
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}

func storeFunctions(prefix string, of func(*Transaction) *Store) []function {
	return []function{
		fn(prefix+"get", 1, 1, func(r *run, a []value) value { return r.stored(of(r.tx), a) }),
		fn(prefix+"set", 2, 2, func(r *run, a []value) value { return r.store(of(r.tx), a) }),
		fn(prefix+"remove", 1, 1, func(r *run, a []value) value {
			return boolValue(of(r.tx).remove(r.toString(a[0])))
		}),
		fn(prefix+"reset", 0, 1, func(r *run, a []value) value {
			if r.work(of(r.tx).len() * valueSize) {
				of(r.tx).reset(r.stringArg(a, 0))
			}
			return value{}
		}),
		fact(prefix+"getMemoryUsage", func(r *run) value {
			used, _ := of(r.tx).memory()
			return intValue(int64(used))
		}),
		fact(prefix+"getMemoryFree", func(r *run) value {
			_, free := of(r.tx).memory()
			return intValue(int64(free))
		}),
	}
}

func (r *run) stored(s *Store, a []value) value {
	text, ok := s.get(r.toString(a[0]))
	if !ok || !r.work(len(text)) {
		return value{}
	}
	v, _, _ := r.decodeStored(text)
	return v
}

// store gives 1, or 0 when the store is full.
func (r *run) store(s *Store, a []value) value {
	var b strings.Builder
	if !r.encodeStored(&b, a[1], 0) {
		return intValue(0)
	}
	if s.set(r.toString(a[0]), b.String()) {
		return intValue(1)
	}
	r.warn("datastorefull", "the store has no room for the key '%s'", oneLine(firstBytes(r.toString(a[0]), 256)))
	return intValue(0)
}

// encodeStored writes a value as the store keeps it: 's', length, bytes; 'a',
// count, values; 'h', count, keys and values. Numbers become strings.
func (r *run) encodeStored(b *strings.Builder, v value, depth int) bool {
	if depth > maxNesting {
		r.misuse("an array nested more than %d deep cannot be stored", maxNesting)
		return false
	}
	head := func(tag byte, n int) {
		b.WriteByte(tag)
		b.Write(binary.AppendUvarint(nil, uint64(n)))
	}
	if v.kind != kindAggregate {
		s := r.toString(v)
		if !r.alloc(len(s) + 8) {
			return false
		}
		head('s', len(s))
		b.WriteString(s)
		return true
	}
	if !r.work(v.agg.len() * 16) {
		return false
	}
	if v.agg.isHash() {
		head('h', v.agg.len())
		for _, k := range v.agg.keys() {
			if !r.encodeStored(b, stringValue(k), depth+1) || !r.encodeStored(b, v.agg.fields[k], depth+1) {
				return false
			}
		}
		return true
	}
	head('a', v.agg.len())
	for _, e := range v.agg.elems {
		if !r.encodeStored(b, e, depth+1) {
			return false
		}
	}
	return true
}

// decodeStored reads what encodeStored wrote, and returns the rest.
func (r *run) decodeStored(text string) (v value, rest string, ok bool) {
	if text == "" || !r.alloc(valueSize) {
		return value{}, "", false
	}
	tag := text[0]
	n, width := binary.Uvarint([]byte(text[1:min(len(text), 1+binary.MaxVarintLen64)]))
	if width <= 0 {
		return value{}, "", false
	}
	rest = text[1+width:]
	if tag == 's' {
		if n > uint64(len(rest)) {
			return value{}, "", false
		}
		return stringValue(rest[:n]), rest[n:], true
	}
	a := &aggregate{}
	for range n {
		key := ""
		if tag == 'h' {
			if v, rest, ok = r.decodeStored(rest); !ok {
				return value{}, "", false
			}
			key = v.str
		}
		if v, rest, ok = r.decodeStored(rest); !ok {
			return value{}, "", false
		}
		if tag == 'h' {
			a.put(key, v)
		} else {
			a.elems = append(a.elems, v)
		}
	}
	return aggregateValue(a), rest, true
}
