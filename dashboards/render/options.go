package render

import (
	"encoding/json"
	"slices"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// options are what a panel's field config says, of all fields and of some by name.
type options struct {
	unit, none string
	stacked    bool
	bars       bool
	steps      []dashboard.Threshold
	fields     map[string]field
	w, h       int // pixels of the panel
}

type field struct {
	Name, Unit string
	Width      float64
	Color      string            // of a series
	Words      map[string]string // colours of values
}

func optionsOf(p *dashboard.Panel) options {
	o := options{none: "No data", fields: map[string]field{}}
	c := p.FieldConfig
	if c == nil {
		return o
	}
	if c.Defaults.Unit != nil {
		o.unit = *c.Defaults.Unit
	}
	if c.Defaults.NoValue != nil {
		o.none = *c.Defaults.NoValue
	}
	if c.Defaults.Thresholds != nil {
		o.steps = c.Defaults.Thresholds.Steps
	}
	var custom struct {
		DrawStyle string
		Stacking  struct{ Mode string }
	}
	recode(c.Defaults.Custom, &custom)
	o.bars, o.stacked = custom.DrawStyle == "bars", custom.Stacking.Mode == "normal"
	for _, over := range c.Overrides {
		var name string
		if over.Matcher.Id != "byName" {
			continue
		}
		recode(over.Matcher.Options, &name)
		o.fields[name] = fieldOf(over.Properties)
	}
	return o
}

func fieldOf(list []dashboard.DynamicConfigValue) (f field) {
	for _, v := range list {
		switch v.Id {
		case "displayName":
			recode(v.Value, &f.Name)
		case "unit":
			recode(v.Value, &f.Unit)
		case "custom.width":
			recode(v.Value, &f.Width)
		case "color":
			var c struct{ FixedColor string }
			recode(v.Value, &c)
			f.Color = c.FixedColor
		case "mappings":
			var maps []struct {
				Options map[string]struct{ Color string }
			}
			recode(v.Value, &maps)
			f.Words = map[string]string{}
			for _, m := range maps {
				for word, x := range m.Options {
					f.Words[word] = x.Color
				}
			}
		}
	}
	return f
}

// recode reads what is some value of JSON; what does not fit stays empty.
func recode(from, into any) {
	if b, err := json.Marshal(from); err == nil {
		_ = json.Unmarshal(b, into)
	}
}

var named = map[string]string{"text": "#1f2937", "orange": "#d97706", "red": "#dc2626"}

// color is that of a value by the thresholds.
func (o *options) color(v float64) string {
	out := "#1f2937"
	for _, s := range o.steps {
		if s.Value == nil || v >= *s.Value {
			if out = named[s.Color]; out == "" {
				out = s.Color
			}
		}
	}
	return out
}

// palette is Grafana's classic one.
var palette = []string{"#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0", "#508642", "#cca300"}

// colors gives each series one: its own, or that of its place.
func (o *options) colors(names []string) map[string]string {
	out := map[string]string{}
	for i, n := range slices.Compact(names) {
		if out[n] = o.fields[n].Color; out[n] == "" {
			out[n] = palette[i%len(palette)]
		}
	}
	return out
}
