package dataplane

import (
	"bytes"
	"container/list"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// webCache keeps responses of nodes for the virtual servers that have web_cache
// enabled, as RFC 9111 allows a shared cache and within their section's times.
// Response rules have run on what is kept; they do not run again.
type webCache struct {
	lookups, hits atomic.Int64

	mu      sync.Mutex
	byKey   map[string]*list.Element // of *cachePage
	recent  list.List                // the page used last is in front
	size    int64                    // bytes of all bodies
	entries int
}

// cachePage are the responses of one URL: one for each way in which requests
// differ by the headers that Vary names.
type cachePage struct {
	key     string
	entries []*cacheEntry
}

// cacheEntry is one kept response. Nothing of it changes but asked.
type cacheEntry struct {
	status   int
	reason   string
	header   http.Header
	body     []byte
	vary     [][2]string // header and its value in the request
	stored   time.Time
	expires  time.Time
	age      time.Duration // when it was stored
	refresh  time.Duration // before expiry: a request each second goes to a node
	asked    time.Time     // when the last one went; under webCache.mu
	modified time.Time
}

// cacheLimits are the global settings of the cache in bytes and numbers.
type cacheLimits struct {
	size, file int64
	files      int
}

// machineMemory is what percentages of web_cache!size refer to.
const machineMemory = 1 << 30

func (g *GlobalCache) limits() cacheLimits {
	l := cacheLimits{size: byteSize(g.Size, machineMemory), files: g.MaxFiles}
	l.file = byteSize(g.MaxFileSize, l.size)
	return l
}

// byteSize reads "20%", "10MB" or a number of bytes; what it cannot read is 0.
func byteSize(text string, whole int64) int64 {
	text = strings.ToUpper(strings.TrimSpace(text))
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"%", 0}} {
		if number, ok := strings.CutSuffix(text, u.suffix); ok {
			text, unit = strings.TrimSpace(number), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil || n < 0:
		return 0
	case unit == 0:
		return whole / 100 * min(n, 100)
	case n > (1<<62)/unit:
		return 1 << 62
	}
	return n * unit
}

// cacheKey names the URL that a request asks for.
func (t *transaction) cacheKey(pool string) string {
	path, query, _ := strings.Cut(t.r.URL.RequestURI(), "?")
	if query != "" && t.v.d.global.Load().WebCache.NormalizeQuery {
		parts := strings.Split(query, "&")
		slices.Sort(parts)
		query = strings.Join(parts, "&")
	}
	extra := ""
	if t.script != nil {
		extra = t.script.CacheKey
	}
	return strings.Join([]string{t.v.name, pool, t.scheme(), strings.ToLower(t.r.Host), path, query, extra}, "\x00")
}

// caches tells whether the cache has to do with this request.
func (t *transaction) caches() bool {
	return t.conf.WebCache.Enabled && (t.script == nil || !t.script.NoCache)
}

// mayAnswer tells whether a request lets a cache answer it.
func mayAnswer(r *http.Request) bool {
	h := r.Header
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.ContentLength == 0 &&
		h.Get("Range") == "" && h.Get("Upgrade") == "" &&
		!headerHas(h, "Cache-Control", "no-cache") && !headerHas(h, "Cache-Control", "no-store") &&
		!headerHas(h, "Cache-Control", "max-age=0") && !headerHas(h, "Pragma", "no-cache")
}

// Has tells rules whether the cache has the answer for a pool (http.cache.exists).
func (t *transaction) Has(pool string) bool {
	if pool == "" {
		pool = t.poolName()
	}
	return t.caches() && mayAnswer(t.r) && t.v.d.cache.find(t.cacheKey(pool), t.r, t.v.d.now()) != nil
}

// fromCache returns the kept response to the request, nil if a node must be asked.
func (t *transaction) fromCache() *http.Response {
	if !t.caches() || !mayAnswer(t.r) {
		return nil
	}
	now := t.v.d.now()
	t.v.stats.inc(vsCacheLookups)
	t.v.d.cache.lookups.Add(1)
	e := t.v.d.cache.find(t.cacheKey(t.poolName()), t.r, now)
	if e == nil || t.v.d.cache.refreshes(e, now) {
		return nil
	}
	t.v.stats.inc(vsCacheHits)
	t.v.d.cache.hits.Add(1)
	t.by = byCache
	res := &http.Response{
		StatusCode: e.status, Status: strconv.Itoa(e.status) + " " + e.reason, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: e.header.Clone(), Request: t.r,
	}
	res.Header["Age"] = []string{itoa(int((e.age + now.Sub(e.stored)) / time.Second))}
	if t.conf.WebCache.ControlOut != "" {
		res.Header["Cache-Control"] = []string{t.conf.WebCache.ControlOut}
	}
	if e.status == http.StatusOK && e.unchanged(t.r.Header) {
		res.StatusCode, res.Status, res.Body = http.StatusNotModified, "304 Not Modified", http.NoBody
		res.Header.Del("Content-Length")
		res.Header.Del("Content-Type")
		return res
	}
	res.Header["Content-Length"] = []string{itoa(len(e.body))}
	res.ContentLength = int64(len(e.body))
	res.Body = io.NopCloser(bytes.NewReader(e.body))
	if t.r.Method == http.MethodHead {
		res.Body = http.NoBody
	}
	return res
}

// unchanged tells whether a conditional request has what is kept (RFC 9110 13.1).
func (e *cacheEntry) unchanged(h http.Header) bool {
	if asked := h["If-None-Match"]; len(asked) > 0 {
		tag := strings.TrimPrefix(e.header.Get("Etag"), "W/")
		for _, v := range asked {
			for item := range strings.SplitSeq(v, ",") {
				item = strings.TrimPrefix(strings.TrimSpace(item), "W/")
				if item == "*" || tag != "" && strings.ReplaceAll(item, etagSuffix+`"`, `"`) == tag {
					return true
				}
			}
		}
		return false
	}
	since, err := http.ParseTime(h.Get("If-Modified-Since"))
	return err == nil && !e.modified.IsZero() && !e.modified.After(since)
}

// find returns what is fresh for a request.
func (c *webCache) find(key string, r *http.Request, now time.Time) *cacheEntry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byKey[key]
	if el == nil {
		return nil
	}
	c.recent.MoveToFront(el)
	for _, e := range el.Value.(*cachePage).entries {
		if now.Before(e.expires) && e.fits(r.Header) {
			return e
		}
	}
	return nil
}

func (e *cacheEntry) fits(h http.Header) bool {
	for _, v := range e.vary {
		if strings.Join(h[v[0]], ",") != v[1] {
			return false
		}
	}
	return true
}

// refreshes tells whether this request shall go to a node although e is fresh: it
// expires soon, and none went in this second.
func (c *webCache) refreshes(e *cacheEntry, now time.Time) bool {
	if e.expires.Sub(now) > e.refresh {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Sub(e.asked) < time.Second {
		return false
	}
	e.asked = now
	return true
}

// keep lets a node's response be stored once it has passed in full.
func (t *transaction) keep(res *http.Response) {
	if !t.conf.WebCache.Enabled {
		return
	}
	if !idempotentMethod(t.r.Method) || t.r.Method == http.MethodPut || t.r.Method == http.MethodDelete {
		if res.StatusCode < 400 { // RFC 9111 4.4: what was kept is no longer true
			t.v.d.cache.drop(t.cacheKey(t.poolName()))
		}
		return
	}
	now := t.v.d.now()
	life, ok := t.lifetime(res, now)
	limits := t.v.d.global.Load().WebCache.limits()
	if !t.caches() || t.r.Method != http.MethodGet || !mayAnswer(t.r) || !ok || res.ContentLength > limits.file {
		return
	}
	e := &cacheEntry{status: res.StatusCode, header: res.Header.Clone(), stored: now, expires: now.Add(life), refresh: t.conf.WebCache.RefreshTime, asked: now}
	_, e.reason, _ = strings.Cut(res.Status, " ")
	for _, v := range res.Header["Vary"] {
		for name := range strings.SplitSeq(v, ",") {
			name = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))
			if name == "*" {
				return
			}
			e.vary = append(e.vary, [2]string{name, strings.Join(t.r.Header[name], ",")})
		}
	}
	if age, err := strconv.Atoi(res.Header.Get("Age")); err == nil && age > 0 {
		e.age = min(time.Duration(age)*time.Second, life)
		e.expires = now.Add(life - e.age)
	}
	e.modified, _ = http.ParseTime(res.Header.Get("Last-Modified"))
	key := t.cacheKey(t.poolName())
	res.Body = &keptBody{ReadCloser: res.Body, left: limits.file, length: res.ContentLength, store: func(body []byte) {
		e.body = body
		t.v.d.cache.store(key, e, limits)
	}}
}

// lifetime returns how long a response is fresh; false if it must not be kept.
func (t *transaction) lifetime(res *http.Response, now time.Time) (time.Duration, bool) {
	h, conf := res.Header, t.conf.WebCache
	most := conf.MaxTime
	switch code := res.StatusCode; {
	case code == 200, code == 203, code == 300, code == 301, code == 308:
	case code == 404, code == 405, code == 410, code == 414, code == 501:
		most = min(most, conf.ErrorPageTime)
	default:
		return 0, false
	}
	control := make(map[string]string)
	for _, v := range h["Cache-Control"] {
		for item := range strings.SplitSeq(v, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
			control[strings.ToLower(name)] = strings.Trim(value, `"`)
		}
	}
	for _, never := range []string{"no-store", "no-cache", "private"} {
		if _, ok := control[never]; ok {
			return 0, false
		}
	}
	_, shared := control["s-maxage"]
	_, public := control["public"]
	if t.r.Header.Get("Authorization") != "" && !shared && !public || h.Get("Set-Cookie") != "" || headerHas(h, "Pragma", "no-cache") || len(res.Trailer) > 0 {
		return 0, false
	}
	for _, name := range []string{"s-maxage", "max-age"} {
		if text, ok := control[name]; ok {
			n, err := strconv.ParseInt(text, 10, 32)
			return min(time.Duration(max(n, 0))*time.Second, most), err == nil && n > 0
		}
	}
	if text := h.Get("Expires"); text != "" {
		at, err := http.ParseTime(text)
		if date, err := http.ParseTime(h.Get("Date")); err == nil {
			now = date
		}
		life := at.Sub(now)
		return min(life, most), err == nil && life > 0
	}
	if most < conf.MaxTime {
		return most, most > 0 // an error page
	}
	// RFC 9111 4.2.2: a tenth of the time for which it has not changed.
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	life := min(now.Sub(modified)/10, most)
	return life, err == nil && life > 0
}

// keptBody collects a body that passes, and stores it when it came in full.
type keptBody struct {
	io.ReadCloser
	body   []byte
	left   int64 // how much more may come
	length int64 // announced; below 0: none
	store  func([]byte)
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.store == nil {
		return n, err
	}
	if b.left -= int64(n); b.left < 0 {
		b.store, b.body = nil, nil
		return n, err
	}
	b.body = append(b.body, p[:n]...)
	if err == io.EOF && (b.length < 0 || b.length == int64(len(b.body))) {
		b.store(b.body)
		b.store = nil
	}
	return n, err
}

func (c *webCache) store(key string, e *cacheEntry, limits cacheLimits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey == nil {
		c.byKey = make(map[string]*list.Element)
	}
	el := c.byKey[key]
	if el == nil {
		el = c.recent.PushFront(&cachePage{key: key})
		c.byKey[key] = el
	}
	page := el.Value.(*cachePage)
	page.entries = slices.DeleteFunc(page.entries, func(old *cacheEntry) bool {
		gone := slices.Equal(old.vary, e.vary) || !e.stored.Before(old.expires)
		if gone {
			c.forget(old)
		}
		return gone
	})
	page.entries = append(page.entries, e)
	c.entries++
	c.size += int64(len(e.body))
	for c.recent.Len() > 0 && (c.size > limits.size || c.entries > limits.files) {
		c.remove(c.recent.Back())
	}
}

func (c *webCache) forget(e *cacheEntry) {
	c.entries--
	c.size -= int64(len(e.body))
}

func (c *webCache) remove(el *list.Element) {
	page := c.recent.Remove(el).(*cachePage)
	delete(c.byKey, page.key)
	for _, e := range page.entries {
		c.forget(e)
	}
}

func (c *webCache) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if el := c.byKey[key]; el != nil {
		c.remove(el)
	}
}
