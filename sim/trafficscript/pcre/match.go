package pcre

import "errors"

// ErrLimit tells that matching took all the steps, or all the memory, that it
// may.
var ErrLimit = errors.New("the regular expression needs too many steps")

// maxStack bounds the places to come back to, 32 bytes each.
const maxStack = 1 << 19

// startSteps is what a search costs before it looks at anything.
const startSteps = 16

// frame is a place to come back to, or a slot's old value.
type frame struct {
	kind frameKind
	pc   int
	pos  int
	more int // backToShorter: the shortest end; backToLonger: bytes that it may still take
}

type frameKind uint8

const (
	backTo        frameKind = iota // pc at pos
	backToShorter                  // pc at pos-1, as long as that is not before more
	backToLonger                   // after one more byte of the opRepeat before pc
	undo                           // slot pc was pos
)

// machine is one search.
type machine struct {
	re    *Regexp
	s     string
	from  int // where the search began, for \G
	slots []int
	stack []frame
	steps *int
}

// Match searches s from an offset on and returns the bounds of the match and of
// each group, two numbers each, -1 for a group that took no part; nil if there is
// no match. It takes its steps out of *steps and ends with ErrLimit when they are
// used up.
func (re *Regexp) Match(s string, from int, steps *int) ([]int, error) {
	*steps -= startSteps
	m := &machine{re: re, s: s, from: from, slots: make([]int, re.slots), steps: steps}
	for start := from; start <= len(s); start++ {
		if re.anchor && start > 0 {
			break
		}
		if re.first != nil {
			skipped := start
			for start < len(s) && !re.first.has(s[start]) {
				start++
			}
			if *steps -= (start - skipped) >> 3; start == len(s) {
				break
			}
		}
		for i := range m.slots {
			m.slots[i] = -1
		}
		if *steps -= len(m.slots) >> 3; *steps < 0 {
			return nil, ErrLimit
		}
		m.slots[0], m.stack = start, m.stack[:0]
		end, ok := m.run(0, start)
		if *steps < 0 {
			return nil, ErrLimit
		}
		if ok {
			m.slots[1] = end
			// \K in a lookahead can put the beginning behind the end.
			m.slots[0] = min(m.slots[0], end)
			return m.slots[:2*(re.groups+1)], nil
		}
	}
	return nil, nil
}

func (m *machine) push(f frame) {
	if len(m.stack) >= maxStack {
		*m.steps = -1
		return
	}
	m.stack = append(m.stack, f)
}

func (m *machine) save(slot, pos int) {
	m.push(frame{kind: undo, pc: slot, pos: m.slots[slot]})
	m.slots[slot] = pos
}

// run runs a program from pc at pos until its opAccept and returns the position
// there. It calls itself for lookaround and atomic groups alone, so that the
// pattern bounds the depth. What it pushed stays on the stack when it succeeds.
func (m *machine) run(pc, pos int) (end int, ok bool) {
	base := len(m.stack)
	for {
		if *m.steps--; *m.steps < 0 {
			return 0, false
		}
		i := &m.re.prog[pc]
		good := true
		switch i.op {
		case opByte:
			if good = pos < len(m.s) && i.set.has(m.s[pos]); good {
				pos++
			}
			pc++
		case opRepeat:
			pos, good = m.repeat(i, pc, pos)
			pc++
		case opJump:
			pc = i.x
		case opSplit:
			m.push(frame{kind: backTo, pc: i.y, pos: pos})
			pc = i.x
		case opSave:
			m.save(i.x, pos)
			pc++
		case opProgress:
			pc++
			if m.slots[i.x] == pos {
				pc = i.y
			}
		case opRef:
			pos, good = m.reference(i, pos)
			pc++
		case opBack:
			pos -= i.x
			good = pos >= 0
			pc++
		case opAtomic, opLook:
			inner := len(m.stack)
			end, found := m.run(pc+1, pos)
			if *m.steps < 0 {
				return 0, false
			}
			switch {
			case found && i.negate:
				m.unwind(inner)
				good = false
			case found:
				m.commit(inner)
				if i.op == opAtomic {
					pos = end
				}
			default:
				good = i.negate
			}
			pc = i.x
		case opAccept:
			return pos, true
		case opKeep:
			m.save(0, pos)
			pc++
		default:
			good = m.holds(i.op, pos)
			pc++
		}
		if !good {
			if pc, pos, ok = m.back(base); !ok {
				return 0, false
			}
		}
	}
}

// back pops the stack down to base and returns where to go on.
func (m *machine) back(base int) (pc, pos int, ok bool) {
	for len(m.stack) > base {
		top := len(m.stack) - 1
		f := &m.stack[top]
		switch f.kind {
		case undo:
			m.slots[f.pc] = f.pos
			m.stack = m.stack[:top]
		case backTo:
			m.stack = m.stack[:top]
			return f.pc, f.pos, true
		case backToShorter:
			f.pos--
			pc, pos = f.pc, f.pos
			if f.pos <= f.more {
				m.stack = m.stack[:top]
			}
			return pc, pos, true
		case backToLonger:
			if f.more == 0 || f.pos >= len(m.s) || !m.re.prog[f.pc-1].set.has(m.s[f.pos]) {
				m.stack = m.stack[:top]
				continue
			}
			f.pos++
			if f.more > 0 {
				f.more--
			}
			return f.pc, f.pos, true
		}
	}
	return 0, 0, false
}

// unwind forgets all above base and restores the slots.
func (m *machine) unwind(base int) {
	for top := len(m.stack) - 1; top >= base; top-- {
		if f := &m.stack[top]; f.kind == undo {
			m.slots[f.pc] = f.pos
		}
	}
	m.stack = m.stack[:base]
}

// commit forgets the places to come back to above base, but not what coming back
// further would restore.
func (m *machine) commit(base int) {
	kept := m.stack[:base]
	for _, f := range m.stack[base:] {
		if f.kind == undo {
			kept = append(kept, f)
		}
	}
	*m.steps -= (len(m.stack) - base) >> 2
	m.stack = kept
}

// repeat takes bytes of a set as the repetition's mode prefers.
func (m *machine) repeat(i *inst, pc, pos int) (int, bool) {
	most := len(m.s) - pos
	if i.max != unbounded {
		most = min(most, i.max)
	}
	if most < i.min {
		return 0, false
	}
	want := most
	if i.mode == lazy {
		want = i.min
	}
	end := pos
	for end-pos < want && i.set.has(m.s[end]) {
		end++
	}
	*m.steps -= (end - pos) >> 3
	shortest := pos + i.min
	if end < shortest {
		return 0, false
	}
	switch {
	case i.mode == greedy && end > shortest:
		m.push(frame{kind: backToShorter, pc: pc + 1, pos: end, more: shortest})
	case i.mode == lazy && (i.max == unbounded || i.max > i.min):
		more := unbounded
		if i.max != unbounded {
			more = i.max - i.min
		}
		m.push(frame{kind: backToLonger, pc: pc + 1, pos: end, more: more})
	}
	return end, true
}

// reference matches what a group matched; a group that took no part matches
// nothing at all.
func (m *machine) reference(i *inst, pos int) (int, bool) {
	from, to := m.slots[i.x], m.slots[i.x+1]
	if from < 0 || to < from || to-from > len(m.s)-pos {
		return 0, false
	}
	*m.steps -= (to - from) >> 3
	for k := from; k < to; k, pos = k+1, pos+1 {
		a, b := m.s[k], m.s[pos]
		if a != b && (i.mode != lazy || a|32 != b|32 || !isAlpha(a)) {
			return 0, false
		}
	}
	return pos, true
}

// holds tells if an assertion is true at pos.
func (m *machine) holds(o op, pos int) bool {
	switch o {
	case opStart:
		return pos == 0
	case opEnd:
		return pos == len(m.s)
	case opEndOrNewline:
		return pos == len(m.s) || pos == len(m.s)-1 && m.s[pos] == '\n'
	case opLineStart:
		return pos == 0 || m.s[pos-1] == '\n' && pos < len(m.s)
	case opLineEnd:
		return pos == len(m.s) || m.s[pos] == '\n'
	case opFrom:
		return pos == m.from
	}
	before := pos > 0 && isWord(m.s[pos-1])
	after := pos < len(m.s) && isWord(m.s[pos])
	return (before != after) == (o == opWord)
}
