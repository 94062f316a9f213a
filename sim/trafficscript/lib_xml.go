package trafficscript

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/antchfx/xpath"
)

// xmlFunctions are XPath 1.0 on documents without external parts: entities are
// those of XML alone, and a document type is not read.
var xmlFunctions = []function{
	fn("xml.xpath.matchNodeCount", 3, 3, func(r *run, a []value) value {
		found, err := r.xpath(a)
		if err != nil {
			r.warn("rulexmlerr", "xml.xpath.matchNodeCount: %s", oneLine(err.Error()))
			return intValue(-1)
		}
		return intValue(int64(len(found)))
	}),
	fn("xml.xpath.matchNodeSet", 3, 3, func(r *run, a []value) value {
		found, err := r.xpath(a)
		if err != nil {
			r.warn("rulexmlerr", "xml.xpath.matchNodeSet: %s", oneLine(err.Error()))
			return value{}
		}
		var b strings.Builder
		for _, s := range found {
			if !r.alloc(len(s)) {
				return value{}
			}
			b.WriteString(s)
		}
		return stringValue(b.String())
	}),
}

// maxXPath bounds a query.
const maxXPath = 16 << 10

// xpath evaluates a query on a document, given with the prefixes that the query
// uses as "xmlns:a=URL xmlns:b=URL". It returns the nodes found: text and
// attributes by their value, elements as XML. A query that gives no nodes gives
// one value.
func (r *run) xpath(a []value) (found []string, err error) {
	text, prefixes, query := r.toString(a[0]), r.toString(a[1]), r.toString(a[2])
	if len(query) > maxXPath {
		return nil, fmt.Errorf("a query of more than %d bytes", maxXPath)
	}
	namespaces := make(map[string]string)
	for pair := range strings.FieldsSeq(prefixes) {
		name, url, ok := strings.Cut(strings.TrimPrefix(pair, "xmlns:"), "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("'%s' names no namespace: write xmlns:prefix=URL", firstBytes(pair, 256))
		}
		namespaces[name] = strings.Trim(url, `"'`)
	}
	root, err := r.parseXML(text)
	if err != nil {
		return nil, err
	}
	// The library panics on some wrong queries; a walk that takes too long panics
	// with errXPathSteps.
	defer func() {
		if e := recover(); e != nil {
			found, err = nil, fmt.Errorf("the query '%s' is wrong: %v", firstBytes(query, 256), e)
			if e == any(errXPathSteps) {
				r.use(r.limits.Instructions)
				err = errXPathSteps
			}
		}
	}()
	expr, err := xpath.CompileWithNS(query, namespaces)
	if err != nil {
		return nil, fmt.Errorf("the query '%s' is wrong: %w", firstBytes(query, 256), err)
	}
	steps := (r.limits.Instructions - r.steps) * xpathStepsPerInstruction
	all := steps
	switch result := expr.Evaluate(&xmlCursor{node: root, attr: -1, root: root, steps: &steps}).(type) {
	case *xpath.NodeIterator:
		for result.MoveNext() {
			s := result.Current().(*xmlCursor).text()
			if !r.alloc(len(s) + valueSize) {
				break
			}
			found = append(found, s)
		}
	case string:
		found = []string{result}
	case float64:
		found = []string{formatDouble(result)}
	case bool:
		found = []string{r.toString(boolValue(result))}
	}
	r.use((all - steps) / xpathStepsPerInstruction)
	return found, nil
}

// xpathStepsPerInstruction is how many moves in a document count as one
// instruction.
const xpathStepsPerInstruction = 64

var errXPathSteps = errors.New("the query takes too many steps on this document")

// xmlNode is a node of a document.
type xmlNode struct {
	kind     xpath.NodeType
	name     xml.Name // with the URL of its namespace
	text     string   // of text and comments
	attrs    []xml.Attr
	parent   *xmlNode
	children []*xmlNode
	index    int // among the parent's children
}

func (n *xmlNode) add(c *xmlNode) *xmlNode {
	c.parent, c.index = n, len(n.children)
	n.children = append(n.children, c)
	return c
}

// parseXML reads a whole document.
func (r *run) parseXML(text string) (*xmlNode, error) {
	root := &xmlNode{kind: xpath.RootNode}
	at, depth, elements := root, 0, 0
	d := xml.NewDecoder(strings.NewReader(text))
	d.CharsetReader = func(string, io.Reader) (io.Reader, error) {
		return nil, errors.New("the document is not in UTF-8")
	}
	for {
		token, err := d.Token()
		if err == io.EOF && depth == 0 && elements > 0 {
			return root, nil
		}
		if err != nil {
			return nil, fmt.Errorf("the document is no XML: %w", err)
		}
		if !r.use(1) || !r.alloc(2*valueSize) {
			return nil, errors.New("the document is too large")
		}
		switch t := token.(type) {
		case xml.StartElement:
			if depth++; depth > maxNesting {
				return nil, fmt.Errorf("elements are nested more than %d deep", maxNesting)
			}
			if !r.alloc(len(t.Attr) * valueSize) {
				return nil, errors.New("the document is too large")
			}
			elements++
			at = at.add(&xmlNode{kind: xpath.ElementNode, name: t.Name, attrs: withoutNamespaces(t.Attr)})
		case xml.EndElement:
			depth--
			at = at.parent
		case xml.CharData:
			if at != root {
				at.add(&xmlNode{kind: xpath.TextNode, text: string(t)})
			}
		case xml.Comment:
			at.add(&xmlNode{kind: xpath.CommentNode, text: string(t)})
		}
	}
}

// withoutNamespaces copies attributes but those that declare namespaces.
func withoutNamespaces(attrs []xml.Attr) []xml.Attr {
	var kept []xml.Attr
	for _, a := range attrs {
		if a.Name.Space != "xmlns" && (a.Name.Space != "" || a.Name.Local != "xmlns") {
			kept = append(kept, a)
		}
	}
	return kept
}

// xmlCursor is a place in a document: a node, or one of its attributes. It
// implements xpath.NodeNavigator and pays for each move.
type xmlCursor struct {
	node, root *xmlNode
	attr       int // of node; -1: the node itself
	steps      *int
}

func (c *xmlCursor) pay(n int) {
	if *c.steps -= n; *c.steps < 0 {
		panic(errXPathSteps)
	}
}

// NodeType returns what kind of node this is.
func (c *xmlCursor) NodeType() xpath.NodeType {
	if c.attr >= 0 {
		return xpath.AttributeNode
	}
	return c.node.kind
}

func (c *xmlCursor) xmlName() xml.Name {
	if c.attr >= 0 {
		return c.node.attrs[c.attr].Name
	}
	return c.node.name
}

// LocalName returns the name without its prefix.
func (c *xmlCursor) LocalName() string { return c.xmlName().Local }

// Prefix returns the URL of the namespace: prefixes are resolved, and the library
// takes a name without one for a name in no namespace only if this is not "".
func (c *xmlCursor) Prefix() string { return c.xmlName().Space }

// NamespaceURL returns the URL of the name's namespace.
func (c *xmlCursor) NamespaceURL() string { return c.xmlName().Space }

// Value returns the text in the node.
func (c *xmlCursor) Value() string {
	if c.attr >= 0 {
		return c.node.attrs[c.attr].Value
	}
	var b strings.Builder
	var walk func(n *xmlNode)
	walk = func(n *xmlNode) {
		c.pay(1 + len(n.text)>>2)
		if n.kind != xpath.CommentNode || n == c.node {
			b.WriteString(n.text)
		}
		for _, k := range n.children {
			walk(k)
		}
	}
	walk(c.node)
	return b.String()
}

// Copy returns a cursor at the same place.
func (c *xmlCursor) Copy() xpath.NodeNavigator {
	c.pay(1)
	other := *c
	return &other
}

// MoveToRoot goes to the document.
func (c *xmlCursor) MoveToRoot() { c.pay(1); c.node, c.attr = c.root, -1 }

// MoveToParent goes up, from an attribute to its element.
func (c *xmlCursor) MoveToParent() bool {
	c.pay(1)
	if c.attr >= 0 {
		c.attr = -1
		return true
	}
	return c.move(c.node.parent)
}

// MoveToNextAttribute goes from an element to its first attribute, or from one
// attribute to the next.
func (c *xmlCursor) MoveToNextAttribute() bool {
	c.pay(1)
	if c.attr+1 >= len(c.node.attrs) {
		return false
	}
	c.attr++
	return true
}

// MoveToChild goes to the first child.
func (c *xmlCursor) MoveToChild() bool {
	if c.attr >= 0 || len(c.node.children) == 0 {
		return false
	}
	return c.move(c.node.children[0])
}

// MoveToFirst goes to the first sibling.
func (c *xmlCursor) MoveToFirst() bool {
	if c.attr >= 0 || c.node.parent == nil {
		return false
	}
	return c.move(c.node.parent.children[0])
}

// MoveToNext goes to the next sibling.
func (c *xmlCursor) MoveToNext() bool { return c.sibling(1) }

// MoveToPrevious goes to the sibling before.
func (c *xmlCursor) MoveToPrevious() bool { return c.sibling(-1) }

func (c *xmlCursor) sibling(by int) bool {
	if c.attr >= 0 || c.node.parent == nil {
		return false
	}
	i := c.node.index + by
	if i < 0 || i >= len(c.node.parent.children) {
		return false
	}
	return c.move(c.node.parent.children[i])
}

func (c *xmlCursor) move(to *xmlNode) bool {
	c.pay(1)
	if to == nil {
		return false
	}
	c.node = to
	return true
}

// MoveTo goes where another cursor of the same document is.
func (c *xmlCursor) MoveTo(other xpath.NodeNavigator) bool {
	c.pay(1)
	o, ok := other.(*xmlCursor)
	if !ok || o.root != c.root {
		return false
	}
	c.node, c.attr = o.node, o.attr
	return true
}

// text returns the node as xml.xpath.matchNodeSet does: an element with its tags.
func (c *xmlCursor) text() string {
	if c.attr >= 0 || c.node.kind != xpath.ElementNode && c.node.kind != xpath.RootNode {
		return c.Value()
	}
	var b strings.Builder
	c.write(&b, c.node, "")
	return b.String()
}

// write writes XML; names in another namespace than the element around declare
// it.
func (c *xmlCursor) write(b *strings.Builder, n *xmlNode, space string) {
	c.pay(1 + len(n.text)>>2)
	switch n.kind {
	case xpath.TextNode:
		// Writing to a strings.Builder does not fail.
		_ = xml.EscapeText(b, []byte(n.text))
		return
	case xpath.CommentNode:
		b.WriteString("<!--" + n.text + "-->")
		return
	case xpath.ElementNode:
		b.WriteString("<" + n.name.Local)
		if n.name.Space != space {
			b.WriteString(` xmlns="` + escapeXML(n.name.Space) + `"`)
		}
		for _, a := range n.attrs {
			b.WriteString(" " + a.Name.Local + `="` + escapeXML(a.Value) + `"`)
		}
		b.WriteByte('>')
	}
	for _, k := range n.children {
		c.write(b, k, n.name.Space)
	}
	if n.kind == xpath.ElementNode {
		b.WriteString("</" + n.name.Local + ">")
	}
}

func escapeXML(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // as above
	return b.String()
}
