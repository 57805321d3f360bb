package collect

import "time"

// offWindow is how long what is known of a node's clock rests on: what was under way long
// looks as if it came from a clock that is behind, so the newest of a minute counts.
const offWindow = time.Minute

// clockOff is how far a node's clock is ahead of ours, as far as what it tells shows: the
// greatest difference of a row's time and that of its arrival, of this window and the last.
type clockOff struct {
	began     time.Time
	this, was time.Duration
	full      bool // was is known
}

func (c *clockOff) see(at, heard time.Time) {
	off := at.Sub(heard)
	switch age := heard.Sub(c.began); {
	case c.began.IsZero() || age >= 2*offWindow:
		*c = clockOff{began: heard, this: off}
	case age >= offWindow:
		*c = clockOff{began: heard, this: off, was: c.this, full: true}
	default:
		c.this = max(c.this, off)
	}
}

func (c *clockOff) off() time.Duration {
	if c.full {
		return max(c.this, c.was)
	}
	return c.this
}
