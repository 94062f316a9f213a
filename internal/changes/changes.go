// Package changes tells what differs between two lists.
//
// It knows nothing of what is in them. Everything may import it; it imports nothing of
// the project.
package changes

// Between calls gone for each element of old that is not in now, and came for each of
// now that is not in old, in their order. Both are sorted by compare and have each
// element once. Of thousands of elements mostly one is another: no map is made.
func Between[T any](old, now []T, compare func(a, b T) int, gone, came func(T)) {
	for len(old) > 0 && len(now) > 0 {
		switch order := compare(old[0], now[0]); {
		case order < 0:
			gone(old[0])
			old = old[1:]
		case order > 0:
			came(now[0])
			now = now[1:]
		default:
			old, now = old[1:], now[1:]
		}
	}
	for _, e := range old {
		gone(e)
	}
	for _, e := range now {
		came(e)
	}
}
