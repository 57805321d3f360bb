package coverage

import (
	"fmt"
	"slices"
	"strings"
)

// Canary says what became of the canaries of a class of traffic at this node.
type Canary uint8

// The words, worst last.
const (
	CanaryNone    Canary = iota // none was opened
	CanaryBooked                // each was booked exactly
	CanarySkipped               // none could be opened: that says nothing of what is seen
	CanaryWrong                 // booked, and not as it was
	CanaryMissing               // opened, and not booked
)

// CanaryWords names them.
var CanaryWords = [...]string{"none", "booked", "not opened", "booked wrongly", "not booked"}

func (c Canary) String() string { return CanaryWords[c] }

// MarshalText gives the word.
func (c Canary) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText reads the word.
func (c *Canary) UnmarshalText(b []byte) error {
	i := slices.Index(CanaryWords[:], string(b))
	if i < 0 {
		return fmt.Errorf("canary: %q is unknown: use %s", b, strings.Join(CanaryWords[:], ", "))
	}
	*c = Canary(i)
	return nil
}

// Tried is what trying showed of one class of traffic and family.
type Tried struct {
	Class  string `json:"class"`
	Family string `json:"family"`
	Canary Canary `json:"canary"`
	Why    string `json:"why,omitempty"` // unless all was booked
	Remedy string `json:"remedy,omitempty"`
}

// Try puts what canaries showed beside what inspection says. Where the two disagree,
// what was tried decides: an unbooked canary means no, whatever the inspection; a booked
// one makes of unknown a yes, and of no a partly, as it is one connection among many.
func (t *Table) Try(list []Tried) {
	t.Rows = slices.Clone(t.Rows) // the table that was inspected stays as it is
	for i := range t.Rows {
		r := &t.Rows[i]
		r.Inspected, r.Canary, r.CanaryWhy = r.Seen, CanaryNone, ""
		for k := range list {
			if x := &list[k]; x.Class == r.Class && x.Family == r.Family {
				r.try(x)
			}
		}
	}
}

func (r *Row) try(x *Tried) {
	r.Canary, r.CanaryWhy = x.Canary, x.Why
	said := "inspection says " + r.Inspected.String()
	if r.Why != "" {
		said += " (" + r.Why + ")"
	}
	var seen Seen
	why, remedy := "", r.Remedy
	switch {
	case x.Canary == CanaryMissing && r.Seen < SeenNo:
		seen, why, remedy = SeenNo, said+", and a canary was not booked: "+x.Why, x.Remedy
	case x.Canary == CanaryWrong && r.Seen < SeenPartly:
		seen, why, remedy = SeenPartly, said+", and a canary was booked wrongly: "+x.Why, x.Remedy
	case x.Canary == CanaryBooked && r.Seen == SeenUnknown:
		seen, why, remedy = SeenYes, said+", and a canary was booked exactly", ""
	case x.Canary == CanaryBooked && r.Seen == SeenNo:
		seen, why = SeenPartly, said+", and yet a canary was booked exactly"
	default:
		return
	}
	r.Seen, r.Why, r.Remedy = seen, why, remedy
}
