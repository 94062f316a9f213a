package admin

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"vtm-ingress/internal/facts"
)

// settingsName is the resource of type custom that keeps the controller's
// settings: one list for each, named by its key.
const settingsName = "vtm-ingress-controller"

// maxSetting bounds one value in bytes.
const maxSetting = 4096

// Setting is one of the controller's settings, as facts.Settings describes it.
type Setting struct {
	Key      string   `json:"key"`
	Type     string   `json:"type"`
	Default  string   `json:"default"`
	Required bool     `json:"required"`
	Enum     []string `json:"enum"`
	Pattern  string   `json:"pattern"`
	Expects  string   `json:"expects"`
	Min      string   `json:"min"`
	Max      string   `json:"max"`
	Example  string   `json:"example"`
	Meaning  string   `json:"meaning"`
	Local    bool     `json:"local"` // never kept on the traffic manager

	pattern *regexp.Regexp // nil: any text
}

// readSettings returns those that the traffic manager may keep, in their order.
func readSettings() ([]Setting, error) {
	var all struct{ Settings []Setting }
	if err := json.Unmarshal(facts.Settings, &all); err != nil {
		return nil, fmt.Errorf("the controller's settings are not readable: %w", err)
	}
	kept := slices.DeleteFunc(all.Settings, func(s Setting) bool { return s.Local })
	for i, s := range kept {
		if s.Pattern == "" {
			continue
		}
		var err error
		if kept[i].pattern, err = regexp.Compile(s.Pattern); err != nil {
			return nil, fmt.Errorf("the controller's setting %s: %w", s.Key, err)
		}
	}
	return kept, nil
}

// setting finds one by its key, nil if there is none that is kept here.
func (p *Pages) setting(key string) *Setting {
	if i := slices.IndexFunc(p.settings, func(s Setting) bool { return s.Key == key }); i >= 0 {
		return &p.settings[i]
	}
	return nil
}

func (s *Setting) isList() bool { return s.Type == "names" || s.Type == "urls" }

// read takes what a form's field holds apart and checks it. An empty field is no
// value. The problem says what is wanted.
func (s *Setting) read(field string) (values []string, problem string) {
	if len(field) > maxSetting {
		return nil, fmt.Sprintf("Longer than %d bytes.", maxSetting)
	}
	texts := []string{field}
	if s.isList() {
		texts = strings.FieldsFunc(field, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' })
	}
	for _, text := range texts {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		if problem := s.check(text); problem != "" {
			if s.isList() {
				problem = fmt.Sprintf("%q: %s", clip(text, 100), problem)
			}
			return nil, problem
		}
		values = append(values, text)
	}
	return values, ""
}

// check says what is wanted instead of a value, "" if it is good.
func (s *Setting) check(text string) string {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return "No control characters and line ends, please."
	}
	if s.pattern != nil && !s.pattern.MatchString(text) {
		return "Want " + s.Expects + "."
	}
	if len(s.Enum) > 0 && !slices.Contains(s.Enum, text) {
		return "Want " + strings.Join(s.Enum, " or ") + "."
	}
	switch s.Type {
	case "bool":
		if text != "true" && text != "false" {
			return "Want true or false."
		}
	case "file":
		if !strings.HasPrefix(text, "/") {
			return "Want the file's whole path, from /."
		}
	case "duration":
		return s.checkDuration(text)
	case "url", "urls":
		return checkURL(text)
	case "address":
		if host, port, err := net.SplitHostPort(text); err != nil || !isPort(port) || strings.ContainsAny(host, " /") {
			return "Want host:port or :port."
		}
	}
	return ""
}

func (s *Setting) checkDuration(text string) string {
	d, err := time.ParseDuration(text)
	if err != nil {
		return "Want a number with a unit, such as " + s.Default + "."
	}
	least, noLeast := time.ParseDuration(s.Min)
	most, noMost := time.ParseDuration(s.Max)
	if noLeast == nil && d < least || noMost == nil && d > most {
		return fmt.Sprintf("Want %s to %s.", s.Min, s.Max)
	}
	return ""
}

func isPort(s string) bool {
	_, err := strconv.ParseUint(s, 10, 16)
	return err == nil
}

// checkURL takes https, and http to the own machine alone, where nobody listens in.
func checkURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err == nil && u.User != nil:
		return "A URL holds no user and password: they have settings of their own."
	case err != nil || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" || u.Port() != "" && !isPort(u.Port()):
		return "Want a URL such as https://10.0.0.11:6443."
	case u.Scheme == "http" && u.Hostname() != "localhost":
		if a, err := netip.ParseAddr(u.Hostname()); err != nil || !a.IsLoopback() {
			return "Want https: with http anybody in between reads the token."
		}
	}
	return ""
}

// hint says in words what a field accepts.
func (s *Setting) hint() string {
	var parts []string
	switch {
	case s.Expects != "":
		parts = append(parts, s.Expects)
	case s.Type == "file":
		parts = append(parts, "the path of a file on the machine where the controller runs")
	case s.Type == "url":
		parts = append(parts, "an https URL without a path")
	case s.Type == "duration":
		parts = append(parts, fmt.Sprintf("a number with a unit, %s to %s", s.Min, s.Max))
	case s.Type == "address":
		parts = append(parts, "host:port, or :port")
	}
	if s.isList() {
		parts = append(parts, "several with commas between them")
	}
	if s.Example != "" {
		parts = append(parts, "for example "+s.Example)
	}
	if s.Default != "" {
		parts = append(parts, "default "+s.Default)
	}
	return capital(strings.Join(parts, "; "))
}
