package config

import (
	"encoding/json"
	"regexp"
	"strings"
	"sync"

	"vtm-ingress/internal/facts"
)

// Setting describes one setting, as internal/facts/settings.json does.
type Setting struct {
	Key      string   `json:"key"`
	Type     string   `json:"type"`
	Default  string   `json:"default"` // as text; "" if there is none
	Required bool     `json:"required"`
	Enum     []string `json:"enum"`
	Pattern  string   `json:"pattern"` // RE2, of each value
	Expects  string   `json:"expects"` // Pattern in words
	Min      string   `json:"min"`     // of a duration
	Max      string   `json:"max"`
	Example  string   `json:"example"`
	Meaning  string   `json:"meaning"`
	// Local: never kept on the traffic manager, since it concerns one process, or how
	// the traffic manager is reached.
	Local bool `json:"local"`

	pattern *regexp.Regexp // Pattern, compiled; nil if there is none
}

const environmentPrefix = "VTM_INGRESS_"

// FileVariable is the environment variable that names the settings file. It is
// no setting; a flag of the program names the file too.
const FileVariable = environmentPrefix + "CONFIG"

// Environment is the variable by which the setting is given.
func (s Setting) Environment() string { return environmentPrefix + strings.ToUpper(s.Key) }

// Flag is the name of the setting's flag, without the hyphens before it; "" for
// a secret, which the list of processes would show to everybody.
func (s Setting) Flag() string {
	if s.Type == "secret" {
		return ""
	}
	return strings.ReplaceAll(s.Key, "_", "-")
}

// All returns the settings there are, in the order of the documentation. The list is
// shared: nobody changes it.
func All() []Setting { return all() }

// all reads the list once: a controller looks at its settings every few seconds.
var all = sync.OnceValue(func() []Setting {
	var known struct{ Settings []Setting }
	if err := json.Unmarshal(facts.Settings, &known); err != nil {
		panic("internal/facts/settings.json: " + err.Error()) // embedded: a test reads it
	}
	for i := range known.Settings {
		if s := &known.Settings[i]; s.Pattern != "" {
			s.pattern = regexp.MustCompile(s.Pattern)
		}
	}
	return known.Settings
})
