package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"vtm-ingress/sim/trafficscript"
)

// ruleHost is what a rule needs that does nothing but choose a pool.
type ruleHost struct{ transaction trafficscript.Transaction }

func (h *ruleHost) Transaction() *trafficscript.Transaction           { return &h.transaction }
func (h *ruleHost) RequestBody(context.Context, int) (string, error)  { return "", nil }
func (h *ruleHost) ResponseBody(context.Context, int) (string, error) { return "", nil }
func (h *ruleHost) PoolNodes(string) ([]trafficscript.PoolNode, bool) { return nil, true }
func (h *ruleHost) Log(trafficscript.Event)                           {}
func (h *ruleHost) Now() time.Time                                    { return time.Now() }
func (h *ruleHost) Random() uint64                                    { return 0 }
func (h *ruleHost) Sleep(context.Context, time.Duration) error        { return nil }
func (h *ruleHost) Waiting()                                          {}

// routingRule sends n hosts to one pool, as a rule does that is made for many: by a
// hash.
func routingRule(n int) string {
	var b strings.Builder
	b.WriteString("$pools = [\n")
	for i := range n {
		fmt.Fprintf(&b, "  %q => 1,\n", routedHost(i))
	}
	b.WriteString("];\nif( $pools[ http.getHostHeader() ] ) {\n  pool.use( \"app\" );\n}\n")
	return b.String()
}

// ruleFigures measures the compiler and the interpreter, in this process.
func ruleFigures(ctx context.Context, report func(figure)) error {
	const hosts = 5000
	rule, found := trafficscript.Compile("route", routingRule(hosts), nil)
	if rule == nil {
		return fmt.Errorf("the routing rule: %v", found)
	}
	host := &ruleHost{trafficscript.Transaction{Request: &trafficscript.Request{
		Method: http.MethodGet, Target: "/", Proto: "HTTP/1.1", Host: routedHost(hosts - 1), Header: http.Header{},
	}}}
	const decisions = 1000 // in a sample: one alone is too short to be timed
	p50, _, err := timed(101, func(int) error {
		for range decisions {
			host.transaction.Pool = ""
			if result := rule.Run(ctx, host, trafficscript.Limits{}); result.End != trafficscript.Decided || host.transaction.Pool != "app" {
				return fmt.Errorf("the routing rule ended without a pool: %v", result)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	report(atMost("routing_among_5000_hosts", round(float64(p50.Nanoseconds())/decisions/1000, 2), "µs", 10))

	source := longRule(100 << 10)
	if p50, _, err = timed(21, func(int) error {
		if rule, found := trafficscript.Compile("long", source, nil); rule == nil {
			return fmt.Errorf("the long rule: %v", found)
		}
		return nil
	}); err != nil {
		return err
	}
	report(atMost("compile_100_kb", milliseconds(p50), "ms", 50))
	return nil
}

// longRule is a rule of at least size bytes, of statements as rules hold them.
func longRule(size int) string {
	var b strings.Builder
	b.WriteString("$host = http.getHostHeader();\n$path = http.getPath();\n")
	for i := 0; b.Len() < size; i++ {
		fmt.Fprintf(&b, "if( string.icmp( $host, %q ) == 0 && string.startsWith( $path, \"/api/v%d/\" ) ) {\n", routedHost(i), i%9)
		fmt.Fprintf(&b, "\thttp.setHeader( \"X-Shop\", \"shop-\" . ( %d * 2 + 1 ) );\n\tpool.use( \"shop-%d\" );\n}\n", i, i)
	}
	return b.String()
}
