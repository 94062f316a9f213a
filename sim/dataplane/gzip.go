package dataplane

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// compress compresses a response to a client that takes it, as the virtual
// server's section gzip says: whole responses of a type that is named, within the
// sizes, that nobody compressed before.
func (t *transaction) compress(res *http.Response) {
	g := t.conf.Gzip
	on := g.Enabled
	if t.script != nil && t.script.Compress != nil {
		on = *t.script.Compress
	}
	if !on || !g.fits(res) {
		return
	}
	// Whoever keeps the response must know that others get another one.
	if !headerHas(res.Header, "Vary", "accept-encoding") {
		res.Header.Add("Vary", "Accept-Encoding")
	}
	if !acceptsGzip(t.r.Header) || t.r.Method == http.MethodHead {
		return
	}
	rewriteETag(res.Header, g.ETag)
	res.Header.Set("Content-Encoding", "gzip")
	res.Header.Del("Content-Length")
	res.Header.Del("Accept-Ranges")
	res.Header.Del("Content-Md5")
	res.Header.Del("Digest")
	res.ContentLength = -1
	t.v.stats.inc(vsGzip)
	res.Body = newGzipBody(res.Body, g.Level, func(in, out int64) {
		if in > out {
			t.v.stats.add(vsGzipSaved, in-out)
		}
	})
}

// fits tells whether the settings want this response compressed.
func (g *Gzip) fits(res *http.Response) bool {
	h := res.Header
	switch {
	case res.StatusCode != http.StatusOK || res.Body == nil || res.Body == http.NoBody,
		h.Get("Content-Encoding") != "" || h.Get("Content-Range") != "",
		headerHas(h, "Cache-Control", "no-transform"):
		return false
	}
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	if !mimeListed(g.IncludeMime, strings.TrimSpace(kind)) {
		return false
	}
	size, err := strconv.Atoi(h.Get("Content-Length"))
	if err != nil {
		return g.NoSize
	}
	return size >= g.MinSize && (g.MaxSize == 0 || size <= g.MaxSize)
}

// mimeListed tells whether a list of types, of which each may end in '*', has
// this one.
func mimeListed(list []string, kind string) bool {
	for _, want := range list {
		if prefix, ok := strings.CutSuffix(want, "*"); ok && len(kind) >= len(prefix) && strings.EqualFold(kind[:len(prefix)], prefix) || strings.EqualFold(want, kind) {
			return kind != ""
		}
	}
	return false
}

// headerHas tells whether a header that is a list has this word, written small.
func headerHas(h http.Header, name, word string) bool {
	for _, v := range h[name] {
		for item := range strings.SplitSeq(v, ",") {
			if strings.ToLower(strings.TrimSpace(item)) == word {
				return true
			}
		}
	}
	return false
}

// acceptsGzip reads Accept-Encoding (RFC 9110 12.5.3): gzip by name goes before
// "*", and a weight of 0 refuses.
func acceptsGzip(h http.Header) bool {
	named, any := -1.0, -1.0
	for _, v := range h["Accept-Encoding"] {
		for item := range strings.SplitSeq(v, ",") {
			coding, params, _ := strings.Cut(item, ";")
			weight := 1.0
			if q, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(params)), "q="); ok {
				var err error
				if weight, err = strconv.ParseFloat(q, 64); err != nil {
					weight = 0
				}
			}
			switch strings.ToLower(strings.TrimSpace(coding)) {
			case "gzip", "x-gzip":
				named = max(named, weight)
			case "*":
				any = weight
			}
		}
	}
	if named >= 0 {
		return named > 0
	}
	return any > 0
}

// etagSuffix marks the ETag of a compressed response, inside its quotes, so that
// it differs from that of the plain one and the plain one can be had of it.
const etagSuffix = "-gzip"

// rewriteETag changes the ETag of a response that is being compressed.
func rewriteETag(h http.Header, how string) {
	tag := h.Get("Etag")
	if tag == "" {
		return
	}
	switch how {
	case "delete":
		h.Del("Etag")
	case "weaken":
		if !strings.HasPrefix(tag, "W/") {
			h.Set("Etag", "W/"+tag)
		}
	case "ignore":
	default:
		if inner, ok := strings.CutSuffix(tag, `"`); ok {
			h.Set("Etag", inner+etagSuffix+`"`)
		}
	}
}

// unwrapETags gives nodes back the tags they know, in conditional requests.
func (t *transaction) unwrapETags(out http.Header) {
	if !t.conf.Gzip.Enabled || t.conf.Gzip.ETag != "wrap" && t.conf.Gzip.ETag != "" {
		return
	}
	for _, name := range []string{"If-None-Match", "If-Match"} {
		values, ok := out[name]
		if !ok {
			continue
		}
		plain := make([]string, len(values))
		for i, v := range values {
			plain[i] = strings.ReplaceAll(v, etagSuffix+`"`, `"`)
		}
		out[name] = plain
	}
}

// rewrapETag makes a 304 fit what the client has: the tag it asked with.
func (t *transaction) rewrapETag(res *http.Response) {
	if res.StatusCode != http.StatusNotModified || !t.conf.Gzip.Enabled {
		return
	}
	inner, ok := strings.CutSuffix(res.Header.Get("Etag"), `"`)
	if !ok {
		return
	}
	if wrapped := inner + etagSuffix + `"`; strings.Contains(strings.Join(t.r.Header["If-None-Match"], ","), wrapped) {
		res.Header.Set("Etag", wrapped)
	}
}

// gzipBody compresses a body while it is read. What came is passed on before more
// is waited for.
type gzipBody struct {
	io.Closer
	src     io.Reader
	out     bytes.Buffer
	w       *gzip.Writer
	in      int64
	emitted int64
	err     error
	done    func(in, out int64)
}

func newGzipBody(src io.ReadCloser, level int, done func(in, out int64)) *gzipBody {
	b := &gzipBody{Closer: src, src: src, done: done}
	if level < gzip.BestSpeed || level > gzip.BestCompression {
		level = gzip.BestSpeed
	}
	b.w, _ = gzip.NewWriterLevel(&b.out, level)
	return b
}

func (b *gzipBody) Read(p []byte) (int, error) {
	for b.out.Len() == 0 && b.err == nil {
		chunk := make([]byte, 16<<10)
		n, err := b.src.Read(chunk)
		b.in += int64(n)
		_, _ = b.w.Write(chunk[:n])
		switch {
		case err == io.EOF:
			_ = b.w.Close()
			b.err = io.EOF
			b.done(b.in, b.emitted+int64(b.out.Len()))
		case err != nil:
			b.err = err // the client must see that it is cut off
		case n > 0:
			_ = b.w.Flush()
		}
	}
	if b.out.Len() > 0 {
		n, _ := b.out.Read(p)
		b.emitted += int64(n)
		return n, nil
	}
	return 0, b.err
}
