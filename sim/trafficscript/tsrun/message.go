package tsrun

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"vtm-ingress/sim/trafficscript"
)

// message is a request or a response as text: a first line, header lines, an
// empty line and the body. Lines end with \n or \r\n; lines before the first that
// are empty or begin with # are comments.
type message struct {
	first  []string // words of the first line
	header http.Header
	body   string
}

func parseMessage(text string) (*message, error) {
	for {
		line, rest, more := strings.Cut(text, "\n")
		if trimmed := strings.TrimSpace(line); trimmed != "" && trimmed[0] != '#' {
			break
		}
		if !more {
			return nil, errors.New("there is no first line")
		}
		text = rest
	}
	head, body := text, ""
	at := strings.Index(text, "\n\n")
	if crlf := strings.Index(text, "\r\n\r\n"); crlf >= 0 && (at < 0 || crlf < at) {
		head, body = text[:crlf], text[crlf+4:]
	} else if at >= 0 {
		head, body = text[:at], text[at+2:]
	}
	first, lines, _ := strings.Cut(head, "\n")
	header, err := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimRight(lines, "\r\n") + "\n\n"))).ReadMIMEHeader()
	if err != nil && strings.TrimSpace(lines) != "" {
		return nil, fmt.Errorf("the header lines make no sense: %w", err)
	}
	return &message{strings.Fields(first), http.Header(header), body}, nil
}

// parseRequest reads "GET /path HTTP/1.1" or "GET https://host/path", with header
// lines and a body. tls tells that the URL is https.
func parseRequest(text string) (r *trafficscript.Request, body string, tls bool, err error) {
	m, err := parseMessage(text)
	if err != nil {
		return nil, "", false, err
	}
	if len(m.first) < 2 || len(m.first) > 3 {
		return nil, "", false, fmt.Errorf("the first line must be METHOD TARGET [VERSION], not '%s'", strings.Join(m.first, " "))
	}
	r = &trafficscript.Request{Method: m.first[0], Target: m.first[1], Proto: "HTTP/1.1", Header: m.header}
	if len(m.first) == 3 {
		r.Proto = m.first[2]
	}
	if u, err := url.Parse(r.Target); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		r.Host, r.Target, tls = u.Host, u.RequestURI(), u.Scheme == "https"
	}
	if !strings.HasPrefix(r.Target, "/") && r.Target != "*" {
		return nil, "", false, fmt.Errorf("the target '%s' must begin with / or be a URL", r.Target)
	}
	if host := m.header.Get("Host"); host != "" {
		r.Host = host
	}
	m.header.Del("Host")
	if m.body != "" && m.header.Get("Content-Length") == "" {
		m.header.Set("Content-Length", strconv.Itoa(len(m.body)))
	}
	return r, m.body, tls, nil
}

// parseResponse reads "HTTP/1.1 200 OK", with header lines and a body.
func parseResponse(text string) (*trafficscript.Response, string, error) {
	m, err := parseMessage(text)
	if err != nil {
		return nil, "", err
	}
	if len(m.first) < 2 {
		return nil, "", fmt.Errorf("the first line must be VERSION CODE [REASON], not '%s'", strings.Join(m.first, " "))
	}
	code, err := strconv.Atoi(m.first[1])
	if err != nil || code < 200 || code > 999 {
		return nil, "", fmt.Errorf("'%s' is no response code", m.first[1])
	}
	return &trafficscript.Response{Proto: m.first[0], Code: code, Reason: strings.Join(m.first[2:], " "), Header: m.header}, m.body, nil
}
