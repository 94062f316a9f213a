package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// backendCommand is a node: each answer begins with its name. It prints "serves "
// and its address.
type backendCommand struct {
	Name string `arg:""`
}

// referenceCommand is httputil.ReverseProxy, as one sets it up who wants it fast. It
// prints "serves " and its addresses, for HTTP and for HTTPS.
type referenceCommand struct {
	To *url.URL `arg:"" help:"The backend."`
}

// bodySize of answers, in bytes: that of a short page or a document of an API.
const bodySize = 1024

func (c *backendCommand) run(ctx context.Context, out io.Writer) error {
	body := c.Name + strings.Repeat(".", bodySize-len(c.Name))
	return serve(ctx, out, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, body)
	}), nil)
}

func (c *referenceCommand) run(ctx context.Context, out io.Writer) error {
	var pair struct {
		Properties struct {
			Basic struct{ Public, Private string }
		}
	}
	if err := json.Unmarshal([]byte(keyBody()), &pair); err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair([]byte(pair.Properties.Basic.Public), []byte(pair.Properties.Basic.Private))
	if err != nil {
		return err
	}
	return serve(ctx, out, &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(c.To)
			r.Out.Host = r.In.Host
			r.SetXForwarded()
		},
		Transport: &http.Transport{
			DialContext:         (&net.Dialer{}).DialContext,
			DisableCompression:  true,
			MaxIdleConns:        1024,
			MaxIdleConnsPerHost: 1024,
			IdleConnTimeout:     90 * time.Second,
			ReadBufferSize:      16 << 10,
			WriteBufferSize:     16 << 10,
			// As pools have it: a node that never answers is given up.
			ResponseHeaderTimeout: 30 * time.Second,
		},
		BufferPool: &bytePool{},
		ErrorLog:   log.New(io.Discard, "", 0),
	}, &certificate)
}

type bytePool struct{ sync.Pool }

func (p *bytePool) Get() []byte {
	if b, ok := p.Pool.Get().(*[]byte); ok {
		return *b
	}
	return make([]byte, 32<<10)
}

func (p *bytePool) Put(b []byte) { p.Pool.Put(&b) }

// serve listens on a free port and, with a certificate, on a second one for HTTPS.
func serve(ctx context.Context, out io.Writer, handler http.Handler, certificate *tls.Certificate) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, IdleTimeout: 10 * time.Minute}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	listeners, addresses := []net.Listener{plain}, plain.Addr().String()
	if certificate != nil {
		secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{*certificate}})
		if err != nil {
			return err
		}
		listeners, addresses = append(listeners, secure), addresses+" "+secure.Addr().String()
	}
	fmt.Fprintln(out, serves+addresses)
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() { _ = server.Serve(l) })
	}
	<-ctx.Done()
	server.Close()
	serving.Wait()
	return nil
}

const serves = "serves "

// startServer runs this program as "backend" or "reference" and returns the addresses
// that it serves on.
func startServer(ctx context.Context, as, argument string) (*program, []string, error) {
	p, err := startProgram(ctx, "figures", as, argument)
	if err != nil {
		return nil, nil, err
	}
	if err := p.says(serves); err != nil {
		p.stop()
		return nil, nil, err
	}
	return p, strings.Fields(strings.TrimPrefix(p.out.line(serves), serves)), nil
}
