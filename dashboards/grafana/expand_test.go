package grafana_test

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// picked is what a person picked: the values of variables, none for All.
type picked struct {
	cluster, namespace, workload []string
	direction, verdict           string
	filter                       string // the hidden variable's value, once it was asked
}

func (p *picked) values(name string) (values []string, all bool) {
	switch name {
	case "cluster":
		return p.cluster, len(p.cluster) == 0
	case "namespace":
		return p.namespace, len(p.namespace) == 0
	case "workload":
		return p.workload, len(p.workload) == 0
	case "direction":
		return []string{p.direction}, false
	case "verdict":
		return []string{p.verdict}, false
	case "filter":
		return []string{p.filter}, false
	case "weir":
		return []string{"https://weir.example"}, false
	}
	return nil, false
}

// span is a dashboard's range; step is what Grafana makes of it and of the panel's width.
type span struct {
	from, to time.Time
	step     time.Duration
}

var (
	variable = regexp.MustCompile(`\$\{(\w+)(?::([\w:]+))?\}`)
	macro    = regexp.MustCompile("\\$__(timeFilter_ms|timeFilter|timeInterval)\\(([`\\w]+)\\)|\\$__interval_s")
)

// expand does to a text what Grafana's variables and the plugin's macros do
// (grafana.com/docs/plugins/grafana-clickhouse-datasource, "Macros").
func expand(text string, p *picked, r span) (string, error) {
	text, err := conditionalAll(text, p)
	if err != nil {
		return "", err
	}
	text = variable.ReplaceAllStringFunc(text, func(m string) string {
		x := variable.FindStringSubmatch(m)
		switch {
		case x[1] == "__from" && x[2] == "date:iso":
			return r.from.UTC().Format("2006-01-02T15:04:05.000Z")
		case x[1] == "__to" && x[2] == "date:iso":
			return r.to.UTC().Format("2006-01-02T15:04:05.000Z")
		}
		values, all := p.values(x[1])
		if values == nil && !all {
			err = fmt.Errorf("no variable %s", m)
		}
		switch x[2] {
		case "singlequote":
			quoted := make([]string, 0, len(values))
			for _, v := range values {
				quoted = append(quoted, "'"+strings.ReplaceAll(v, "'", `\'`)+"'")
			}
			return strings.Join(quoted, ",")
		case "text":
			if all {
				return "All"
			}
			return strings.Join(values, " + ")
		case "percentencode":
			return strings.ReplaceAll(url.QueryEscape(strings.Join(values, ",")), "+", "%20")
		case "":
			return strings.Join(values, ",")
		}
		err = fmt.Errorf("no format %s", m)
		return m
	})
	if err != nil {
		return "", err
	}
	text = macro.ReplaceAllStringFunc(text, func(m string) string {
		x := macro.FindStringSubmatch(m)
		col, a, b := x[2], r.from, r.to
		switch x[1] {
		case "timeFilter":
			return fmt.Sprintf("%[1]s >= toDateTime(%[2]d) AND %[1]s <= toDateTime(%[3]d)", col, a.Unix(), b.Unix())
		case "timeFilter_ms":
			return fmt.Sprintf("%[1]s >= fromUnixTimestamp64Milli(%[2]d) AND %[1]s <= fromUnixTimestamp64Milli(%[3]d)", col, a.UnixMilli(), b.UnixMilli())
		case "timeInterval":
			return fmt.Sprintf("toStartOfInterval(toDateTime(%s), INTERVAL %d second)", col, int(r.step.Seconds()))
		}
		return fmt.Sprint(int(r.step.Seconds()))
	})
	if strings.Contains(text, "$") {
		return "", fmt.Errorf("something is not expanded: %s", text[strings.Index(text, "$"):])
	}
	return text, nil
}

// conditionalAll leaves conditions out whose variable is All, the innermost first.
func conditionalAll(text string, p *picked) (string, error) {
	const name = "$__conditionalAll("
	for {
		i := strings.LastIndex(text, name)
		if i < 0 {
			return text, nil
		}
		args := []string{""}
		depth, n := 1, 0
		for ; depth > 0 && i+len(name)+n < len(text); n++ {
			switch c := text[i+len(name)+n]; {
			case c == '(':
				depth++
			case c == ')':
				depth--
			case c == ',' && depth == 1:
				args = append(args, "")
				continue
			}
			if depth > 0 {
				args[len(args)-1] += text[i+len(name)+n : i+len(name)+n+1]
			}
		}
		if len(args) != 2 || depth != 0 {
			return "", fmt.Errorf("%d arguments: %s", len(args), text[i:])
		}
		cond := args[0]
		if _, all := p.values(strings.TrimPrefix(strings.TrimSpace(args[1]), "$")); all {
			cond = "1=1"
		}
		text = text[:i] + cond + text[i+len(name)+n:]
	}
}
