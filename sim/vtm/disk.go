package vtm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// disk keeps a member's configuration in files, as a real traffic manager does:
//
//	DIR/conf/TYPE/NAME     a resource
//	DIR/deleted/TYPE/NAME  a tombstone
//	DIR/uuid               of the traffic manager
//	DIR/new                a file being written
//
// A file is one line of JSON (storedHeader), then the content: the properties
// that are set, or the bytes of a file. It comes into being by renaming, so that
// whenever the process ends each resource is either the old or the new one.
// Private keys are in these files as they were sent: DIR is for its owner alone.
type disk struct{ dir string }

// parsedFiles is what the members' folders hold, while they are read: members have
// most resources in common, and those are parsed once and kept once.
type parsedFiles struct {
	mu sync.Mutex // guards the map
	by map[target]*parsedFile
}

type parsedFile struct {
	mu       sync.Mutex // guards both, and is held while content is parsed
	content  []byte
	resource *resource // nil: not parsed yet
}

func newParsedFiles() *parsedFiles { return &parsedFiles{by: make(map[target]*parsedFile)} }

// resource returns what a file holds.
func (p *parsedFiles) resource(t *resourceType, name string, content []byte) (*resource, error) {
	at := target{t.path, name}
	p.mu.Lock()
	f := p.by[at]
	if f == nil {
		f = &parsedFile{}
		p.by[at] = f
	}
	p.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.resource != nil && bytes.Equal(f.content, content) {
		return f.resource, nil
	}
	r, err := parseStored(t, name, content)
	if err == nil && f.resource == nil {
		f.content, f.resource = content, r
	}
	return r, err
}

type storedHeader struct {
	Versions versions  `json:"versions"`
	At       time.Time `json:"at"`
	By       string    `json:"by,omitempty"`
	BuiltIn  bool      `json:"built_in,omitempty"`
	Deleted  bool      `json:"deleted,omitempty"`
	Conflict string    `json:"conflict,omitempty"`
}

// openDisk makes the folders.
func openDisk(dir string, sch *schema) (*disk, error) {
	d := &disk{dir}
	for _, t := range sch.types {
		for _, root := range []string{"conf", "deleted"} {
			folder := filepath.Join(dir, root, filepath.FromSlash(t.path))
			if t.class == singleton {
				folder = filepath.Dir(folder)
			}
			if err := os.MkdirAll(folder, 0o700); err != nil {
				return nil, fmt.Errorf("the folder for the configuration cannot be made: %w", err)
			}
		}
	}
	return d, nil
}

// path is where a resource is kept. Names of resources are names of files:
// checkName lets no other through.
func (d *disk) path(root string, r *resource) string {
	return filepath.Join(d.dir, root, filepath.FromSlash(r.kind.path), r.name)
}

// write stores a resource or a tombstone. When it fails the old one is still
// there.
func (d *disk) write(r *resource) error {
	header, err := json.Marshal(storedHeader{r.versions, r.at, r.by, r.builtin, r.deleted, r.conflict})
	if err != nil {
		return err
	}
	b := append(header, '\n')
	root, other := "conf", "deleted"
	switch {
	case r.deleted:
		root, other = other, root
	case r.kind.class == files:
		b = append(b, r.content...)
	default:
		b = appendStored(b, r)
	}
	if err := d.writeFile(d.path(root, r), b); err != nil {
		return err
	}
	// If the process ends before this, load sees both and keeps the newer.
	if err := os.Remove(d.path(other, r)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *disk) writeFile(path string, b []byte) error {
	temporary := filepath.Join(d.dir, "new")
	if err := os.WriteFile(temporary, b, 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// bury removes tombstones; one that stays does no harm.
func (d *disk) bury(gone []*resource) {
	for _, r := range gone {
		_ = os.Remove(d.path("deleted", r))
	}
}

// load reads all that is stored, into known too. Errors name the file.
func (d *disk) load(sch *schema, known *parsedFiles) ([]*resource, error) {
	var list []*resource
	deleted := make(map[target]*resource)
	read := func(t *resourceType, name, path string) error {
		var r *resource
		content, err := os.ReadFile(path)
		if err == nil {
			r, err = known.resource(t, name, content)
		}
		if err != nil {
			return fmt.Errorf("stored configuration %s is damaged (%w): repair or remove it", path, err)
		}
		at := target{t.path, name}
		if r.deleted {
			deleted[at] = r
			return nil
		}
		if tomb := deleted[at]; tomb != nil {
			if tomb.versions.compare(r.versions) == newer {
				return nil
			}
			delete(deleted, at)
		}
		list = append(list, r)
		return nil
	}
	for _, root := range []string{"deleted", "conf"} {
		for _, t := range sch.types {
			folder := filepath.Join(d.dir, root, filepath.FromSlash(t.path))
			if t.class == singleton {
				if err := read(t, "", folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return nil, err
				}
				continue
			}
			entries, err := os.ReadDir(folder)
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				if e.IsDir() {
					continue // of another type: ssl/server_keys
				}
				if err := checkName(t, e.Name()); err != nil {
					return nil, fmt.Errorf("stored configuration %s: %s", filepath.Join(folder, e.Name()), err.Text)
				}
				if err := read(t, e.Name(), filepath.Join(folder, e.Name())); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, tomb := range deleted {
		list = append(list, tomb)
	}
	return list, nil
}

// parseStored reads the content of a file.
func parseStored(t *resourceType, name string, b []byte) (*resource, error) {
	line, content, found := bytes.Cut(b, []byte{'\n'})
	if !found {
		return nil, errors.New("it has no first line")
	}
	var h storedHeader
	if err := json.Unmarshal(line, &h); err != nil {
		return nil, err
	}
	r := &resource{kind: t, name: name}
	switch {
	case h.Deleted:
	case t.class == files:
		r.content = content
	default:
		merged, refused := merge(t, name, nil, content, everything)
		if refused != nil {
			return nil, errors.New(string(refused.body()))
		}
		r = merged
	}
	r.stamp = stamp{h.Versions, h.At, h.By}
	r.builtin, r.deleted, r.conflict = h.BuiltIn, h.Deleted, h.Conflict
	return r, nil
}

// uuid returns the stored UUID, after storing made if there was none.
func (d *disk) uuid(made string) (string, error) {
	path := filepath.Join(d.dir, "uuid")
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		return strings.TrimSpace(string(b)), nil
	case errors.Is(err, fs.ErrNotExist):
		return made, d.writeFile(path, []byte(made+"\n"))
	}
	return "", err
}

// appendStored writes the values that are set, secrets too.
func appendStored(b []byte, r *resource) []byte {
	b = append(b, `{"properties":{`...)
	firstSection := true
	for _, sec := range r.kind.sections {
		open := false
		for _, p := range sec.properties {
			v, set := r.values[p]
			if !set {
				continue
			}
			if open {
				b = append(b, ',')
			} else {
				if !firstSection {
					b = append(b, ',')
				}
				b = append(b, sec.label...)
			}
			open, firstSection = true, false
			b = append(b, p.label...)
			if s, ok := v.(string); ok {
				b = appendString(b, s)
			} else {
				b = p.appendJSON(b, v)
			}
		}
		if open {
			b = append(b, '}')
		}
	}
	return append(b, "}}"...)
}
