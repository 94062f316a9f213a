package testenv

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"

	"vtm-ingress/controller/config"
)

// Log is what controllers logged, in memory. The zero value is empty; its methods
// may be called from several goroutines.
type Log struct {
	mu   sync.Mutex
	b    bytes.Buffer
	seen int // how much of it Since has given
}

func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is all of it.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Since is what came since the last call.
func (l *Log) Since() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := string(l.b.Bytes()[l.seen:])
	l.seen = l.b.Len()
	return rest
}

// MemorySettings are the sources of a controller whose settings file holds what
// settings gives, which may change at any time. files are those that settings name, by
// path.
func MemorySettings(settings func() map[string]string, files map[string][]byte) config.Sources {
	const file = "settings.yaml"
	return config.Sources{File: file, ReadFile: func(path string) ([]byte, error) {
		if content, is := files[path]; is {
			return content, nil
		}
		if path != file {
			return nil, fs.ErrNotExist
		}
		var text bytes.Buffer
		all := settings()
		for _, key := range slices.Sorted(maps.Keys(all)) {
			value, err := json.Marshal(all[key]) // which is YAML, and made much faster
			if err != nil {
				return nil, err
			}
			fmt.Fprintf(&text, "%s: %s\n", key, value)
		}
		return text.Bytes(), nil
	}}
}
