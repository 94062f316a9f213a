package trafficscript

import "strings"

// LibraryNames returns the names of all built-in functions, for the test that
// each of them is tested.
func LibraryNames() []string {
	var names []string
	for _, f := range library {
		names = append(names, f.name)
	}
	return names
}

// ReplacedBy returns what to use instead of a deprecated function, or "".
func ReplacedBy(name string) string { return library[strings.ToLower(name)].deprecated }
