// Package nearest finds the word that a mistyped one most likely was meant to be,
// for error texts.
//
// In: what was typed and the words there are. Out: one of them, or none. Pure;
// what is longer than a name can be is not looked at. It holds no state.
package nearest

import "strings"

const maxLen = 64 // bytes of a word that is worth comparing

// Word gives the word of words that s most likely was meant to be, or "".
func Word(s string, words []string) string {
	if len(s) > maxLen {
		return ""
	}
	best, at := "", len(s)/3+2
	for _, w := range words {
		if strings.EqualFold(s, w) {
			return w
		}
		if n := distance(strings.ToLower(s), strings.ToLower(w)); n < at {
			best, at = w, n
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap
// (optimal string alignment).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
