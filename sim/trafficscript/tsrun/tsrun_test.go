package tsrun_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"golang.org/x/tools/txtar"

	"vtm-ingress/sim/trafficscript/tsrun"
)

var update = flag.Bool("update", false, "write what the commands print into testdata")

// TestCommands runs the archives in testdata: the comment's last line holds the
// arguments, the files are there, and "want" is what is printed with the exit
// code.
func TestCommands(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			full, err := filepath.Abs(path)
			if err != nil {
				t.Fatal(err)
			}
			lines := strings.Split(strings.TrimSpace(string(archive.Comment)), "\n")
			got := command(t, archive, lines[len(lines)-1])
			for i := range archive.Files {
				f := &archive.Files[i]
				if f.Name != "want" {
					continue
				}
				if *update {
					f.Data = []byte(got)
					if err := os.WriteFile(full, txtar.Format(archive), 0o666); err != nil {
						t.Fatal(err)
					}
				}
				if string(f.Data) != got {
					t.Errorf("got\n%s\nwant\n%s", got, f.Data)
				}
				return
			}
			t.Error("the archive has no file want")
		})
	}
}

// TestEveryFamilyIsTried: run-families.txtar has a rule of each family of which the
// page of functions says that functions work.
func TestEveryFamilyIsTried(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/run-families.txtar")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../docs/trafficscript-functions.md")
	if err != nil {
		t.Fatal(err)
	}
	tried := make(map[string]bool)
	for _, f := range archive.Files {
		family := strings.TrimSuffix(f.Name, ".ts")
		tried[family] = strings.Contains(string(f.Data), family+".")
	}
	var files []string
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".ts") {
			files = append(files, f.Name)
		}
	}
	if got := command(t, archive, "check "+strings.Join(files, " ")); strings.TrimSpace(got) != "exit    0" {
		t.Errorf("ts check says of them:\n%s", got)
	}
	for section := range strings.SplitSeq(string(page), "\n## ") {
		family, rows, _ := strings.Cut(section, "\n")
		if strings.Contains(rows, ")` | works") && !tried[family] && family != "response" && family != "counter64" {
			t.Errorf("no rule tries the family %s", family)
		}
	}
}

// TestTheCommandsOfTheLanguagePagePrintWhatItSays runs the console block of
// docs/trafficscript.md.
func TestTheCommandsOfTheLanguagePagePrintWhatItSays(t *testing.T) {
	page, err := os.ReadFile("../../../docs/trafficscript.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, found := strings.Cut(string(page), "```console\n$ cat shop.ts\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("the page has no console block")
	}
	source, rest, _ := strings.Cut(block, "$ ")
	archive := &txtar.Archive{Files: []txtar.File{{Name: "shop.ts", Data: []byte(source)}}}
	for part := range strings.SplitSeq(rest, "\n$ ") {
		line, want, _ := strings.Cut(part, "\n")
		line, ok := strings.CutPrefix(line, "vtm-sim ts ")
		if !ok {
			t.Fatalf("not a command of vtm-sim ts: %s", line)
		}
		got := command(t, archive, strings.ReplaceAll(line, `"`, "'"))
		if strings.TrimSpace(got) != strings.TrimSpace(strings.TrimSpace(want)+"\nexit    0") {
			t.Errorf("%s prints\n%s\nthe page says\n%s", line, got, want)
		}
	}
}

// command runs one command line, whose words '...' may hold blanks.
func command(t *testing.T, archive *txtar.Archive, line string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range archive.Files {
		if err := os.MkdirAll(filepath.Dir(f.Name), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f.Name, f.Data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	var commands struct {
		Check tsrun.Check `cmd:""`
		Run   tsrun.Run   `cmd:""`
	}
	parser, err := kong.New(&commands)
	if err != nil {
		t.Fatal(err)
	}
	chosen, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	code := 0
	if strings.HasPrefix(chosen.Command(), "check") {
		code = commands.Check.Execute(&out)
	} else {
		code = commands.Run.Execute(t.Context(), &out, func() time.Time { return time.Unix(1_800_000_000, 0).UTC() })
	}
	return out.String() + fmt.Sprintf("exit    %d\n", code)
}
