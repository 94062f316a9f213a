package vtm_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"vtm-ingress/sim/vtm"
)

var update = flag.Bool("update", false, "write what is answered into testdata/*.txtar")

// TestGoldenAnswers plays the exchanges of testdata/*.txtar against a traffic
// manager each. A file "N title" holds a request: method and path on the first
// line, then the body; the file "N answer" holds status and body. A request
// whose path ends in a name of rules, or any with a body that does not begin
// with '{' or '[', is sent as a file. The archive's comment says "strict" where
// the traffic manager is.
func TestGoldenAnswers(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range archives {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			_, c := start(t, func(o *vtm.Options) {
				o.Strict = strings.HasPrefix(string(archive.Comment), "strict")
				o.AddressMap = nil
			})
			var out []txtar.File
			for _, f := range archive.Files {
				if strings.HasSuffix(f.Name, " answer") {
					continue
				}
				line, body, _ := strings.Cut(string(f.Data), "\n")
				method, target, _ := strings.Cut(line, " ")
				var sent any
				body = strings.TrimSuffix(body, "\n")
				switch {
				case method != "PUT":
				case strings.HasPrefix(body, "{") || strings.HasPrefix(body, "["):
					sent = body
				default:
					sent = []byte(body)
				}
				r := c.do(method, "/config/active/"+target, sent)
				var shown bytes.Buffer
				fmt.Fprintln(&shown, r.status)
				switch {
				case r.status < 300:
				case json.Indent(&shown, r.body, "", "  ") == nil:
					fmt.Fprintln(&shown)
				default:
					fmt.Fprintf(&shown, "%q\n", r.body)
				}
				number, _, _ := strings.Cut(f.Name, " ")
				out = append(out, f, txtar.File{Name: number + " answer", Data: shown.Bytes()})
			}
			got := txtar.Format(&txtar.Archive{Comment: archive.Comment, Files: out})
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(txtar.Format(archive)), string(got)); diff != "" {
				t.Errorf("answers differ from %s (-want +got), rewrite with -update:\n%s", path, diff)
			}
		})
	}
}
