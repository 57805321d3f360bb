package nflog

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weirnet/weir/api/flow"
)

// Hook is where in the packet's way the rule stood (enum nf_inet_hooks).
type Hook uint8

// The hooks.
const (
	Prerouting Hook = iota
	Input
	Forward
	Output
	Postrouting
	Ingress
)

// HookWords are the words of Hook.
var HookWords = [...]string{"prerouting", "input", "forward", "output", "postrouting", "ingress"}

func (h Hook) String() string {
	if int(h) < len(HookWords) {
		return HookWords[h]
	}
	return "unknown"
}

// Denial is one packet that a rule denied.
type Denial struct {
	TimeMs int64 // when it was logged, Unix ms
	// Tuple is the packet's, in its own direction. It has no ports where Fragment is
	// set.
	Tuple    flow.Tuple
	Fragment bool
	Hook     Hook
	In, Out  string // interfaces; "" for none
	Group    uint16
	Prefix   string          // as it was logged
	Action   flow.RuleAction // drop or reject
	Policy   string          // "" where the prefix names none
	Rule     string          // "" where the prefix names none
}

// Rule says what a prefix means.
type Rule struct {
	Group  uint16
	Prefix string          // the beginning of the logged prefix; "" for every one
	Action flow.RuleAction // RuleActionDrop or RuleActionReject
	// Names says what the rest of the prefix names: NamesRule, NamesPolicy or
	// NamesBoth ("policy rule", cut at the last blank or bar).
	Names Names
}

// Names says what the rest of a prefix names.
type Names uint8

// What it may name.
const (
	NamesRule Names = iota
	NamesPolicy
	NamesBoth
	NamesNothing
)

// NamesWords are the words of Names.
var NamesWords = []string{"rule", "policy", "policy-rule", "nothing"}

// maxRules bounds the list; each message is compared with all of its group.
const maxRules = 256

// rules are the rules, the longest prefix of a group first.
type rules []Rule

// compile checks the rules and orders them.
func compile(list []Rule) (rules, error) {
	if len(list) == 0 {
		return nil, fmt.Errorf("no prefix is given: name the group and the prefix that your rules log")
	}
	if len(list) > maxRules {
		return nil, fmt.Errorf("%d prefixes are given: at most %d", len(list), maxRules)
	}
	r := slices.Clone(rules(list))
	for i, a := range r {
		if a.Action != flow.RuleActionDrop && a.Action != flow.RuleActionReject {
			return nil, fmt.Errorf("prefix %q of group %d: a denial drops or rejects", a.Prefix, a.Group)
		}
		for _, b := range r[:i] {
			if a.Group == b.Group && a.Prefix == b.Prefix {
				return nil, fmt.Errorf("prefix %q of group %d is given twice: remove one", a.Prefix, a.Group)
			}
		}
	}
	slices.SortStableFunc(r, func(a, b Rule) int { return len(b.Prefix) - len(a.Prefix) })
	return r, nil
}

// groups lists the groups that are named, each once.
func (r rules) groups() []uint16 {
	var list []uint16
	for i := range r {
		list = append(list, r[i].Group)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// name fills in what the prefix says, and whether a rule matched.
func (r rules) name(d *Denial) bool {
	for i := range r {
		m := &r[i]
		if m.Group != d.Group || !strings.HasPrefix(d.Prefix, m.Prefix) {
			continue
		}
		d.Action = m.Action
		rest := strings.Trim(d.Prefix[len(m.Prefix):], " :|")
		switch m.Names {
		case NamesRule:
			d.Rule = rest
		case NamesPolicy:
			d.Policy = rest
		case NamesBoth:
			if i := strings.LastIndexAny(rest, " |"); i >= 0 {
				d.Policy, d.Rule = strings.TrimRight(rest[:i], " |"), rest[i+1:]
			} else {
				d.Policy = rest
			}
		case NamesNothing:
		}
		return true
	}
	return false
}

// printable is the prefix as text: what the kernel cut in the middle of a letter,
// or what is no text, is replaced.
func printable(b []byte) string {
	s := string(b)
	if utf8.ValidString(s) && strings.IndexFunc(s, control) < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if control(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

func control(r rune) bool { return r < ' ' || r == 0x7f }
