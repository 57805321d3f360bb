package render

import (
	"fmt"
	"math"
	"reflect"
	"strings"
)

// Number is any number.
func Number(v any) (float64, bool) {
	r := reflect.ValueOf(v)
	switch {
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	case r.CanFloat():
		return r.Float(), !math.IsNaN(r.Float())
	}
	return 0, false
}

// Format writes a number in a unit of Grafana's.
func Format(v float64, unit string) string {
	if what, ok := strings.CutPrefix(unit, "count:"); ok {
		return strings.TrimSpace(scaled(v, 1000, "", "K", "M", "B")) + " " + what
	}
	if what, ok := strings.CutPrefix(unit, "suffix:"); ok {
		return trim(v, 3) + " " + what
	}
	switch unit {
	case "percentunit":
		return trim(v*100, 3) + "%"
	case "bytes":
		return scaled(v, 1024, "B", "KiB", "MiB", "GiB", "TiB")
	case "binBps":
		return scaled(v, 1024, "B/s", "KiB/s", "MiB/s", "GiB/s")
	case "µs":
		return scaled(v, 1000, "µs", "ms", "s")
	case "short":
		return scaled(v, 1000, "", "K", "Mil", "Bil")
	}
	return trim(v, 6)
}

func scaled(v, by float64, units ...string) string {
	i := 0
	for math.Abs(v) >= by && i < len(units)-1 {
		v /= by
		i++
	}
	return strings.TrimSpace(trim(v, 3) + " " + units[i])
}

// trim writes v with so many digits at most.
func trim(v float64, digits int) string {
	if math.Abs(v) >= math.Pow10(digits) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.*g", digits, v)
}
