package dataplane

import (
	"sync"
	"sync/atomic"
	"time"
)

// gauge counts what is there now, and the most there ever was.
type gauge struct{ current, most atomic.Int64 }

func (g *gauge) up() {
	now := g.current.Add(1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
}

func (g *gauge) down() { g.current.Add(-1) }

// meter adds up by seconds of the clock. With hourly, it keeps the most of a
// second of each of the last 60 minutes.
type meter struct {
	mu          sync.Mutex // guards all below
	second      int64      // to which sum belongs, Unix time
	sum, before int64      // of this second, and of the one before
	hourly      bool
	minutes     [60]struct{ minute, most int64 }
}

func (m *meter) add(now time.Time, n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(now.Unix())
	m.sum += n
}

// roll ends seconds that are over. m.mu is held.
func (m *meter) roll(second int64) {
	if second == m.second {
		return
	}
	if m.hourly && m.sum > 0 {
		minute := m.second / 60
		slot := &m.minutes[minute%60]
		if slot.minute != minute {
			slot.minute, slot.most = minute, 0
		}
		slot.most = max(slot.most, m.sum)
	}
	m.before = 0
	if second == m.second+1 {
		m.before = m.sum
	}
	m.second, m.sum = second, 0
}

// last is the sum of the last full second.
func (m *meter) last(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(now.Unix())
	return m.before
}

// peak is the greatest sum of one second in the past hour, the present one not
// counted.
func (m *meter) peak(now time.Time) int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(now.Unix())
	var most int64
	for _, slot := range m.minutes {
		if now.Unix()/60-slot.minute < 60 {
			most = max(most, slot.most)
		}
	}
	return most
}

// spread keeps number, sum, least and most of what was measured in the present
// second and the one before: the REST API shows times of the last second.
type spread struct {
	mu          sync.Mutex // guards all below
	second      int64
	now, before window
}

type window struct{ count, sum, least, most int64 }

func (s *spread) measured(now time.Time, d time.Duration) {
	ms := d.Milliseconds()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roll(now.Unix())
	if s.now.count == 0 || ms < s.now.least {
		s.now.least = ms
	}
	s.now.most = max(s.now.most, ms)
	s.now.count++
	s.now.sum += ms
}

func (s *spread) roll(second int64) {
	switch second {
	case s.second:
		return
	case s.second + 1:
		s.before = s.now
	default:
		s.before = window{}
	}
	s.second, s.now = second, window{}
}

// into sets the keys for the least, mean and most, in milliseconds.
func (s *spread) into(out Counts, now time.Time, least, mean, most string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roll(now.Unix())
	w := s.now
	if b := s.before; b.count > 0 {
		if w.count == 0 || b.least < w.least {
			w.least = b.least
		}
		w.most = max(w.most, b.most)
		w.count += b.count
		w.sum += b.sum
	}
	out[least], out[most], out[mean] = w.least, w.most, 0
	if w.count > 0 {
		out[mean] = w.sum / w.count
	}
}
