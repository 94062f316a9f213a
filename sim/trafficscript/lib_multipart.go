package trafficscript

import (
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// multipartFunctions read bodies of several parts.
var multipartFunctions = []function{
	fn("http.getMultipartAttachment", 1, 1, multipartAttachment).in(inRequest),
}

// maxParts bounds the parts of a body that are looked at.
const maxParts = 1000

// multipartAttachment returns the data of a part, counted from 0, with $1 its
// content type and $2 its header lines; "" when there is no such part.
func multipartAttachment(r *run, a []value) value {
	number := r.toInt(a[0])
	kind, params, err := mime.ParseMediaType(r.requestHeaders().get("Content-Type"))
	if err != nil || !strings.HasPrefix(kind, "multipart/") || params["boundary"] == "" || number < 0 || number >= maxParts {
		return value{}
	}
	body := r.requestBody(0)
	if !r.work(len(body)) {
		return value{}
	}
	reader := multipart.NewReader(strings.NewReader(body), params["boundary"])
	for range number {
		if _, err := reader.NextRawPart(); err != nil || !r.use(1) {
			return value{}
		}
	}
	part, err := reader.NextRawPart()
	if err != nil {
		return value{}
	}
	data, err := io.ReadAll(part)
	if err != nil || !r.alloc(len(data)) {
		return value{}
	}
	r.captures[1] = r.text(part.Header.Get("Content-Type"))
	r.captures[2] = r.text(headers{h: http.Header(part.Header)}.text())
	return stringValue(string(data))
}
