package trafficscript

// LibraryNames returns the names of all built-in functions, for the test that
// each of them is tested.
func LibraryNames() []string {
	var names []string
	for _, f := range library {
		names = append(names, f.name)
	}
	return names
}
