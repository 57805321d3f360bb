package cli

import "unicode/utf8"

// key is a rune that was typed, or one of the keys below.
type key rune

// Keys without a rune of their own.
const (
	keyCtrlC     key = 3
	keyCtrlD     key = 4
	keyEnter     key = '\r'
	keyCtrlU     key = 21
	keyEscape    key = 27
	keyBackspace key = 127
	keyUp        key = -1 - iota
	keyDown
	keyHome
	keyOther // a sequence that nothing is bound to
)

// keys reads what a terminal sent in one piece. A sequence that a piece ends within is
// dropped; an ESC alone is the Escape key.
func keys(b []byte) (out []key) {
	for len(b) > 0 {
		if b[0] == 27 && len(b) > 1 && (b[1] == '[' || b[1] == 'O') {
			n := 2
			for n < len(b) && (b[n] < 0x40 || b[n] > 0x7e) { // parameters and the final byte (ECMA-48, 5.4)
				n++
			}
			if n == len(b) {
				return append(out, keyOther)
			}
			switch b[n] {
			case 'A':
				out = append(out, keyUp)
			case 'B':
				out = append(out, keyDown)
			case 'H':
				out = append(out, keyHome)
			default:
				out = append(out, keyOther)
			}
			b = b[n+1:]
			continue
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case r == utf8.RuneError && n == 1:
			out = append(out, keyOther)
		case r == '\n':
			out = append(out, keyEnter)
		case r == 8:
			out = append(out, keyBackspace)
		default:
			out = append(out, key(r))
		}
	}
	return out
}
