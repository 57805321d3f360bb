package canary

import "github.com/weirnet/weir/exporter/coverage"

// Tried gives what the run's canaries show of each class of traffic at their own node:
// whether the kernel tracked them and its agent booked what the kernel counted. What
// lies behind the agent is no matter of coverage: Judge tells it. Pending is true where
// a canary may still come.
func (r *Run) Tried(nowMs int64) (list []coverage.Tried, pending bool) {
	j := judge{sent: r.Sent, agent: &Asked{AtMs: r.Agent.NowMs, View: r.Agent}, agg: &Asked{Skip: true}}
	for i := range r.Sent {
		s := &r.Sent[i]
		x, late := j.tried(s)
		pending = pending || late && nowMs-s.OpenedMs <= r.WaitMs
		list = triedToo(list, x)
	}
	for i := range r.Skipped {
		s := &r.Skipped[i]
		list = triedToo(list, coverage.Tried{Class: s.Class, Family: s.Family, Canary: coverage.CanarySkipped, Why: s.Why, Remedy: s.Remedy})
	}
	return list, pending
}

// tried is what one canary shows; late says that the agent may still book it.
func (j *judge) tried(s *Sent) (x coverage.Tried, late bool) {
	x = coverage.Tried{Class: s.Class, Family: s.Family, Canary: coverage.CanaryBooked}
	state, why, remedy := j.kernelOf(s)
	for _, stage := range []string{StageConntrack, StageTrack} {
		if state == Wrong || state == Missing {
			break
		}
		state, why, remedy = j.stageOf(stage, j.agent, s)
		late = true
	}
	switch state {
	case Wrong:
		x.Canary = coverage.CanaryWrong
	case Missing:
		x.Canary = coverage.CanaryMissing
	default:
		return x, false
	}
	x.Why, x.Remedy = s.String()+": "+why, remedy
	return x, late
}

// triedToo adds what one canary shows to what others of its class did: the worst
// stands, but a way that was not open takes nothing from one that was.
func triedToo(list []coverage.Tried, x coverage.Tried) []coverage.Tried {
	for i := range list {
		have := &list[i]
		switch {
		case have.Class != x.Class || have.Family != x.Family:
			continue
		case have.Canary == coverage.CanaryBooked && x.Canary == coverage.CanarySkipped:
			have.Why, have.Remedy = "another was not opened: "+x.Why, x.Remedy
		case x.Canary > have.Canary:
			*have = x
		}
		return list
	}
	return append(list, x)
}
