package vtm

import (
	"slices"
	"strings"
	"time"
)

// versions is a version vector: how many changes of a resource each member has
// made or taken in, sorted by member. It is immutable. Built-in resources that
// nobody has changed have an empty one, which every other goes before.
type versions []memberVersion

type memberVersion struct {
	Member string `json:"member"`
	N      uint64 `json:"n"`
}

type order int

const (
	same order = iota
	older
	newer
	concurrent // each has seen a change that the other has not
)

// of returns the count of one member.
func (v versions) of(member string) uint64 {
	i, found := slices.BinarySearchFunc(v, member, func(e memberVersion, m string) int { return strings.Compare(e.Member, m) })
	if !found {
		return 0
	}
	return v[i].N
}

// next is the version after one more change by member.
func (v versions) next(member string) versions {
	return v.union(versions{{member, v.of(member) + 1}})
}

// union is the least version that is older than neither.
func (v versions) union(w versions) versions {
	out := make(versions, 0, len(v)+1)
	for len(v) > 0 || len(w) > 0 {
		switch {
		case len(w) == 0 || len(v) > 0 && v[0].Member < w[0].Member:
			out, v = append(out, v[0]), v[1:]
		case len(v) == 0 || w[0].Member < v[0].Member:
			out, w = append(out, w[0]), w[1:]
		default:
			out = append(out, memberVersion{v[0].Member, max(v[0].N, w[0].N)})
			v, w = v[1:], w[1:]
		}
	}
	return out
}

// compare says what v is, seen from w.
func (v versions) compare(w versions) order {
	less, more := false, false
	for _, e := range v {
		more = more || e.N > w.of(e.Member)
	}
	for _, e := range w {
		less = less || e.N > v.of(e.Member)
	}
	switch {
	case less && more:
		return concurrent
	case less:
		return older
	case more:
		return newer
	}
	return same
}

// stamp says who made a resource what it is, and when. Of two concurrent changes
// the later one is kept, of two at one instant that of the greater name: every
// member decides alike, in whatever order it hears of them.
type stamp struct {
	versions versions
	at       time.Time
	by       string // member; "" for what a new traffic manager has
}

// nextStamp is the stamp of a change that member makes now to what last is, which
// may be nil. Its time is after that of all changes it follows, even where the
// clock is not, or the members might not decide alike.
func nextStamp(last *resource, now time.Time, member string) stamp {
	if last == nil {
		return stamp{versions(nil).next(member), now, member}
	}
	if !now.After(last.at) {
		now = last.at.Add(1)
	}
	return stamp{last.versions.next(member), now, member}
}

// beats tells whether of two concurrent changes s is kept.
func (s stamp) beats(o stamp) bool {
	if !s.at.Equal(o.at) {
		return s.at.After(o.at)
	}
	return s.by > o.by
}
