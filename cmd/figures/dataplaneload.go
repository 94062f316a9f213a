package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"
)

// target is what load is put on.
type target struct {
	address string // "host:port"
	host    string // the Host header
	secure  bool
}

// loadConn is one keep-alive connection of a client that costs as little as it
// can: client, proxy and backend share the machine.
type loadConn struct {
	net.Conn
	in      *bufio.Reader
	request []byte
}

// answerWithin bounds one exchange: a lost request must not stop the measurement.
const answerWithin = 10 * time.Second

func connect(ctx context.Context, to target) (*loadConn, error) {
	conn, err := (&net.Dialer{Timeout: answerWithin}).DialContext(ctx, "tcp", to.address)
	if err != nil {
		return nil, err
	}
	if to.secure {
		// The certificate is made for the measurement.
		secure := tls.Client(conn, &tls.Config{ServerName: to.host, InsecureSkipVerify: true})
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return nil, err
		}
		conn = secure
	}
	return &loadConn{
		Conn: conn, in: bufio.NewReaderSize(conn, 2048),
		request: []byte("GET /shop/items?page=2 HTTP/1.1\r\nHost: " + to.host + "\r\nUser-Agent: figures\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"),
	}, nil
}

var lengthName = []byte("Content-Length: ")

// exchange sends the request and reads the whole answer. It returns the first byte of
// the body: the name of the backend.
func (c *loadConn) exchange() (byte, error) {
	_ = c.SetDeadline(time.Now().Add(answerWithin))
	if _, err := c.Write(c.request); err != nil {
		return 0, err
	}
	length, first := -1, true
	for {
		line, err := c.in.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if first {
			if !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")) {
				return 0, fmt.Errorf("the answer is %q", line)
			}
			first = false
		}
		if value, ok := bytes.CutPrefix(line, lengthName); ok {
			if length, err = strconv.Atoi(string(bytes.TrimRight(value, "\r\n"))); err != nil {
				return 0, err
			}
		}
		if len(line) == len("\r\n") {
			break
		}
	}
	if length < 1 {
		return 0, fmt.Errorf("the answer has no length")
	}
	begin, err := c.in.Peek(1)
	if err != nil {
		return 0, err
	}
	name := begin[0]
	_, err = c.in.Discard(length)
	return name, err
}

// connectMany opens n connections of which each had one request answered.
func connectMany(ctx context.Context, to target, n int) ([]*loadConn, error) {
	conns := make([]*loadConn, n)
	const openers = 32
	failures := make([]error, openers)
	var opening sync.WaitGroup
	for o := range openers {
		opening.Go(func() {
			for i := o; i < n && failures[o] == nil; i += openers {
				c, err := connect(ctx, to)
				if err == nil {
					_, err = c.exchange()
					conns[i] = c
				}
				failures[o] = err
			}
		})
	}
	opening.Wait()
	for _, err := range failures {
		if err != nil {
			closeAll(conns)
			return nil, err
		}
	}
	return conns, nil
}

func closeAll(conns []*loadConn) {
	for _, c := range conns {
		if c != nil {
			c.Close()
		}
	}
}

// stretch is what one stretch of load came to.
type stretch struct {
	perSecond float64
	p99       time.Duration
}

// load lets all connections ask without a pause for so long.
func load(ctx context.Context, conns []*loadConn, length time.Duration) (stretch, error) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	times := make([][]time.Duration, len(conns))
	failures := make([]error, len(conns))
	begin := time.Now()
	var asking sync.WaitGroup
	for i, c := range conns {
		asking.Go(func() {
			for ctx.Err() == nil && failures[i] == nil {
				sent := time.Now()
				_, failures[i] = c.exchange()
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	asking.Wait()
	took := time.Since(begin)
	for _, err := range failures {
		if err != nil {
			return stretch{}, err
		}
	}
	all := slices.Concat(times...)
	slices.Sort(all)
	return stretch{perSecond: float64(len(all)) / took.Seconds(), p99: all[len(all)*99/100]}, nil
}
