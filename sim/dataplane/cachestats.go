package dataplane

import "time"

// CacheStatistics returns the counts of all caches by the names that the REST
// API's status resources have for them, such as "ip_session_cache".
func (d *DataPlane) CacheStatistics() map[string]Counts {
	now := d.now()
	out := map[string]Counts{"web_cache": d.cache.statistics(now, d.global.Load().WebCache.limits())}
	for kind, name := range map[string]string{
		"asp": "asp_session_cache", "ip": "ip_session_cache", "j2ee": "j2ee_session_cache", "ssl": "ssl_session_cache", "universal": "uni_session_cache",
	} {
		out[name] = d.sessions.statistics(kind, now)
	}
	return out
}

func cacheCounts(lookups, hits int64) Counts {
	return Counts{"lookups": lookups, "hits": hits, "misses": lookups - hits, "hit_rate": percent(hits, lookups)}
}

func (w *webCache) statistics(now time.Time, limits cacheLimits) Counts {
	out := cacheCounts(w.lookups.Load(), w.hits.Load())
	w.mu.Lock()
	defer w.mu.Unlock()
	out["entries"], out["max_entries"] = int64(w.entries), int64(limits.files)
	out["mem_used"], out["mem_maximum"] = w.size, limits.size
	out["oldest"] = 0
	if oldest := w.recent.Back(); oldest != nil {
		for _, e := range oldest.Value.(*cachePage).entries {
			out["oldest"] = max(out["oldest"], int64(now.Sub(e.stored)/time.Second))
		}
	}
	return out
}

func (s *sessionCaches) statistics(kind string, now time.Time) Counts {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.caches[kind]
	out := cacheCounts(c.counts.lookups, c.counts.hits)
	out["entries"], out["entries_max"], out["oldest"] = int64(c.order.Len()), int64(c.size), 0
	if oldest := c.order.Back(); oldest != nil {
		out["oldest"] = int64(now.Sub(oldest.Value.(*Session).Used) / time.Second)
	}
	if kind != "asp" && kind != "ssl" { // whose sessions do not expire
		out["expiries"] = c.counts.expiries
	}
	return out
}

// refusalKeys are the keys that a service protection class counts.
var refusalKeys = []string{
	"refusal_binary", "refusal_conc10_ip", "refusal_conc1_ip", "refusal_conn_rate", "refusal_ip", "refusal_rfc2396", "refusal_size",
}

// ProtectionStatistics returns the counts of a service protection class; false if
// there is none.
func (d *DataPlane) ProtectionStatistics(name string) (Counts, bool) {
	g := d.guard(name)
	if g == nil {
		return nil, false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	out := Counts{"total_refusal": 0, "last_refusal_time": 0}
	for _, key := range refusalKeys {
		out[key] = g.counts[key]
		out["total_refusal"] += g.counts[key]
	}
	if !g.last.IsZero() {
		out["last_refusal_time"] = int64(d.now().Sub(g.last) / (10 * time.Millisecond))
	}
	return out, true
}
