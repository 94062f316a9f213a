package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"vtm-ingress/internal/spell"
)

// Sources are what settings are read from. Flags overrule the environment, the
// environment overrules what the traffic manager keeps, that overrules the file,
// the file overrules defaults. Values of flags and environment are texts; a list
// is separated by commas.
type Sources struct {
	// Flags given, by key (with underscores).
	Flags map[string]string
	// Environment as os.Environ gives it. Variables that are empty count as not
	// given, and so do those by which Kubernetes tells Pods of a Service named
	// vtm-ingress….
	Environment []string
	// TrafficManager is what the traffic manager keeps, by key: a list of values, of
	// one for a setting that is no list. Settings that are Local are refused there.
	TrafficManager map[string][]string
	// File is the path of the settings file; "" if there is none.
	File string
	// ReadFile reads a file; nil is os.ReadFile.
	ReadFile func(path string) ([]byte, error)
}

// Load reads and validates the settings. Its error is of type Mistakes and tells
// all of them, also those of values that are overruled.
func Load(from Sources) (*Settings, error) {
	if from.ReadFile == nil {
		from.ReadFile = os.ReadFile
	}
	settings := All()
	given, mistakes := map[string]value{}, Mistakes(nil)
	readable := true
	add := func(values map[string]value) {
		for _, s := range settings {
			v, ok := values[s.Key]
			if !ok {
				continue
			}
			if !v.bad {
				texts, problems := s.normalize(v.texts, v.isList)
				for _, problem := range problems {
					mistakes = append(mistakes, v.mistake(s.Key, "%s", problem))
				}
				v.texts, v.bad = texts, len(problems) > 0
			}
			given[s.Key] = v
		}
	}
	var file map[string]value
	if from.File != "" {
		values, found, ok := fromFile(settings, from)
		file, readable = values, ok
		mistakes = append(mistakes, found...)
	}
	kept, found := fromTrafficManager(settings, from.TrafficManager)
	mistakes = append(mistakes, found...)
	environment, found := fromEnvironment(settings, from.Environment)
	mistakes = append(mistakes, found...)
	flags, found := fromFlags(settings, from.Flags)
	mistakes = append(mistakes, found...)
	kubernetesFromOneSource(kept, file, environment, flags)
	for _, values := range []map[string]value{file, kept, environment, flags} {
		add(values)
	}
	result, found := build(given, from)
	for _, mistake := range found {
		// What is missing may well be in the file that can't be read.
		if readable || mistake.order.source != ofNowhere {
			mistakes = append(mistakes, mistake)
		}
	}
	if len(mistakes) > 0 {
		mistakes.sort()
		return nil, mistakes
	}
	return result, nil
}

// value is what was given for a setting.
type value struct {
	origin
	texts  []string // one, unless isList or normalized
	isList bool     // written as a YAML list
	bad    bool     // already told as a mistake: nothing else is to be said of it
}

func fromFlags(settings []Setting, flags map[string]string) (map[string]value, []Mistake) {
	values, mistakes := map[string]value{}, []Mistake(nil)
	for _, key := range slices.Sorted(maps.Keys(flags)) {
		at := origin{source: ofFlag, where: "flag --" + strings.ReplaceAll(key, "_", "-")}
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Key == key })
		switch {
		case i < 0:
			mistakes = append(mistakes, at.mistake("", "no such setting%s", didYouMean(key, settings, Setting.Flag)))
		case settings[i].Flag() == "":
			mistakes = append(mistakes, at.mistake("", "a secret is no flag, since the list of processes shows flags: use %s or %s_file",
				settings[i].Environment(), key))
		default:
			values[key] = value{origin: at, texts: []string{flags[key]}}
		}
	}
	return values, mistakes
}

func fromTrafficManager(settings []Setting, kept map[string][]string) (map[string]value, []Mistake) {
	values, mistakes := map[string]value{}, []Mistake(nil)
	for _, key := range slices.Sorted(maps.Keys(kept)) {
		at := origin{source: ofTrafficManager, where: "traffic manager"}
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Key == key })
		texts := slices.DeleteFunc(slices.Clone(kept[key]), func(text string) bool { return text == "" })
		switch {
		case i < 0:
			mistakes = append(mistakes, at.mistake("", "%s: no such setting%s", printable(key), didYouMean(key, settings, func(s Setting) string { return s.Key })))
		case settings[i].Local:
			mistakes = append(mistakes, at.mistake(key, "is never kept there, as it is needed to get there or concerns one process: use %s or the settings file",
				settings[i].Environment()))
		case len(texts) == 0: // a field left empty
		default:
			values[key] = value{origin: at, texts: texts, isList: len(texts) > 1}
		}
	}
	return values, mistakes
}

// kubernetesFromOneSource leaves of the settings that say how to reach Kubernetes
// either those that the traffic manager keeps or those given locally: a token
// must not go to an endpoint, nor past a verification, that somebody else chose.
func kubernetesFromOneSource(kept map[string]value, local ...map[string]value) {
	ofKubernetes := func(key string, _ value) bool { return strings.HasPrefix(key, "k8s_") }
	for _, values := range local {
		for _, key := range []string{"k8s_config_path", "k8s_endpoint", "k8s_token", "k8s_token_file"} {
			if _, ok := values[key]; ok {
				maps.DeleteFunc(kept, ofKubernetes)
				return
			}
		}
	}
	for key := range kept {
		if ofKubernetes(key, value{}) {
			for _, values := range local {
				maps.DeleteFunc(values, ofKubernetes)
			}
			return
		}
	}
}

// Warnings tell what works in what the traffic manager keeps and should not be
// there: everybody who may read its REST API sees it.
func Warnings(from Sources) []string {
	var warnings []string
	for _, s := range All() {
		if s.Type == "secret" && len(from.TrafficManager[s.Key]) > 0 {
			warnings = append(warnings, fmt.Sprintf(
				"traffic manager: %s: a secret that every user of the REST API can read: remove it there, change it, and name a file that holds it by %s_file", s.Key, s.Key))
		}
	}
	return warnings
}

// serviceVariable matches what Kubernetes puts into the environment of Pods for
// each Service: with one named vtm-ingress-something they look like settings.
var serviceVariable = regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)$`)

func fromEnvironment(settings []Setting, environment []string) (map[string]value, []Mistake) {
	values, mistakes := map[string]value{}, []Mistake(nil)
	for _, variable := range environment {
		name, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, environmentPrefix) || name == FileVariable || text == "" {
			continue
		}
		at := origin{source: ofEnvironment, where: "environment " + name}
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Environment() == name })
		switch {
		case i >= 0:
			values[settings[i].Key] = value{origin: at, texts: []string{text}}
		case !serviceVariable.MatchString(strings.TrimPrefix(name, "VTM_INGRESS")):
			mistakes = append(mistakes, at.mistake("", "no such setting%s", didYouMean(name, settings, Setting.Environment)))
		}
	}
	return values, mistakes
}

func didYouMean(word string, settings []Setting, spelling func(Setting) string) string {
	var known []string
	for _, s := range settings {
		if name := spelling(s); name != "" {
			known = append(known, name)
		}
	}
	nearest, ok := spell.Nearest(word, known)
	if !ok {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", nearest)
}

// base is what a settings file is called in mistakes.
func base(path string) string { return filepath.Base(path) }

// why is the reason in an error about a file, without the path, which the text
// around it names.
func why(err error) error {
	if pathError := (*fs.PathError)(nil); errors.As(err, &pathError) {
		return pathError.Err
	}
	return err
}
