package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Requests on one connection share a timer: each still has the whole time-out from
// its own last data on.
func TestTheTimeOutOfATransactionBeginsWithItsOwnData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		defer w.close()
		w.listen("10.8.0.1:80", func(conn net.Conn) {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(time.Hour))
			r := bufio.NewReader(conn)
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n1")
				switch req.URL.Path {
				case "/slow": // never silent for the whole time-out
					for _, piece := range []string{"2", "3", "4"} {
						time.Sleep(15 * time.Second)
						fmt.Fprint(conn, piece)
					}
				case "/stalls":
				default:
					fmt.Fprint(conn, "234")
				}
			}
		})
		w.d.Apply(Update{
			Pools:          map[string]*Pool{"app": aPool("10.8.0.1:80")},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app", func(v *VirtualServer) { v.Timeout = 20 * time.Second })},
		})
		conn := w.dial("10.9.0.1:80")
		defer conn.Close()
		in := bufio.NewReader(conn)
		for _, c := range []struct {
			path  string
			took  time.Duration
			whole bool
		}{
			{"/quick", 0, true},
			{"/slow", 45 * time.Second, true},
			{"/quick", 0, true},
			{"/stalls", 20 * time.Second, false},
		} {
			time.Sleep(5 * time.Second)
			begun := time.Now()
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: h\r\n\r\n", c.path)
			res, err := http.ReadResponse(in, nil)
			if err != nil {
				t.Fatal(c.path, err)
			}
			body, err := io.ReadAll(res.Body)
			if took := time.Since(begun).Round(time.Second); took != c.took || (err == nil) != c.whole {
				t.Errorf("%s: %q, %v after %v; want it after %v, whole %t", c.path, body, err, took, c.took, c.whole)
			}
		}
	})
}

// What comes of a request's body is data, too: an upload may take any time.
func TestASlowBodyIsNoStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWeb(t)
		defer w.close()
		w.node("10.8.0.1:80", func(rw http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			fmt.Fprintf(rw, "%s %v", body, err)
		})
		w.d.Apply(Update{
			Pools:          map[string]*Pool{"app": aPool("10.8.0.1:80")},
			VirtualServers: map[string]*VirtualServer{"web": aServer(80, "app", func(v *VirtualServer) { v.Timeout = 20 * time.Second })},
		})
		conn := w.dial("10.9.0.1:80")
		defer conn.Close()
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n")
		for _, piece := range []string{"1", "2", "3", "4"} {
			time.Sleep(15 * time.Second)
			fmt.Fprint(conn, piece)
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); res.StatusCode != 200 || string(body) != "1234 <nil>" {
			t.Errorf("got %s %q, %v", res.Status, body, err)
		}
	})
}
