package obs

import (
	"fmt"
	"sort"
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Docs describes every metric of Weir's own in the order of their names: those that
// were registered here, and those that components registered themselves and that
// have a value.
func (r *Registry) Docs() ([]MetricDoc, error) {
	docs := append([]MetricDoc(nil), r.docs...)
	have := map[string]bool{}
	for _, d := range docs {
		have[d.Name] = true
	}
	families, err := r.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather metrics: %w", err)
	}
	for _, f := range families {
		name := f.GetName()
		if have[name] || !strings.HasPrefix(name, "weir_") && !strings.HasPrefix(name, "antrea_") {
			continue
		}
		d := MetricDoc{Name: name, Help: f.GetHelp(), Type: strings.ToLower(dto.MetricType_name[int32(f.GetType())])}
		for _, l := range f.GetMetric()[0].GetLabel() {
			d.Labels = append(d.Labels, l.GetName())
		}
		docs = append(docs, d)
	}
	sort.Slice(docs, func(i, j int) bool { return docs[i].Name < docs[j].Name })
	return docs, nil
}

// Describe adds the description of a metric that a component registers itself and
// that has no value until something happens.
func (r *Registry) Describe(d MetricDoc) { r.docs = append(r.docs, d) }

const docsHead = `# Metrics reference

<!-- Written by ` + "`make generate`" + `. Do not edit. -->

Served at /metrics of each process (` + "`metrics.listen`" + `), with the usual metrics of the Go runtime and of the process
(` + "`go_*`, `process_*`" + `). Names that begin with antrea_ are those of Antrea's agent and mean the same.
`

// UpdateDocs puts the table of one binary into the text of docs/metrics.md and leaves
// the others as they are.
func UpdateDocs(doc, binary string, docs []MetricDoc) string {
	sections := map[string]string{}
	for _, s := range strings.Split(doc, "\n## ")[1:] {
		name, _, _ := strings.Cut(s, "\n")
		sections[name] = strings.TrimRight(s, "\n") + "\n"
	}
	var b strings.Builder
	b.WriteString(binary + "\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, d := range docs {
		labels := ""
		if len(d.Labels) > 0 {
			labels = "`" + strings.Join(d.Labels, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", d.Name, d.Type, labels, strings.ReplaceAll(d.Help, "|", "\\|"))
	}
	sections[binary] = b.String()
	names := make([]string, 0, len(sections))
	for n := range sections {
		names = append(names, n)
	}
	sort.Strings(names)
	var out strings.Builder
	out.WriteString(docsHead)
	for _, n := range names {
		out.WriteString("\n## " + sections[n])
	}
	return out.String()
}
