package cli

import (
	"strings"
	"testing"
	"time"
)

func TestParseWhen(t *testing.T) {
	loc := time.FixedZone("CET", 3600)
	now := time.Date(2026, 11, 25, 13, 30, 0, 0, loc)
	for in, want := range map[string]string{
		"5m":                     "2026-11-25T13:25:00+01:00",
		"-5m":                    "2026-11-25T13:25:00+01:00",
		"2d":                     "2026-11-23T13:30:00+01:00",
		"1d12h":                  "2026-11-24T01:30:00+01:00",
		"1w":                     "2026-11-18T13:30:00+01:00",
		"now":                    "2026-11-25T13:30:00+01:00",
		"12:05":                  "2026-11-25T12:05:00+01:00",
		"12:05:09":               "2026-11-25T12:05:09+01:00",
		"14:05":                  "2026-11-24T14:05:00+01:00", // not here yet: yesterday's
		"today 12:05":            "2026-11-25T12:05:00+01:00",
		"yesterday 14:05":        "2026-11-24T14:05:00+01:00",
		"yesterday":              "2026-11-24T00:00:00+01:00",
		"today":                  "2026-11-25T00:00:00+01:00",
		"2026-11-25T14:05Z":      "2026-11-25T15:05:00+01:00",
		"2026-11-25T14:05+02:00": "2026-11-25T13:05:00+01:00",
		"2026-11-25 14:05":       "2026-11-25T14:05:00+01:00",
		"2026-11-25T14:05:07Z":   "2026-11-25T15:05:07+01:00",
		"2026-11-25T14:05:07.5Z": "2026-11-25T15:05:07+01:00",
		"2026-11-24":             "2026-11-24T00:00:00+01:00",
	} {
		got, err := parseWhen(in, now, loc)
		if err != nil || got.In(loc).Format(time.RFC3339) != want {
			t.Errorf("parseWhen(%q) = %s, %v, want %s", in, got.In(loc).Format(time.RFC3339), err, want)
		}
	}
	for _, in := range []string{"", "tomorrow", "25:00", "yesterday 5m", "2026-13-01", "14:05 yesterday", "5", "1dd", "99999999999999999999d", "1d-2h"} {
		if got, err := parseWhen(in, now, loc); err == nil || !strings.Contains(err.Error(), "is no time: write 5m, 2d, 14:05") {
			t.Errorf("parseWhen(%q) = %s, %v", in, got, err)
		}
	}
}
