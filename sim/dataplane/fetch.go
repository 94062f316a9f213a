package dataplane

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"vtm-ingress/sim/trafficscript"
)

// fetcher sends the requests of http.request.*. Certificates are verified only by
// http.request.ssl.get, as on a real one; connections are not kept.
type fetcher struct{ d *DataPlane }

// Fetch sends one request, within the deadline of ctx.
func (f *fetcher) Fetch(ctx context.Context, q *trafficscript.Fetch, max int) (*trafficscript.Response, error) {
	conf := &tls.Config{InsecureSkipVerify: true, Time: f.d.now}
	if q.Certificates != nil {
		conf.InsecureSkipVerify, conf.RootCAs = false, x509.NewCertPool()
		for _, c := range q.Certificates {
			if !conf.RootCAs.AppendCertsFromPEM([]byte(c)) {
				return nil, errors.New("a certificate is not in PEM format")
			}
		}
		if len(q.Certificates) == 0 {
			return nil, errors.New("no certificates of authorities were given")
		}
	}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			at, err := (resolver{&f.d.objects}).hostPort(ctx, address)
			if err != nil {
				return nil, err
			}
			return f.d.dialForRule(ctx, "tcp", at)
		},
		TLSClientConfig: conf, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: 1 << 20,
	}
	defer transport.CloseIdleConnections()
	var body io.Reader
	if q.Body != nil {
		body = strings.NewReader(*q.Body)
	}
	req, err := http.NewRequestWithContext(ctx, q.Method, q.URL, body)
	if err != nil {
		return nil, err
	}
	req.Header = q.Header
	if host := q.Header.Get("Host"); host != "" {
		req.Host = host
	}
	res, err := transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	if n, err := b.ReadFrom(io.LimitReader(res.Body, int64(max)+1)); err != nil || n > int64(max) {
		if err == nil {
			err = fmt.Errorf("the answer has more than %d bytes", max)
		}
		return nil, err
	}
	text := b.String()
	_, reason, _ := strings.Cut(res.Status, " ")
	return &trafficscript.Response{Proto: res.Proto, Code: res.StatusCode, Reason: reason, Header: res.Header, Body: &text}, nil
}
