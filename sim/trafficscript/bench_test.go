package trafficscript_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	ts "vtm-ingress/sim/trafficscript"
)

// routing rules of n hosts, in the forms that people write.

func switchRule(n int) string {
	var b strings.Builder
	b.WriteString("switch (http.getHostHeader()) {\n")
	for i := range n {
		fmt.Fprintf(&b, "case \"host%d.example.com\": pool.use(\"pool%d\");\n", i, i)
	}
	b.WriteString("}\n")
	return b.String()
}

func ifRule(n int) string {
	var b strings.Builder
	b.WriteString("$host = http.getHostHeader();\n")
	for i := range n {
		if i > 0 {
			b.WriteString("else ")
		}
		fmt.Fprintf(&b, "if ($host == \"host%d.example.com\") { pool.use(\"pool%d\"); }\n", i, i)
	}
	return b.String()
}

// hashRule finds the number of a group by hash, and the pool among its few.
func hashRule(n int) string {
	var b strings.Builder
	b.WriteString("$groups = [\n")
	for i := range n {
		fmt.Fprintf(&b, "\"host%d.example.com\" => %d,\n", i, i%10)
	}
	b.WriteString("];\n$group = $groups[http.getHostHeader()];\n")
	for i := range 10 {
		fmt.Fprintf(&b, "if ($group == %d) { pool.use(\"pool%d\"); }\n", i, i)
	}
	return b.String()
}

func BenchmarkRouting(b *testing.B) {
	for _, n := range []int{1000, 5000} {
		for name, source := range map[string]string{"switch": switchRule(n), "if": ifRule(n), "hash": hashRule(n)} {
			b.Run(fmt.Sprintf("%s/hosts=%d", name, n), func(b *testing.B) {
				rule := compile(b, source)
				h := newHost()
				h.tx.Request.Host = fmt.Sprintf("host%d.example.com", n-1)
				for i := range n {
					h.pools[fmt.Sprintf("pool%d", i)] = nil
				}
				b.ReportAllocs()
				for b.Loop() {
					if result := rule.Run(context.Background(), h, ts.Limits{}); result.End != ts.Decided {
						b.Fatal(result)
					}
				}
			})
		}
	}
}

func BenchmarkCompile100KB(b *testing.B) {
	source := switchRule(2000)
	b.SetBytes(int64(len(source)))
	for b.Loop() {
		if rule, diags := ts.Compile("r", source, nil); rule == nil {
			b.Fatal(diags)
		}
	}
}

func BenchmarkLoop(b *testing.B) {
	rule := compile(b, `for ($i = 0; $i < 10000; $i++) { $n = $n + $i * 2; }`)
	h := newHost()
	b.ReportAllocs()
	for b.Loop() {
		rule.Run(context.Background(), h, ts.Limits{})
	}
}
