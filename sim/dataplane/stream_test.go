package dataplane

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// streamed sets up a virtual server of a protocol before one node.
func streamed(t *testing.T, protocol string, node func(net.Conn), run func(w *web, conn net.Conn, r *bufio.Reader), change ...func(*Update, *VirtualServer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		w.listen("10.8.0.1:25", func(c net.Conn) {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(time.Hour))
			node(c)
		})
		u := Update{Pools: map[string]*Pool{"app": aPool("10.8.0.1:25")}}
		vs := aServer(25, "app", func(v *VirtualServer) { v.Protocol = protocol })
		for _, f := range change {
			f(&u, vs)
		}
		u.VirtualServers = map[string]*VirtualServer{"web": vs}
		w.d.Apply(u)
		conn := w.dial("10.9.0.1:25")
		run(w, conn, bufio.NewReader(conn))
		conn.Close()
		w.close()
	})
}

func set(f func(*VirtualServer)) func(*Update, *VirtualServer) {
	return func(_ *Update, v *VirtualServer) { f(v) }
}

// upper answers each line in capitals.
func upper(c net.Conn) {
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		fmt.Fprint(c, strings.ToUpper(line))
	}
}

func wantLine(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); line != want {
		t.Fatalf("got %q, %v; want %q", line, err, want)
	}
}

func TestStreamsPassBothWays(t *testing.T) {
	for _, protocol := range []string{"stream", "client_first", "ldap", "dns_tcp", "siptcp"} {
		streamed(t, protocol, upper, func(w *web, conn net.Conn, r *bufio.Reader) {
			for _, line := range []string{"one\n", "two\n"} {
				fmt.Fprint(conn, line)
				wantLine(w.t, r, strings.ToUpper(line))
			}
			if s, _ := w.d.ServerStatistics("web"); s["total_requests"] != 1 {
				w.t.Errorf("%s: counted %v", protocol, s)
			}
		})
	}
	for _, protocol := range []string{"server_first", "smtp", "pop3", "imapv4", "ftp", "telnet", "stream"} {
		streamed(t, protocol, func(c net.Conn) { fmt.Fprint(c, "220 hello\r\n"); upper(c) }, func(w *web, conn net.Conn, r *bufio.Reader) {
			wantLine(w.t, r, "220 hello\r\n")
			fmt.Fprint(conn, "helo\n")
			wantLine(w.t, r, "HELO\n")
		})
	}
}

func TestABannerLetsRulesSeeTheClientsFirstData(t *testing.T) {
	streamed(t, "smtp", func(c net.Conn) { fmt.Fprint(c, "220 the node's own\r\n"); upper(c) }, func(w *web, conn net.Conn, r *bufio.Reader) {
		wantLine(w.t, r, "220 welcome\r\n")
		fmt.Fprint(conn, "user a\n")
		wantLine(w.t, r, "USER A\n")
	}, set(func(v *VirtualServer) { v.ServerFirstBanner = "220 welcome" }))
}

func TestRulesOfStreamsSeeRequestsAndResponses(t *testing.T) {
	streamed(t, "client_first", upper, func(w *web, conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "one\n")
		wantLine(w.t, r, "<ONE!>\n")
		fmt.Fprint(conn, "two\n")
		wantLine(w.t, r, "<TWO!>\n")
		fmt.Fprint(conn, "quit\n")
		if rest, err := io.ReadAll(r); string(rest) != "bye\n" || err != nil {
			w.t.Errorf("got %q, %v", rest, err)
		}
	}, func(u *Update, v *VirtualServer) {
		u.Rules = map[string]*Rule{
			"in":  {Source: `$l = request.getLine(); if ($l == "quit\n") { connection.close("bye\n"); } request.set(string.replace($l, "\n", "!\n"));`},
			"out": {Source: `$l = response.getLine(); response.set("<" . string.replace($l, "\n", ">\n"));`},
		}
		v.RequestRules, v.ResponseRules = []string{"in"}, []string{"out"}
	})
}

// TestRequestsThatComeAtOnceAreServedOneByOne: the next one waits for the response
// to the one before, and one that a rule answers never reaches the node.
func TestRequestsThatComeAtOnceAreServedOneByOne(t *testing.T) {
	streamed(t, "client_first", upper, func(w *web, conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "one\ntwo\nnoop\nthree\nfo")
		wantLine(w.t, r, "ONE!\n")
		wantLine(w.t, r, "TWO!\n")
		wantLine(w.t, r, "ok\n")
		wantLine(w.t, r, "THREE!\n")
		fmt.Fprint(conn, "ur\n")
		wantLine(w.t, r, "FOUR!\n")
	}, func(u *Update, v *VirtualServer) {
		u.Rules = map[string]*Rule{"in": {Source: `$l = request.endsWith("\n"); if ($l == "noop\n") { request.sendResponse("ok\n"); break; }
			request.set(string.replace($l, "\n", "!\n"));`}}
		v.RequestRules = []string{"in"}
	})
}

// TestStreamsEndWithTheirRules: a rule that waits for ever ends its stream with the
// virtual server's time-out; completion rules tell how it ended.
func TestStreamsEndWithTheirRules(t *testing.T) {
	streamed(t, "client_first", upper, func(w *web, conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "x\n")
		if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
			w.t.Errorf("got %q, %v", rest, err)
		}
		synctest.Wait()
		w.wantTold("ruleabort", "connection.sleep: ")
		w.wantTold("rulelogmsginfo", "ended TIMEOUT")
	}, func(u *Update, v *VirtualServer) {
		u.Rules = map[string]*Rule{
			"in":  {Source: `while (1) { connection.sleep(1000); }`},
			"end": {Source: `log.info("ended " . connection.getCompletionReasonCode());`},
		}
		v.RequestRules, v.CompletionRules, v.Timeout = []string{"in"}, []string{"end"}, 20*time.Second
	})
}

func TestARuleChoosesThePoolOfAStream(t *testing.T) {
	streamed(t, "client_first", func(net.Conn) {}, func(w *web, conn net.Conn, r *bufio.Reader) {
		w.listen("10.8.0.2:25", func(c net.Conn) {
			defer c.Close()
			fmt.Fprint(c, "other ")
			upper(c)
		})
		fmt.Fprint(conn, "b\n")
		wantLine(w.t, r, "other B\n")
	}, func(u *Update, v *VirtualServer) {
		u.Pools["other"] = aPool("10.8.0.2:25")
		u.Rules = map[string]*Rule{"in": {Source: `if (request.get(1) == "b") { pool.use("other"); }`}}
		v.RequestRules = []string{"in"}
	})
}

// A client's end goes to the node where proxy_close says so, and the answer still
// comes; elsewhere it is the end of both.
func TestHalfClosedStreams(t *testing.T) {
	answer := func(c net.Conn) {
		all, _ := io.ReadAll(c)
		fmt.Fprintf(c, "got %d", len(all))
	}
	for _, passed := range []bool{true, false} {
		streamed(t, "stream", answer, func(w *web, conn net.Conn, r *bufio.Reader) {
			fmt.Fprint(conn, "12345")
			_ = conn.(interface{ CloseWrite() error }).CloseWrite()
			got, _ := io.ReadAll(r)
			if want := map[bool]string{true: "got 5", false: ""}[passed]; string(got) != want {
				w.t.Errorf("proxy_close %v: got %q, want %q", passed, got, want)
			}
		}, set(func(v *VirtualServer) { v.ProxyClose = passed }))
	}
}

func TestWhoIsSilentEndsThatStreamAlone(t *testing.T) {
	hang := func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }
	for _, c := range []struct {
		what, protocol, say string
		change              func(*VirtualServer)
		after               time.Duration
		told                string
	}{
		{"no first data", "client_first", "", func(*VirtualServer) {}, 10 * time.Second, "no data in time"},
		{"no ClientHello", "ssl", "\x16\x03\x01", func(*VirtualServer) {}, 10 * time.Second, "ClientHello"},
		{"nothing either way", "stream", "a", func(*VirtualServer) {}, 300 * time.Second, "no data was received in time"},
		{"too long", "stream", "a", func(v *VirtualServer) { v.MaxTransactionDuration = 20 * time.Second }, 20 * time.Second, "took too long"},
	} {
		streamed(t, c.protocol, hang, func(w *web, conn net.Conn, r *bufio.Reader) {
			begun := time.Now()
			other := w.dial("10.9.0.1:25")
			defer other.Close()
			fmt.Fprint(conn, c.say)
			_, err := r.ReadByte()
			if took := time.Since(begun).Round(time.Second); !errors.Is(err, io.EOF) || took != c.after {
				w.t.Errorf("%s: ended after %v with %v, want %v", c.what, took, err, c.after)
			}
			w.wantTold("connfail", c.told)
		}, set(c.change))
	}
}

func TestDataEitherWayKeepsAStreamAlive(t *testing.T) {
	streamed(t, "stream", func(c net.Conn) {
		for range 10 {
			time.Sleep(200 * time.Second)
			fmt.Fprint(c, "tick\n")
		}
	}, func(w *web, conn net.Conn, r *bufio.Reader) {
		for range 10 {
			wantLine(w.t, r, "tick\n")
		}
	})
}

func TestAStreamWithoutANodeIsClosedAndTold(t *testing.T) {
	streamed(t, "client_first", upper, func(w *web, conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "a\n")
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			w.t.Errorf("ended with %v", err)
		}
		w.wantTold("connfail", "no node is available")
	}, func(u *Update, v *VirtualServer) { u.Pools["app"] = aPool("10.8.0.9:25") })
}

func TestTheEndOfAVirtualServerEndsItsStreams(t *testing.T) {
	streamed(t, "stream", upper, func(w *web, conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "a\n")
		wantLine(w.t, r, "A\n")
		begun := time.Now()
		w.d.Apply(Update{VirtualServers: map[string]*VirtualServer{"web": nil}})
		fmt.Fprint(conn, "b\n") // it drains
		wantLine(w.t, r, "B\n")
		if _, err := r.ReadByte(); err == nil || time.Since(begun).Round(time.Second) != drainLimit {
			w.t.Errorf("ended after %v with %v", time.Since(begun), err)
		}
	})
}

// TLS is taken off before any protocol, or passed through with its server name
// seen.
func TestStreamsOverTLS(t *testing.T) {
	key, _ := selfSigned(t, "node")
	pair, err := tls.X509KeyPair([]byte(key.Public), []byte(key.Private))
	if err != nil {
		t.Fatal(err)
	}
	served := func(c net.Conn) { upper(tls.Server(c, &tls.Config{Certificates: []tls.Certificate{pair}})) }
	talk := func(w *web, conn net.Conn) {
		w.t.Helper()
		secure := tls.Client(conn, &tls.Config{ServerName: "a.test", InsecureSkipVerify: true})
		fmt.Fprint(secure, "a\n")
		wantLine(w.t, bufio.NewReader(secure), "A\n")
	}
	streamed(t, "stream", upper, func(w *web, conn net.Conn, _ *bufio.Reader) { talk(w, conn) },
		func(u *Update, v *VirtualServer) {
			u.ServerKeys = map[string]*ServerKey{"k": key}
			v.SSLDecrypt, v.ServerCertDefault = true, "k"
		})
	for _, protocol := range []string{"https", "ssl", "imaps", "pop3s", "ldaps"} {
		streamed(t, protocol, served, func(w *web, conn net.Conn, _ *bufio.Reader) {
			talk(w, conn)
			if len(w.told("rulelogmsginfo", "asked for a.test")) != 1 {
				w.t.Errorf("%s: the rule did not see the server name: %v", protocol, w.events)
			}
		}, func(u *Update, v *VirtualServer) {
			u.Rules = map[string]*Rule{"in": {Source: `log.info("asked for " . ssl.getTLSServerName());`}}
			v.RequestRules = []string{"in"}
		})
	}
	streamed(t, "ssl", served, func(w *web, conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "GET / HTTP/1.1\r\n\r\n")
		if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
			w.t.Errorf("ended with %v", err)
		}
		w.wantTold("connfail", "ClientHello")
	})
}
