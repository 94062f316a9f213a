// Package spell finds the known word that somebody may have meant.
//
// It owns that question, for settings, annotations and function names alike,
// and decides nothing about the answer. Everything may import it; it imports
// nothing of the project.
package spell

import "strings"

// Nearest returns the one of known that is nearest to word, if it is near enough
// to have been meant: at most a third of word's length, and at most four, of
// letters inserted, left out, changed or swapped with their neighbour. Case is
// ignored, and so is whether - or _ joins words. Of equals the first one of known
// is returned. ok is false if none is near.
func Nearest(word string, known []string) (nearest string, ok bool) {
	from := fold(word)
	if len(from) > 200 {
		return "", false // nobody's typing error; the work below grows with its length
	}
	best := min(len(from)/3, 4) + 1
	for _, candidate := range known {
		to := fold(candidate)
		if max(len(to)-len(from), len(from)-len(to)) >= best {
			continue
		}
		if d := Distance(from, to); d < best {
			best, nearest, ok = d, candidate, true
		}
	}
	return nearest, ok
}

func fold(word string) string {
	return strings.ReplaceAll(strings.ToLower(word), "-", "_")
}

// Distance is the optimal string alignment distance of two strings of bytes: how
// many must be inserted, left out, changed or swapped with their neighbour to get
// from a to b. Its cost is the product of their lengths.
func Distance(a, b string) int {
	// Three rows of the table suffice: the one in the making and the two above.
	above2, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := above[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(change, above[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], above2[j-2]+1)
			}
		}
		above2, above, row = above, row, above2
	}
	return above[len(b)]
}
