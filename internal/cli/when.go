package cli

import (
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/weirnet/weir/aggregator/api"
)

// timeHelp is what --since and --until take.
const timeHelp = "5m, 2d, 14:05, yesterday 14:05, 2026-11-25 14:05 or RFC 3339"

var days = regexp.MustCompile(`^-?(\d{1,4})(d|w)(.*)$`)

// parseWhen reads a moment as a person writes it: a duration before now (also in days
// and weeks), a time of day, a day and a time, or RFC 3339, whose seconds may be left
// out. A time of day without a day is the last such time before now. What has no zone is
// in loc.
func parseWhen(s string, now time.Time, loc *time.Location) (time.Time, error) {
	now = now.In(loc)
	s = strings.TrimSpace(s)
	if s == "now" {
		return now, nil
	}
	if m := days.FindStringSubmatch(s); m != nil {
		n, _ := strconv.Atoi(m[1]) // at most four digits
		if m[2] == "w" {
			n *= 7
		}
		if m[3] == "" {
			return now.AddDate(0, 0, -n), nil
		}
		if d, err := time.ParseDuration(m[3]); err == nil && d >= 0 {
			return now.AddDate(0, 0, -n).Add(-d), nil
		}
	}
	if at, err := api.ParseTime(s, now); err == nil {
		return at, nil
	}
	day, clock, two := strings.Cut(s, " ")
	if day == "" {
		return now, notTime(s)
	}
	at := now
	switch day {
	case "today":
	case "yesterday":
		at = now.AddDate(0, 0, -1)
	default:
		for _, form := range []string{"2006-01-02T15:04Z07:00", "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", time.DateOnly} {
			if t, err := time.ParseInLocation(form, s, loc); err == nil {
				return t, nil
			}
		}
		if two {
			return at, notTime(s)
		}
		clock = day
	}
	if clock == "" { // the day alone begins at midnight
		clock = "00:00"
	}
	for _, form := range []string{"15:04", "15:04:05"} {
		t, err := time.Parse(form, clock)
		if err != nil {
			continue
		}
		at = time.Date(at.Year(), at.Month(), at.Day(), t.Hour(), t.Minute(), t.Second(), 0, loc)
		if clock == day && at.After(now) {
			at = at.AddDate(0, 0, -1)
		}
		return at, nil
	}
	return at, notTime(s)
}

func notTime(s string) error { return fmt.Errorf("%q is no time: write %s", s, timeHelp) }

// timeRange is --since and --until.
type timeRange struct {
	since, until string
}

// read gives both moments, the zero time where nothing is given.
func (t timeRange) read(now time.Time, loc *time.Location) (since, until time.Time, err error) {
	for _, x := range []struct {
		flag, text string
		into       *time.Time
	}{{"since", t.since, &since}, {"until", t.until, &until}} {
		if x.text == "" {
			continue
		}
		if *x.into, err = parseWhen(x.text, now, loc); err != nil {
			return since, until, usagef("--%s: %w", x.flag, err)
		}
	}
	if !since.IsZero() && !until.IsZero() && !until.After(since) {
		return since, until, usagef("--until: %s is not after --since, %s", until.Format(time.RFC3339), since.Format(time.RFC3339))
	}
	return since, until, nil
}

// put sets since and until of a request.
func (t timeRange) put(v url.Values, now time.Time, loc *time.Location) error {
	since, until, err := t.read(now, loc)
	if err != nil {
		return err
	}
	putRange(v, since, until)
	return nil
}

func putRange(v url.Values, since, until time.Time) {
	if !since.IsZero() {
		v.Set("since", since.UTC().Format(time.RFC3339Nano))
	}
	if !until.IsZero() {
		v.Set("until", until.UTC().Format(time.RFC3339Nano))
	}
}

// zone is local time, or UTC where a flag says so.
func zone(utc bool) *time.Location {
	if utc {
		return time.UTC
	}
	return time.Local
}
