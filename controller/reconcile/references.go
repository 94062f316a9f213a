package reconcile

import (
	"strings"

	"vtm-ingress/controller/vtm"
)

// reference is a key by which one resource names others; of a table, the column.
type reference struct {
	section, key string
	to           vtm.Type
	column       string
}

// references are the keys of our types that name resources of our types.
var references = map[vtm.Type][]reference{
	vtm.Pools: {
		{"basic", "monitors", vtm.Monitors, ""},
		{"basic", "persistence_class", vtm.Persistence, ""},
		{"basic", "failure_pool", vtm.Pools, ""},
	},
	vtm.VirtualServers: {
		{"basic", "pool", vtm.Pools, ""},
		{"basic", "request_rules", vtm.Rules, ""},
		{"basic", "response_rules", vtm.Rules, ""},
		{"basic", "completion_rules", vtm.Rules, ""},
		{"basic", "listen_on_traffic_ips", vtm.TrafficIPGroups, ""},
		{"ssl", "server_cert_default", vtm.ServerKeys, ""},
		{"ssl", "server_cert_host_mapping", vtm.ServerKeys, "certificate"},
	},
}

// eachReference calls visit with each resource that r may refer to: keys that
// name resources, imports of a rule, and, as a pool, each text that a rule
// holds between quotes, since a rule names pools by literals. So a text that
// happens to be a pool's name counts as one; which errs on the safe side. visit
// is also called for names that don't exist, and built-in ones.
func eachReference(r *vtm.Resource, visit func(vtm.ID)) {
	if r == nil {
		return
	}
	if r.Type == vtm.Rules {
		imports, literals := scanRule(r.Content)
		for _, name := range imports {
			visit(vtm.ID{Type: vtm.Rules, Name: name})
		}
		for _, text := range literals {
			visit(vtm.ID{Type: vtm.Pools, Name: text})
		}
		return
	}
	for _, ref := range references[r.Type] {
		value := r.Get(ref.section, ref.key)
		if ref.column != "" {
			value = columnOf(value, ref.column)
		}
		for _, name := range stringsOf(value) {
			if ref.to == vtm.Rules {
				name = strings.TrimPrefix(name, "/") // a disabled rule (vtm/rest.md §7)
			}
			visit(vtm.ID{Type: ref.to, Name: name})
		}
	}
}

// columnOf returns a table's cells of one column.
func columnOf(table any, column string) []any {
	rows, _ := table.([]any)
	cells := make([]any, 0, len(rows))
	for _, r := range rows {
		if row, ok := r.(map[string]any); ok {
			cells = append(cells, row[column])
		}
	}
	return cells
}

// scanRule finds the imported names and the quoted texts of a TrafficScript
// source: "#" begins a comment to the line's end, texts stand between double
// quotes, with backslash escapes, or single quotes (vtm/trafficscript.md). It
// understands no more than that, and accepts everything.
func scanRule(source []byte) (imports, literals []string) {
	var word []byte // the word read last
	for i := 0; i < len(source); {
		switch c := source[i]; {
		case c == '#':
			for i < len(source) && source[i] != '\n' {
				i++
			}
		case c == '"' || c == '\'':
			text, length := quoted(source[i:])
			if string(word) == "import" {
				imports = append(imports, text)
			} else {
				literals = append(literals, text)
			}
			word = nil
			i += length
		case isNameByte(c):
			start := i
			for i < len(source) && isNameByte(source[i]) {
				i++
			}
			if string(word) == "import" {
				imports = append(imports, string(source[start:i]))
				word = nil
			} else {
				word = source[start:i]
			}
		default:
			if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
				word = nil
			}
			i++
		}
	}
	return imports, literals
}

// isNameByte reports whether c may stand in an imported rule's name.
func isNameByte(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c >= 0x80 ||
		'0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// quoted reads the text that s begins with, and its length in s with its quotes.
// An escaped character stands for itself: names of ours hold none that would
// have to be escaped otherwise.
func quoted(s []byte) (text string, length int) {
	end := 1
	for end < len(s) && s[end] != s[0] && s[end] != '\\' {
		end++
	}
	if end < len(s) && s[end] == s[0] {
		return string(s[1:end]), end + 1 // as nearly all are
	}
	var b strings.Builder
	b.Write(s[1:end])
	for i := end; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), i + 1
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), len(s)
}
