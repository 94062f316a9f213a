package vtm

import (
	"bytes"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// pattern is how an answer told a resource: of the next one of its type mostly nothing
// differs but the values of a few keys. Then the hundred others need not be read again.
// Immutable.
type pattern struct {
	// around is the text before the first slot, between them, and after the last one.
	around [][]byte
	slots  []slot
}

// slot is where a key's value stands that is not at its default.
type slot struct {
	key           *keySchema // nil: the schema doesn't know it
	section, name string
	begin, end    int64 // of the value, in the answer
}

const (
	// maxPatterns bounds what is remembered of one type, maxPattern how many bytes each
	// takes.
	maxPatterns = 8
	maxPattern  = 16 << 10
)

// patterns are those of each type, the latest first.
var patterns struct {
	sync.RWMutex
	of map[Type][]*pattern
}

// readLikeBefore reads an answer that differs in nothing but values from one of its type
// before; ok is false if it does, or is broken.
func readLikeBefore(t Type, body []byte) (settings []Setting, ok bool) {
	patterns.RLock()
	known := patterns.of[t]
	patterns.RUnlock()
	for _, p := range known {
		if settings, ok = p.read(body); ok {
			return settings, true
		}
	}
	return nil, false
}

func (p *pattern) read(body []byte) (settings []Setting, ok bool) {
	if !bytes.HasPrefix(body, p.around[0]) || !bytes.HasSuffix(body, p.around[len(p.slots)]) {
		return nil, false
	}
	settings = make([]Setting, 0, len(p.slots))
	for i, at := range p.slots {
		if body, ok = bytes.CutPrefix(body, p.around[i]); !ok {
			return nil, false
		}
		text, ok := firstValue(body)
		if !ok {
			return nil, false
		}
		var err error
		if settings, err = at.take(settings, text); err != nil {
			return nil, false
		}
		body = body[len(text):]
	}
	return settings, bytes.Equal(body, p.around[len(p.slots)])
}

// isDefault reports whether text is the default, told as the schema tells it.
func (at *slot) isDefault(text jsontext.Value) bool {
	return at.key != nil && !at.key.Required && bytes.Equal(text, at.key.defaultText)
}

// take adds the setting whose value text is, if it is not the default.
func (at *slot) take(to []Setting, text jsontext.Value) ([]Setting, error) {
	if at.isDefault(text) {
		return to, nil
	}
	value, err := valueOf(text)
	if err != nil {
		return to, err
	}
	if k := at.key; k != nil {
		if value = k.settle(value); !k.Required && sameNormal(value, k.Default) {
			return to, nil
		}
	}
	return append(to, Setting{at.section, at.name, value}), nil
}

// firstValue is the JSON value that text begins with.
func firstValue(text []byte) (value jsontext.Value, ok bool) {
	d := decoderOf(text)
	defer decoders.Put(d)
	value, err := d.ReadValue()
	return value, err == nil && d.InputOffset() == int64(len(value)) // else spaces come before
}

// remember keeps how body told the resource of that type, whose values stand in slots.
func remember(t Type, body []byte, slots []slot) {
	if len(body) > maxPattern {
		return
	}
	body = bytes.Clone(body)
	p := &pattern{slots: slots}
	from := int64(0)
	for _, at := range slots {
		p.around = append(p.around, body[from:at.begin])
		from = at.end
	}
	p.around = append(p.around, body[from:])
	patterns.Lock()
	defer patterns.Unlock()
	if patterns.of == nil {
		patterns.of = map[Type][]*pattern{}
	}
	known := append([]*pattern{p}, patterns.of[t]...)
	patterns.of[t] = slices.Clip(known[:min(len(known), maxPatterns)])
}
