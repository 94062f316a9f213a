package vtm

import (
	"strings"
	"sync"
)

// reads gathers which keys whoever carries them out has asked for: the fidelity
// page is made of it, so that a key that nobody reads is told to be stored only.
type reads struct {
	mu   sync.Mutex          // guards keys
	keys map[string]struct{} // "pools basic/nodes_table.weight"; of a file "rules content"
}

// note records that a key takes effect, where somebody asks for that.
func (t *resourceType) note(parts ...string) {
	if t.reads == nil {
		return
	}
	t.reads.mu.Lock()
	defer t.reads.mu.Unlock()
	t.reads.keys[t.path+" "+strings.Join(parts, "")] = struct{}{}
}
