package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// ambiguous are requests that two servers might read in two ways, each whole, and
// the status that refuses them.
var ambiguous = []struct {
	name, request string
	code          int
}{
	{"two lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400},
	{"the same length twice", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400},
	{"a list of lengths", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 4\r\n\r\nabcd", 400},
	{"a signed length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +4\r\n\r\nabcd", 400},
	{"a negative length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", 400},
	{"an empty length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n", 400},
	{"a hexadecimal length", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x4\r\n\r\nabcd", 400},
	{"a length beyond all numbers", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999999\r\n\r\n", 400},
	{"length and coding", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"coding and length", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400},
	{"two codings", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"a coding that ends otherwise", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", 501},
	{"another coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
	{"a quoted coding", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 501},
	{"a coding after a tab and a vertical tab", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400},
	{"an old client with a coding", "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"a space before the colon", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
	{"a tab before the colon", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length\t: 4\r\n\r\nabcd", 400},
	{"a folded line", "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400},
	{"a folded first line", "GET / HTTP/1.1\r\n X: a\r\nHost: h\r\n\r\n", 400},
	{"bare line feeds", "GET / HTTP/1.1\nHost: h\n\n", 400},
	{"one bare line feed", "GET / HTTP/1.1\r\nHost: h\nX: a\r\n\r\n", 400},
	{"a bare line feed at the end of the head", "GET / HTTP/1.1\r\nHost: h\r\n\n", 400},
	{"a bare carriage return in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\rContent-Length: 4\r\n\r\n", 400},
	{"a NUL in a value", "GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", 400},
	{"a NUL in a name", "GET / HTTP/1.1\r\nHost: h\r\nX\x00: a\r\n\r\n", 400},
	{"a name that is none", "GET / HTTP/1.1\r\nHost: h\r\nX(: a\r\n\r\n", 400},
	{"no name", "GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n", 400},
	{"no colon", "GET / HTTP/1.1\r\nHost: h\r\nXa\r\n\r\n", 400},
	{"two hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: other\r\n\r\n", 400},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"two spaces in the request line", "GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
	{"a space in the target", "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400},
	{"a tab in the request line", "GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
	{"a request line of two words", "GET /\r\nHost: h\r\n\r\n", 400},
	{"a version that is none", "GET / HTTP/1.1x\r\nHost: h\r\n\r\n", 400},
	{"a version to come", "GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505},
	{"a chunk size that is none", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk size with a sign", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n+4\r\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk size with a prefix", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk size after a space", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n 4\r\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk size beyond all numbers", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111114\r\nabcd\r\n0\r\n\r\n", 400},
	{"no chunk size", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\r\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk that is longer", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk size after which a bare line feed comes", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\nabcd\r\n0\r\n\r\n", 400},
	{"a chunk after which a bare line feed comes", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\n0\r\n\r\n", 400},
	{"a bare carriage return in an extension", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4;a\rb\r\nabcd\r\n0\r\n\r\n", 400},
	{"a length in the trailer", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\nContent-Length: 9\r\n\r\n", 400},
}

// smuggled is what follows each of them on the same connection.
const smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"

func TestAmbiguousRequestsAreRefusedAndNothingBehindThemIsRead(t *testing.T) {
	p := newPlane(t)
	var mu sync.Mutex
	reached := map[string]string{}
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			reached[r.Header.Get("X-Case")+r.URL.Path] = r.Method
		}
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for _, c := range ambiguous {
		for _, way := range []string{"at once", "byte by byte", "behind another"} {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			text := c.request + smuggled
			r := bufio.NewReader(conn)
			switch way {
			case "at once":
				fmt.Fprint(conn, text)
			case "byte by byte":
				for i := range len(text) {
					if _, err := conn.Write([]byte{text[i]}); err != nil {
						break // already refused
					}
				}
			case "behind another":
				fmt.Fprint(conn, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n"+text)
				res, err := http.ReadResponse(r, nil)
				if err != nil || res.StatusCode != 200 {
					t.Errorf("%s: the request before got %v, %v", c.name, res, err)
					continue
				}
				res.Body.Close()
			}
			res, err := http.ReadResponse(r, nil)
			if err != nil || res.StatusCode != c.code {
				t.Errorf("%s, %s: got %v, %v; want %d", c.name, way, res, err, c.code)
			} else if body, _ := io.ReadAll(res.Body); !strings.Contains(string(body), "<html>") || !res.Close {
				t.Errorf("%s, %s: got %q, close %v; want the error page and the end", c.name, way, body, res.Close)
			}
			if more, _ := io.ReadAll(r); len(more) > 0 {
				t.Errorf("%s, %s: after the refusal came %q", c.name, way, more)
			}
			conn.Close()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for what := range reached {
		if what != "/first" {
			t.Errorf("a request for %q reached the node", what)
		}
	}
	p.await("connfail", "a header line is folded", 1)
}

// Wherever the network cuts a refused request in two, net/http must see that it is none
// from what it has got: it takes a failed read for a client that has gone.
func TestWhatStandsForARefusedRequestIsNoneWhereverItWasCut(t *testing.T) {
	for _, c := range ambiguous {
		for cut := range c.request {
			f := framing{}
			passed := c.request[:f.feed([]byte(c.request[:cut]))]
			if f.fault == nil {
				passed += c.request[cut:][:f.feed([]byte(c.request[cut:]))]
			}
			if f.fault == nil {
				continue // net/http refuses it
			}
			wanted := false
			text := io.MultiReader(strings.NewReader(passed+spoil), readerFunc(func() { wanted = true }))
			r, err := http.ReadRequest(bufio.NewReader(text))
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err == nil || wanted {
				t.Errorf("%s, cut at %d: after %q net/http goes on reading (%v), %v", c.name, cut, passed+spoil, wanted, err)
			}
		}
	}
}

// readerFunc has nothing to give, and tells that somebody asked.
type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) {
	f()
	return 0, io.ErrUnexpectedEOF
}

func TestWhatIsStrangeButClearPasses(t *testing.T) {
	p := newPlane(t)
	b := backend(t, "b", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %v %s", r.Method, body, r.Header.Get("X"), err, r.Trailer.Get("T"))
	})
	port := freePort(t)
	p.Apply(Update{
		Pools:          map[string]*Pool{"app": aPool(addr(b))},
		VirtualServers: map[string]*VirtualServer{"web": aServer(port, "app")},
	})
	for _, c := range []struct{ request, want string }{
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n4;name=\"value\"\r\nabcd\r\n0\r\n\r\n", "POST abcd  <nil> "},
		{"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked \r\nTrailer: T\r\n\r\nA\r\n0123456789\r\n0\r\nT: end\r\n\r\n", "POST 0123456789  <nil> end"},
		{"POST / HTTP/1.1\r\nHost: h\r\ncontent-length:  4\t\r\n\r\nabcd", "POST abcd  <nil> "},
		{"GET / HTTP/1.1\r\nHost: h\r\nX: \xe4 \xff,;:\r\n\r\n", "GET  \xe4 \xff,;: <nil> "},
		{"GET / HTTP/1.1\r\nHost: h\r\nX:\r\nY!#$%&'*+-.^_`|~: z\r\n\r\n", "GET   <nil> "},
		{"POST / HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\nabcd", "POST abcd  <nil> "},
		{"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nUpgrade: nothing\r\nConnection: upgrade\r\n\r\n", "POST   <nil> "},
	} {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		// Twice on one connection: where the first one ends is as clear as where it begins.
		fmt.Fprint(conn, c.request+c.request)
		r := bufio.NewReader(conn)
		for range 2 {
			res, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Errorf("%q: %v", c.request, err)
				break
			}
			if body, _ := io.ReadAll(res.Body); string(body) != c.want {
				t.Errorf("%q: got %d %q, want %q", c.request, res.StatusCode, body, c.want)
			}
		}
		conn.Close()
	}
}

// How requests are cut into pieces on the wire changes nothing: what passes is a
// prefix, and the verdict is the same.
func TestFramingDoesNotDependOnThePieces(t *testing.T) {
	var texts []string
	for _, c := range ambiguous {
		texts = append(texts, c.request)
	}
	texts = append(texts, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\nA: b\r\n\r\n")
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom(texts), 1, 4).Draw(t, "requests"), ""))
		whole := framing{}
		passed := whole.feed(text)
		pieces := framing{}
		sum := 0
		for rest := text; len(rest) > 0 && pieces.fault == nil; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "piece")
			sum += pieces.feed(rest[:n])
			rest = rest[n:]
		}
		switch {
		case (whole.fault == nil) != (pieces.fault == nil) || whole.fault != nil && *whole.fault != *pieces.fault:
			t.Fatalf("%q: %v at once, %v in pieces", text, whole.fault, pieces.fault)
		case sum < passed: // the beginning of the refused line may have passed
			t.Fatalf("%q: %d bytes at once, %d in pieces", text, passed, sum)
		case whole.fault == nil && (whole.state != pieces.state || whole.left != pieces.left):
			t.Fatalf("%q: %v at once, %v in pieces", text, whole.state, pieces.state)
		}
	})
}

// What framing lets pass, net/http reads as the same number of requests.
func FuzzFraming(f *testing.F) {
	for _, c := range ambiguous {
		f.Add([]byte(c.request))
	}
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n" + smuggled))
	f.Fuzz(func(t *testing.T, text []byte) { checkFraming(t, text) })
}

func checkFraming(t *testing.T, text []byte) {
	t.Helper()
	var fr framing
	text = text[:fr.feed(text)]
	if fr.fault != nil || fr.state != inRequestLine || len(fr.line) > 0 {
		return // refused, or not at its end
	}
	r := bufio.NewReader(strings.NewReader(string(text)))
	for {
		for b, _ := r.Peek(2); len(b) == 2 && string(b) == "\r\n"; b, _ = r.Peek(2) {
			_, _ = r.Discard(2)
		}
		if _, err := r.Peek(1); err == io.EOF {
			return
		}
		req, err := http.ReadRequest(r)
		if err != nil {
			return // refused by the other
		}
		if _, err := io.Copy(io.Discard, req.Body); err != nil {
			t.Fatalf("%q: framing lets a body pass that net/http refuses: %v", text, err)
		}
	}
}
