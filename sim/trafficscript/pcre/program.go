package pcre

import (
	"errors"
	"fmt"
)

// op is what an instruction does.
type op uint8

const (
	opByte         op = iota // one byte of set
	opRepeat                 // min to max bytes of set, by mode
	opJump                   // to x
	opSplit                  // to x, later to y
	opSave                   // the position into slot x
	opProgress               // to y if the position is that in slot x: an empty round ends a loop
	opRef                    // what group x matched; mode lazy: in any case
	opLook                   // the program behind it, up to opAccept, ahead; then x. negate
	opAtomic                 // the same, and its end is the new position
	opBack                   // x bytes back
	opAccept                 // the end of a program
	opStart                  // \A
	opEnd                    // \z
	opEndOrNewline           // \Z
	opLineStart              // ^ with (?m)
	opLineEnd                // $ with (?m)
	opWord                   // \b
	opNotWord                // \B
	opFrom                   // \G
	opKeep                   // \K
)

type inst struct {
	op       op
	mode     mode
	negate   bool
	set      *set
	x, y     int // targets or slots, by op
	min, max int
}

// maxProgram bounds the instructions of one pattern.
const maxProgram = 1 << 16

// errTooLarge is the error of patterns with more instructions.
var errTooLarge = errors.New("the regular expression is too large")

// Regexp is a compiled pattern. It is immutable.
type Regexp struct {
	prog   []inst
	groups int  // capturing ones
	slots  int  // 2 for the match and each group, then one for each loop
	first  *set // what a match can begin with; nil: anything, or nothing
	anchor bool // a match begins at the subject's beginning alone
}

// Groups returns the number of capturing groups.
func (re *Regexp) Groups() int { return re.groups }

// Size returns the number of instructions.
func (re *Regexp) Size() int { return len(re.prog) }

// Compile parses a pattern. With fold, letters match in any case, as after (?i).
// The error names the offset in the pattern, and is ErrNotEmulated for what PCRE
// knows and this package does not.
func Compile(pattern string, fold bool) (*Regexp, error) {
	root, p, err := parse(pattern, fold)
	if err != nil {
		return nil, err
	}
	g := &generator{slots: 2 * (p.groups + 1)}
	if err := g.node(root); err != nil {
		return nil, fmt.Errorf("%w: '%s'", err, pattern)
	}
	g.emit(inst{op: opAccept})
	if len(g.prog) > maxProgram {
		return nil, fmt.Errorf("%w: '%s'", errTooLarge, pattern)
	}
	re := &Regexp{prog: g.prog, groups: p.groups, slots: g.slots}
	re.first, re.anchor = g.begin()
	return re, nil
}

type generator struct {
	prog  []inst
	slots int
}

func (g *generator) emit(i inst) int {
	g.prog = append(g.prog, i)
	return len(g.prog) - 1
}

func (g *generator) here() int { return len(g.prog) }

func (g *generator) node(n node) error {
	if len(g.prog) > maxProgram {
		return errTooLarge
	}
	switch n := n.(type) {
	case emptyNode:
	case *setNode:
		g.emit(inst{op: opByte, set: n.set})
	case *catNode:
		for _, x := range n.list {
			if err := g.node(x); err != nil {
				return err
			}
		}
	case *altNode:
		return g.alternatives(n.list, g.node)
	case *groupNode:
		g.emit(inst{op: opSave, x: 2 * n.index})
		if err := g.node(n.body); err != nil {
			return err
		}
		g.emit(inst{op: opSave, x: 2*n.index + 1})
	case *atomicNode:
		return g.inner(inst{op: opAtomic}, n.body, g.node)
	case *lookNode:
		return g.inner(inst{op: opLook, negate: n.negate}, n.body, func(body node) error {
			if n.behind {
				return g.behind(body)
			}
			return g.node(body)
		})
	case *assertNode:
		g.emit(inst{op: n.kind})
	case *refNode:
		i := inst{op: opRef, x: 2 * n.index}
		if n.fold {
			i.mode = lazy
		}
		g.emit(i)
	case *repeatNode:
		return g.repeat(n)
	default:
		panic(fmt.Sprintf("unknown node %T", n))
	}
	return nil
}

// inner emits i with a program of its own behind it.
func (g *generator) inner(i inst, body node, f func(node) error) error {
	at := g.emit(i)
	if err := f(body); err != nil {
		return err
	}
	g.emit(inst{op: opAccept})
	g.prog[at].x = g.here()
	return nil
}

func (g *generator) alternatives(list []node, f func(node) error) error {
	var ends []int
	for i, x := range list {
		split := -1
		if i < len(list)-1 {
			split = g.emit(inst{op: opSplit})
			g.prog[split].x = g.here()
		}
		if err := f(x); err != nil {
			return err
		}
		if split >= 0 {
			ends = append(ends, g.emit(inst{op: opJump}))
			g.prog[split].y = g.here()
		}
	}
	for _, at := range ends {
		g.prog[at].x = g.here()
	}
	return nil
}

// behind emits a lookbehind: each alternative has one length and begins as far
// back.
func (g *generator) behind(body node) error {
	list := []node{body}
	if alt, ok := body.(*altNode); ok {
		list = alt.list
	}
	return g.alternatives(list, func(n node) error {
		length, ok := width(n)
		if !ok {
			return errors.New("a lookbehind that is not of one length")
		}
		g.emit(inst{op: opBack, x: length})
		return g.node(n)
	})
}

// width returns how many bytes a node matches, and false if that varies.
func width(n node) (int, bool) {
	switch n := n.(type) {
	case *setNode:
		return 1, true
	case *catNode:
		sum := 0
		for _, x := range n.list {
			w, ok := width(x)
			if !ok {
				return 0, false
			}
			sum += w
		}
		return sum, sum < 1<<20
	case *altNode:
		first, ok := width(n.list[0])
		for _, x := range n.list {
			w, same := width(x)
			ok = ok && same && w == first
		}
		return first, ok
	case *groupNode:
		return width(n.body)
	case *atomicNode:
		return width(n.body)
	case *repeatNode:
		w, ok := width(n.body)
		return w * n.min, ok && n.min == n.max && w*n.min < 1<<20
	case *refNode:
		return 0, false
	}
	return 0, true // assertions and the empty pattern
}

func (g *generator) repeat(n *repeatNode) error {
	if n.max == 0 {
		return nil
	}
	if s, ok := n.body.(*setNode); ok {
		if n.min != 1 || n.max != 1 {
			g.emit(inst{op: opRepeat, set: s.set, min: n.min, max: n.max, mode: n.mode})
			return nil
		}
		return g.node(s)
	}
	if n.mode == possessive {
		return g.inner(inst{op: opAtomic}, &repeatNode{n.body, n.min, n.max, greedy}, g.node)
	}
	copies := n.min
	if n.max == unbounded && n.min > 0 {
		copies-- // the last is the loop's first round
	}
	for range copies {
		if err := g.node(n.body); err != nil {
			return err
		}
	}
	if n.max == unbounded {
		return g.loop(n)
	}
	var splits []int
	for range n.max - n.min {
		splits = append(splits, g.emit(inst{op: opSplit}))
		g.prog[g.here()-1].x = g.here()
		if err := g.node(n.body); err != nil {
			return err
		}
	}
	for _, at := range splits {
		g.choose(at, g.prog[at].x, g.here(), n.mode)
	}
	return nil
}

// choose makes a split prefer going on, or leaving when lazy.
func (g *generator) choose(at, on, leave int, m mode) {
	if m == lazy {
		on, leave = leave, on
	}
	g.prog[at].x, g.prog[at].y = on, leave
}

// loop emits an unbounded loop, of one round at least if n.min is not 0. A round
// that matches nothing ends it.
func (g *generator) loop(n *repeatNode) error {
	slot := g.slots
	g.slots++
	enter := -1
	if n.min == 0 {
		enter = g.emit(inst{op: opSplit})
	}
	round := g.emit(inst{op: opSave, x: slot})
	if err := g.node(n.body); err != nil {
		return err
	}
	progress := g.emit(inst{op: opProgress, x: slot})
	again := g.emit(inst{op: opSplit})
	leave := g.here()
	g.prog[progress].y = leave
	g.choose(again, round, leave, n.mode)
	if enter >= 0 {
		g.choose(enter, round, leave, n.mode)
	}
	return nil
}

// begin finds what a match can begin with: the bytes, or nil if that is not
// known, and whether it is the subject's beginning.
func (g *generator) begin() (first *set, anchor bool) {
	first, anchor = new(set), g.prog[0].op == opStart
	seen := make([]bool, len(g.prog))
	var walk func(pc int) bool
	walk = func(pc int) bool {
		for !seen[pc] {
			seen[pc] = true
			switch i := &g.prog[pc]; i.op {
			case opByte:
				first.addAll(i.set)
				return true
			case opRepeat:
				first.addAll(i.set)
				if i.min > 0 {
					return true
				}
				pc++
			case opJump, opLook:
				pc = i.x
			case opSplit:
				if !walk(i.x) {
					return false
				}
				pc = i.y
			case opProgress:
				if !walk(i.y) {
					return false
				}
				pc++
			case opRef, opAtomic, opAccept, opKeep:
				return false
			default:
				pc++
			}
		}
		return true
	}
	if !walk(0) || first.size() == 256 {
		return nil, anchor
	}
	return first, anchor
}
