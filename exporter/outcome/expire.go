package outcome

import (
	"math"

	"github.com/weirnet/weir/api/flow"
)

// Expire tells what waited long enough for a connection, what has new repeats, and
// forgets what is over. It looks at all that is held: call it once a second, or more often
// while that is little.
func (j *Joiner) Expire(nowMs int64) {
	j.forgetResets(nowMs)
	for k, a := range j.m {
		switch {
		case nowMs-a.lastMs >= j.cfg.QuietMs:
			j.finish(nowMs, k, a)
		case a.joined, a.held == 0:
		case a.seq == 0 && j.due(nowMs, a), a.seq > 0 && nowMs-a.toldMs >= j.cfg.AgainMs:
			j.tell(nowMs, a, false)
		}
	}
}

const askAgainMs = 1000 // after which the kernel is asked again for the entry of an attempt

// due tells whether an attempt has waited long enough for an export of its connection.
// Where the kernel has no entry, no export will come: that of a denied SYN was never
// confirmed, and that of a rejected one died with the RST and was told at once. A denied SYN
// that was sent again already need not be waited for; one that no rule is known to have
// denied must be, as the kernel may hold the word of a denial back for a second.
func (j *Joiner) due(nowMs int64, a *attempt) bool {
	waited := nowMs - a.firstMs
	if waited >= j.cfg.HoldMs {
		return true
	}
	soon := waited < j.cfg.SoonMs && (a.retransmits == 0 || a.denied == 0)
	if soon || j.cfg.Exists == nil || a.denied == 0 && a.tries == 0 && a.rejected == 0 || nowMs-a.askedMs < askAgainMs {
		return false
	}
	a.askedMs = nowMs
	for _, t := range []*flow.Tuple{&a.dialled, &a.endpoint} {
		if *t == (flow.Tuple{}) {
			continue
		}
		if exists, ok := j.cfg.Exists(t); exists || !ok {
			return false
		}
	}
	return true
}

// finish forgets an attempt, and tells what of it is in no record yet. Where nothing is
// new it says nothing: a last word after a minute would be of a connection that the
// aggregator has forgotten.
func (j *Joiner) finish(nowMs int64, k key, a *attempt) {
	delete(j.m, k)
	if a.joined {
		j.stats.Joined += a.held
		j.stats.Held -= a.held
		return
	}
	if a.held > 0 {
		j.tell(nowMs, a, true)
	}
}

// Flush tells all that waits.
func (j *Joiner) Flush(nowMs int64) {
	for k, a := range j.m {
		j.finish(nowMs, k, a)
	}
	j.forgetResets(math.MaxInt64)
}
