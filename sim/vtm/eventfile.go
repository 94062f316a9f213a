package vtm

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// A log file is rotated when it would become greater than the real one's 50 MB
// (vtm/runtime.md, "Event log"); so many old ones are kept.
const (
	logFileSize = 50_000_000
	logFilesOld = 3
)

// eventFile is a log file: the event log, or that of an action. Writing never
// fails: a full disk must not stop traffic. What could not be written is told to
// the program's own log once.
type eventFile struct {
	path  string
	limit int64 // bytes
	log   *slog.Logger

	mu     sync.Mutex // guards all below; held over a write to the disk
	file   *os.File   // nil: closed, or could not be opened
	size   int64
	failed bool // told
}

// openEventFile opens a log file for appending, and makes its folder.
func openEventFile(path string, limit int64, log *slog.Logger) (*eventFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("the folder of the log cannot be made: %w", err)
	}
	f := &eventFile{path: path, limit: limit, log: log}
	if err := f.open(); err != nil {
		return nil, fmt.Errorf("the log cannot be opened: %w", err)
	}
	return f, nil
}

func (f *eventFile) open() error {
	file, err := os.OpenFile(f.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	at, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		_ = file.Close()
		return err
	}
	f.file, f.size = file, at
	return nil
}

// write appends a line.
func (f *eventFile) write(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return
	}
	err := f.rotate(int64(len(line) + 1))
	if err == nil {
		var n int
		n, err = f.file.WriteString(line + "\n")
		f.size += int64(n)
	}
	if err != nil && !f.failed {
		f.log.Warn("the event log cannot be written", "file", f.path, "error", err)
	}
	f.failed = err != nil
}

// rotate begins a new file if the next bytes do not fit: errors becomes errors.1,
// and so on. f.mu is held.
func (f *eventFile) rotate(next int64) error {
	if f.size == 0 || f.size+next <= f.limit {
		return nil
	}
	for i := logFilesOld - 1; i >= 1; i-- {
		_ = os.Rename(f.old(i), f.old(i+1)) // there may be none yet
	}
	if err := os.Rename(f.path, f.old(1)); err != nil {
		return err
	}
	_ = f.file.Close() // nothing is buffered
	f.file = nil
	return f.open()
}

func (f *eventFile) old(i int) string { return f.path + "." + strconv.Itoa(i) }

func (f *eventFile) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file != nil {
		_ = f.file.Close()
		f.file = nil
	}
}

// maxTail is how much of an old log is read when a traffic manager starts, bytes.
const maxTail = 4 << 20

// tail returns the last events of the file. Lines that are none are left out:
// other programs may have written them.
func (f *eventFile) tail(most int) ([]Event, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	begin := max(0, f.size-maxTail)
	b, err := io.ReadAll(io.NewSectionReader(file, begin, f.size-begin))
	if err != nil {
		return nil, err
	}
	if begin > 0 { // a part of a line
		_, b, _ = bytes.Cut(b, []byte{'\n'})
	}
	var events []Event
	for line := range strings.SplitSeq(string(b), "\n") {
		if e, ok := parseEvent(line); ok {
			events = append(events, e)
		}
	}
	return events[max(0, len(events)-most):], nil
}

// openLog opens the event log below the folder of Options.Data, and remembers what
// it has from before.
func (t *TrafficManager) openLog() error {
	if t.o.Data == "" {
		return nil
	}
	f, err := openEventFile(filepath.Join(t.o.Data, "log", "errors"), logFileSize, t.o.Log)
	if err != nil {
		return err
	}
	t.eventFile = f
	if t.record.seen() > 0 {
		return nil // from the run before
	}
	events, err := f.tail(keptEvents)
	if err != nil {
		return fmt.Errorf("the event log cannot be read: %w", err)
	}
	for _, e := range events {
		t.record.event(e)
	}
	return nil
}
