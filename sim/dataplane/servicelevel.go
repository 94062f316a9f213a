package dataplane

import (
	"sync"
	"sync/atomic"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// levelClass is a service level monitoring class at run time: how many of the
// responses of the last ten seconds came in time.
type levelClass struct {
	conf atomic.Pointer[ServiceLevel]

	mu      sync.Mutex
	seconds [levelSeconds]levelCount
}

// levelSeconds is for how long responses count.
const levelSeconds = 10

// levelCount counts the responses of one second.
type levelCount struct {
	second    int64 // of Unix time
	all, good int
}

func (c *levelClass) with(conf *ServiceLevel) *levelClass {
	if c == nil {
		c = &levelClass{}
	}
	c.conf.Store(conf)
	return c
}

// count counts a response that took so long.
func (c *levelClass) count(now time.Time, took time.Duration) {
	second := now.Unix()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &c.seconds[second%levelSeconds]
	if s.second != second {
		*s = levelCount{second: second}
	}
	s.all++
	if took <= c.conf.Load().ResponseTime {
		s.good++
	}
}

// state tells how many percent conform: all, when there were none.
func (c *levelClass) state(now time.Time) trafficscript.ServiceLevel {
	level := trafficscript.ServiceLevel{Conforming: 100, Threshold: float64(c.conf.Load().SeriousThreshold)}
	c.mu.Lock()
	defer c.mu.Unlock()
	all, good := 0, 0
	for _, s := range c.seconds {
		if s.second > now.Unix()-levelSeconds {
			all += s.all
			good += s.good
		}
	}
	if all > 0 {
		level.Conforming = 100 * float64(good) / float64(all)
	}
	return level
}
