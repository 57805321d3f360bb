package collect

import (
	"testing"
	"time"
)

func TestClockOff(t *testing.T) {
	t0 := time.UnixMilli(1_790_000_000_000)
	var c clockOff
	see := func(after, off time.Duration, want time.Duration) {
		t.Helper()
		at := t0.Add(after)
		c.see(at.Add(off), at)
		if got := c.off(); got != want {
			t.Errorf("after %v: %v, want %v", after, got, want)
		}
	}
	see(0, -40*time.Second, -40*time.Second) // told late: it waited for a connection
	see(time.Second, -time.Millisecond, -time.Millisecond)
	see(20*time.Second, -3*time.Second, -time.Millisecond)
	see(70*time.Second, -time.Second, -time.Millisecond)
	see(140*time.Second, -10*time.Minute, -time.Second) // set back: believed once nothing newer contradicts
	see(210*time.Second, -10*time.Minute, -10*time.Minute)
	see(220*time.Second, 90*time.Second, 90*time.Second)
	see(time.Hour, -2*time.Second, -2*time.Second) // after a silence
}
