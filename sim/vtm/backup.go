package vtm

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Bounds of a traffic manager's backups. A name becomes that of a file with
// ".tar" behind it.
const (
	maxBackups    = 100
	maxBackupName = 200
)

// backup is a whole configuration as it was (vtm/rest.md §8). It is immutable.
type backup struct {
	Description string `json:"description"`
	TimeStamp   int64  `json:"time_stamp"` // Unix seconds
	Version     string `json:"version"`

	resources []*resource // sorted; nil where file holds them
	file      string
}

// backupShelf holds the backups of one traffic manager: they are its own and not
// replicated. Whoever changes one holds TrafficManager.writing.
type backupShelf struct {
	dir string // empty: in memory

	mu     sync.Mutex // guards byName; held for look-ups alone
	byName map[string]*backup
}

// openBackups reads what a folder holds; empty: nothing, and it stays in memory.
func openBackups(data string) (*backupShelf, error) {
	s := &backupShelf{byName: make(map[string]*backup)}
	if data == "" {
		return s, nil
	}
	s.dir = filepath.Join(data, "backups")
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("the folder for backups cannot be made: %w", err)
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("the folder of backups cannot be read: %w", err)
	}
	for _, e := range entries {
		name, isBackup := strings.CutSuffix(e.Name(), ".tar")
		if !isBackup || e.IsDir() {
			continue
		}
		file := filepath.Join(s.dir, e.Name())
		b, err := readBackupFile(file, nil)
		if err != nil {
			return nil, fmt.Errorf("backup %s is damaged (%w): repair or remove it", file, err)
		}
		b.file = file
		s.byName[name] = b
	}
	return s, nil
}

func (s *backupShelf) get(name string) *backup {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byName[name]
}

func (s *backupShelf) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.byName))
}

// put keeps a backup, in its file if there is a folder. When it fails the old one
// is still there.
func (s *backupShelf) put(name string, b *backup) error {
	if s.dir != "" {
		content, err := b.tar()
		if err != nil {
			return err
		}
		file, temporary := filepath.Join(s.dir, name+".tar"), filepath.Join(s.dir, ".new")
		if err := os.WriteFile(temporary, content, 0o600); err != nil {
			return err
		}
		if err := os.Rename(temporary, file); err != nil {
			return err
		}
		b = &backup{Description: b.Description, TimeStamp: b.TimeStamp, Version: b.Version, file: file}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byName[name] = b
	return nil
}

func (s *backupShelf) remove(name string) error {
	if b := s.get(name); b.file != "" {
		if err := os.Remove(b.file); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.byName, name)
	return nil
}

// tar is a backup as it is downloaded, uploaded and stored: backup.json first,
// then conf/TYPE/NAME for each resource, of JSON resources the values that are
// set. Private keys are in it as they were sent.
func (b *backup) tar() ([]byte, error) {
	if b.file != "" {
		return os.ReadFile(b.file)
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, content []byte) error {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o600, ModTime: time.Unix(b.TimeStamp, 0), Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return fmt.Errorf("%s in the backup: %w", name, err)
		}
		_, err := w.Write(content)
		return err
	}
	about, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if err := add("backup.json", about); err != nil {
		return nil, err
	}
	for _, r := range b.resources {
		content := r.content
		if r.kind.class != files {
			content = appendStored(nil, r)
		}
		if err := add("conf/"+r.id(), content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// readBackup reads what tar wrote, or anyone else: every resource is checked as if
// it were put. Without a schema only backup.json is read.
func readBackup(from io.Reader, sch *schema) (*backup, error) {
	in := tar.NewReader(from)
	h, err := in.Next()
	if err != nil {
		return nil, fmt.Errorf("it is no tar archive: %w", err)
	}
	if h.Name != "backup.json" {
		return nil, errors.New("its first file is not backup.json")
	}
	about, err := io.ReadAll(io.LimitReader(in, 1<<16))
	if err != nil {
		return nil, fmt.Errorf("backup.json: %w", err)
	}
	b := &backup{}
	if err := json.Unmarshal(about, b); err != nil {
		return nil, fmt.Errorf("backup.json: %w", err)
	}
	if sch == nil {
		return b, nil
	}
	b.resources = []*resource{}
	seen := make(map[target]bool)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		path, isConf := strings.CutPrefix(h.Name, "conf/")
		if h.Typeflag == tar.TypeDir {
			continue
		}
		kind, name := sch.types[path], ""
		if i := strings.LastIndexByte(path, '/'); i >= 0 && (kind == nil || kind.class != singleton) {
			kind, name = sch.types[path[:i]], path[i+1:]
		}
		if !isConf || kind == nil || h.Typeflag != tar.TypeReg || (kind.class == singleton) != (name == "") {
			return nil, fmt.Errorf("%s is no resource", clip(h.Name))
		}
		if refused := checkName(kind, name); refused != nil {
			return nil, fmt.Errorf("%s: %s", clip(h.Name), refused.Text)
		}
		at := target{kind.path, name}
		if seen[at] {
			return nil, fmt.Errorf("%s is there twice", at)
		}
		seen[at] = true
		content, err := io.ReadAll(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		r := &resource{kind: kind, name: name, content: content}
		if kind.class != files {
			merged, refused := merge(kind, name, nil, content, everything)
			if refused != nil {
				return nil, fmt.Errorf("%s: %s", at, refused.body())
			}
			r = merged
		}
		b.resources = append(b.resources, r)
	}
	slices.SortFunc(b.resources, func(x, y *resource) int {
		return target{x.kind.path, x.name}.compare(target{y.kind.path, y.name})
	})
	return b, nil
}

func readBackupFile(file string, sch *schema) (*backup, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	return readBackup(f, sch)
}

// backups answers for what is below status/NAME/backups.
func (t *TrafficManager) backups(r *request, path []string) (answer, *apiError) {
	if len(path) == 0 {
		return r.folder(child{"full", true})
	}
	if path[0] != "full" || len(path) > 2 {
		return r.notFound()
	}
	if path = r.enter(path); len(path) == 0 {
		names := t.shelf.names()
		children := make([]child, len(names))
		for i, name := range names {
			children[i] = child{name, false}
		}
		return r.folder(children...)
	}
	name := path[0]
	r.about = func() *metadata {
		return &metadata{Description: "A backup of the whole configuration", Properties: map[string]map[string]keyMetadata{"backup": {
			"description": {Description: "A string", Type: "string"},
			"time_stamp":  {Description: "An integer; when the backup was made, in seconds since 1970; cannot be set", Type: "int"},
			"version":     {Description: "A string; the product's version; cannot be set", Type: "string"},
		}}}
	}
	found := t.shelf.get(name)
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if found == nil {
			return r.notFound()
		}
		if accept := r.Header.Get("Accept"); strings.Contains(accept, "application/x-tar") || strings.Contains(accept, "application/octet-stream") {
			if r.of.access(r.user, pages["status/backups"]) != accessFull {
				return answer{}, errForbidden("A backup holds private keys: reading it needs full access to the page 'Backup'")
			}
			content, err := found.tar()
			if err != nil {
				return answer{}, errDisk(err)
			}
			return answer{status: http.StatusOK, body: content, raw: true}, nil
		}
		return found.shown(http.StatusOK)
	case http.MethodPut:
		if r.URL.Query().Has("restore") {
			if found == nil {
				return r.notFound()
			}
			return t.restoreBackup(r, name, found)
		}
		return t.putBackup(r, name)
	case http.MethodPost:
		return t.uploadBackup(r, name)
	case http.MethodDelete:
		if found == nil {
			return r.notFound()
		}
		err := t.changeBackup(r, func() error { return t.shelf.remove(name) })
		return answer{status: http.StatusNoContent}, err
	}
	return answer{}, errMethod(r.Method, "GET, HEAD, PUT, POST, DELETE")
}

// shown is the answer that tells about a backup.
func (b *backup) shown(status int) (answer, *apiError) {
	body, err := json.Marshal(map[string]any{"properties": map[string]any{"backup": b}})
	if err != nil {
		return answer{}, errDisk(err)
	}
	return answer{status: status, body: body}, nil
}

// checkBackupName is stricter than checkName: a name becomes one of a file.
func (t *TrafficManager) checkBackupName(name string) *apiError {
	if len(name) > maxBackupName {
		return errName(fmt.Sprintf("it is longer than %d bytes", maxBackupName))
	}
	if err := checkName(t.schema.types["extra_files"], name); err != nil {
		return err
	}
	if len(t.shelf.names()) >= maxBackups && t.shelf.get(name) == nil {
		return errDisk(fmt.Errorf("there are %d backups: delete one first", maxBackups))
	}
	return nil
}

// putBackup makes a backup of what is configured now, or gives one that is there
// another description.
func (t *TrafficManager) putBackup(r *request, name string) (answer, *apiError) {
	if err := t.checkBackupName(name); err != nil {
		return answer{}, err
	}
	if err := r.mediaType("application/json"); err != nil {
		return answer{}, err
	}
	body, refused := r.readBody(1 << 20)
	if refused != nil {
		return answer{}, refused
	}
	description, refused := backupDescription(body)
	if refused != nil {
		return answer{}, refused
	}
	status := http.StatusOK
	var made *backup
	refused = t.changeBackup(r, func() error {
		if old := t.shelf.get(name); old != nil {
			resources := old.resources
			if old.file != "" {
				read, err := readBackupFile(old.file, t.schema)
				if err != nil {
					return err
				}
				resources = read.resources
			}
			made = &backup{Description: description, TimeStamp: old.TimeStamp, Version: old.Version, resources: resources}
		} else {
			status = http.StatusCreated
			made = &backup{Description: description, TimeStamp: t.o.World.Clock().Now().Unix(), Version: productVersion, resources: live(t.store.all(t.schema))}
		}
		return t.shelf.put(name, made)
	})
	if refused != nil {
		return answer{}, refused
	}
	return made.shown(status)
}

// backupDescription reads {"properties":{"backup":{"description":…}}}. Time and
// version, which answers have, are ignored, so that what was read can be put.
func backupDescription(body []byte) (string, *apiError) {
	if len(bytes.TrimSpace(body)) == 0 {
		return "", nil
	}
	decoded, err := decodeJSON(body)
	if err != nil {
		return "", errParse(err)
	}
	main, ok := decoded.(map[string]any)
	if !ok {
		return "", errParse(errNoObject)
	}
	if unknown := firstUnknown(main, "properties"); unknown != "" {
		return "", errField(unknown)
	}
	bad := make(problems)
	description := ""
	sections, _ := main["properties"].(map[string]any)
	for name, v := range sections {
		keys, ok := v.(map[string]any)
		if name != "backup" || !ok {
			bad.section(name, "json.unknown_section", "Section is unknown, or no object of keys")
			continue
		}
		for key, v := range keys {
			switch key {
			case "description":
				if description, ok = v.(string); !ok {
					bad.key(name, key, wrongType(stringKind))
				}
			case "time_stamp", "version":
			default:
				bad.key(name, key, unknownProperty())
			}
		}
	}
	return description, bad.err()
}

// uploadBackup keeps an archive that was downloaded earlier, here or elsewhere.
func (t *TrafficManager) uploadBackup(r *request, name string) (answer, *apiError) {
	if err := t.checkBackupName(name); err != nil {
		return answer{}, err
	}
	if err := r.mediaType("application/octet-stream", "application/x-tar"); err != nil {
		return answer{}, err
	}
	body, refused := r.readBody(maxFileBody)
	if refused != nil {
		return answer{}, refused
	}
	made, err := readBackup(bytes.NewReader(body), t.schema)
	if err != nil {
		return answer{}, &apiError{status: http.StatusBadRequest, ID: "resource.invalid_backup", Text: "The backup is not usable: " + clip(err.Error())}
	}
	status := http.StatusCreated
	refused = t.changeBackup(r, func() error {
		if t.shelf.get(name) != nil {
			status = http.StatusOK
		}
		return t.shelf.put(name, made)
	})
	if refused != nil {
		return answer{}, refused
	}
	return made.shown(status)
}
