package config

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what came out as what is expected")

// A case holds what settings are read from (settings.yaml, environment, flags;
// other files are found under their names) and the mistakes that are told.
func TestMistakesAreToldAllAtOnceWithTheirPlace(t *testing.T) {
	cases, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(cases) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range cases {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			from, files := Sources{Flags: map[string]string{}}, map[string][]byte{}
			var want *txtar.File
			for i, f := range archive.Files {
				switch f.Name {
				case "mistakes":
					want = &archive.Files[i]
				case "environment":
					from.Environment = lines(f.Data)
				case "flags":
					for _, line := range lines(f.Data) {
						key, text, _ := strings.Cut(line, "=")
						from.Flags[key] = text
					}
				case "settings.yaml":
					from.File = "/etc/vtm-ingress/settings.yaml"
					files[from.File] = f.Data
				default:
					files[f.Name] = f.Data
				}
			}
			from.ReadFile = func(path string) ([]byte, error) {
				if text, ok := files[path]; ok {
					return text, nil
				}
				return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
			}
			_, err = Load(from)
			got := ""
			if err != nil {
				if all := (Mistakes)(nil); !errors.As(err, &all) {
					t.Errorf("error of type %T, want Mistakes", err)
				}
				got = err.Error() + "\n"
			}
			if strings.Contains(got, "hunter2") {
				t.Errorf("a secret is told:\n%s", got)
			}
			if *update {
				if want == nil {
					archive.Files = append(archive.Files, txtar.File{Name: "mistakes"})
					want = &archive.Files[len(archive.Files)-1]
				}
				want.Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want == nil {
				t.Fatal("no expected mistakes: run with -update")
			}
			if d := cmp.Diff(string(want.Data), got); d != "" {
				t.Errorf("mistakes (-want +got):\n%s", d)
			}
		})
	}
}

func lines(text []byte) (list []string) {
	for line := range bytes.Lines(text) {
		if s := strings.TrimRight(string(line), "\r\n"); s != "" {
			list = append(list, s)
		}
	}
	return list
}
