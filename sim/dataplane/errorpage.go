package dataplane

import (
	"net/http"
	"path"
	"strings"
)

// page is what a client gets where there is no response of a node.
type page struct{ kind, body string }

// page returns the page of connection_errors!error_file: an extra file of that
// name, with the content type of its ending, or the traffic manager's own page.
// The status is the same with each.
func (v *vserver) page(conf *serverConf, code int) page {
	if name := conf.ErrorFile; name != "" && name != "Default" {
		if content, ok := file(&v.d.files, name); ok {
			kind := mimeType(name)
			if kind == "" {
				kind = "text/html"
			}
			return page{kind, content}
		}
	}
	return page{"text/html; charset=utf-8", makeErrorPage(code)}
}

// makeErrorPage makes the page of error_file "Default".
func makeErrorPage(code int) string {
	text := "The service could not answer your request."
	switch code {
	case http.StatusServiceUnavailable:
		text = "The service is temporarily unavailable. Please try again later."
	case http.StatusGatewayTimeout:
		text = "The service did not reply in time. Please try again later."
	case http.StatusBadRequest, http.StatusRequestTimeout, http.StatusMethodNotAllowed, http.StatusNotImplemented, http.StatusRequestHeaderFieldsTooLarge:
		text = "Your request could not be understood."
	}
	title := http.StatusText(code)
	return "<html>\n<head>\n<title>" + title + "</title>\n</head>\n<body>\n<h1>" + title + "</h1>\n<p>" + text + "</p>\n</body>\n</html>\n"
}

// mimeType returns the type of a file by its ending, "" if it is not known. The
// table is the traffic manager's own: that of the machine would differ from one
// to the next.
func mimeType(name string) string {
	return mimeTypes[strings.ToLower(strings.TrimPrefix(path.Ext(name), "."))]
}

var mimeTypes = map[string]string{
	"html": "text/html", "htm": "text/html", "css": "text/css", "txt": "text/plain", "csv": "text/csv",
	"js": "text/javascript", "mjs": "text/javascript", "json": "application/json", "xml": "application/xml",
	"gif": "image/gif", "jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "svg": "image/svg+xml",
	"ico": "image/x-icon", "webp": "image/webp", "bmp": "image/bmp", "tif": "image/tiff", "tiff": "image/tiff",
	"pdf": "application/pdf", "zip": "application/zip", "gz": "application/gzip", "tar": "application/x-tar",
	"mp3": "audio/mpeg", "wav": "audio/wav", "mp4": "video/mp4", "mpeg": "video/mpeg", "webm": "video/webm",
	"woff": "font/woff", "woff2": "font/woff2", "ttf": "font/ttf", "wasm": "application/wasm",
	"doc": "application/msword", "xls": "application/vnd.ms-excel", "ppt": "application/vnd.ms-powerpoint",
}
