package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// fileLimit in bytes: a settings file is a page of text.
const fileLimit = 1 << 20

// fromFile reads the settings file. ok is false if what it says can't be known.
func fromFile(settings []Setting, from Sources) (values map[string]value, mistakes []Mistake, ok bool) {
	whole := origin{source: ofFile, where: from.File}
	text, err := from.ReadFile(from.File)
	if err != nil {
		return nil, []Mistake{whole.mistake("", "cannot be read: %v", why(err))}, false
	}
	if len(text) > fileLimit {
		return nil, []Mistake{whole.mistake("", "has %d bytes, a settings file at most %d", len(text), fileLimit)}, false
	}
	at := func(line int) origin {
		return origin{source: ofFile, where: fmt.Sprintf("%s:%d", base(from.File), line), line: line}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var document yaml.Node
	switch err := decoder.Decode(&document); {
	case errors.Is(err, io.EOF):
		return nil, nil, true // empty, or comments alone
	case err != nil:
		line, problem := syntax(err)
		return nil, []Mistake{at(line).mistake("", "is not YAML: %s", problem)}, false
	}
	switch err := decoder.Decode(new(yaml.Node)); {
	case err == nil:
		mistakes = append(mistakes, whole.mistake("", "holds several YAML documents, the first one alone is read: remove the others"))
	case !errors.Is(err, io.EOF):
		line, problem := syntax(err)
		mistakes = append(mistakes, at(line).mistake("", "is not YAML: %s", problem))
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, mistakes, true
	}
	if root.Kind != yaml.MappingNode {
		return nil, append(mistakes, at(root.Line).mistake("", "want lines of the form key: value")), false
	}
	values = map[string]value{}
	lines := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, node := root.Content[i], root.Content[i+1]
		here := at(name.Line)
		key, known := name.Value, false
		for _, s := range settings {
			known = known || s.Key == key
		}
		if name.Kind != yaml.ScalarNode || !known {
			mistakes = append(mistakes, here.mistake("", "%s: no such setting%s", printable(key), didYouMean(key, settings, func(s Setting) string { return s.Key })))
			continue
		}
		if first, again := lines[key]; again {
			mistakes = append(mistakes, here.mistake(key, "given already in line %d: remove one of them", first))
			continue
		}
		lines[key] = name.Line
		v, problem := fromNode(node)
		if problem != "" {
			mistakes = append(mistakes, here.mistake(key, "%s", problem))
			v = &value{bad: true}
		}
		if v != nil {
			v.origin = here
			values[key] = *v
		}
	}
	return values, mistakes, true
}

// fromNode returns the value that a node holds; nil if it holds none.
func fromNode(node *yaml.Node) (*value, string) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return nil, ""
	case node.Kind == yaml.ScalarNode:
		return &value{texts: []string{node.Value}}, ""
	case node.Kind != yaml.SequenceNode:
		return nil, "want one value or a list of values"
	}
	v := &value{isList: true}
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode {
			return nil, "want one value or a list of values"
		}
		v.texts = append(v.texts, item.Value)
	}
	return v, ""
}

var yamlError = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)$`)

// syntax takes line and text out of an error of the YAML parser, which has them
// as text alone.
func syntax(err error) (line int, problem string) {
	found := yamlError.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	if found == nil {
		return 1, err.Error()
	}
	line, convErr := strconv.Atoi(found[1])
	if convErr != nil {
		line = 1
	}
	return line, found[2]
}

// printable is text that may hold anything, fit for one line of an error.
func printable(text string) string {
	if len(text) > 60 {
		text = text[:60] + "…"
	}
	if quoted := strconv.Quote(text); quoted != `"`+text+`"` || text == "" {
		return quoted
	}
	return text
}
