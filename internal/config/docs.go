package config

import (
	"fmt"
	"strings"
)

//go:generate go run ../gen/docgen

// Docs writes docs/config.md: every key of every file with its type, default, flag and meaning.
func Docs() string {
	var b strings.Builder
	b.WriteString("# Configuration reference\n\n<!-- Written by `make generate` from internal/config. Do not edit. -->\n\n")
	b.WriteString("Each binary reads one YAML file (`--config FILE`) that begins with `apiVersion: " + APIVersion + "` and its `kind`.\n")
	b.WriteString("A key that is not known is an error. `--check` reads the file, says what is wrong with it and exits; `--dump` prints\n")
	b.WriteString("the configuration in effect. A flag beats the file. Secrets stand in files of their own, never in this one.\n")
	for _, f := range []struct {
		kind, binary string
		cfg          any
	}{{AgentKind, "weir-agent", DefaultAgent()}, {AggregatorKind, "weir-aggregator", DefaultAggregator()}} {
		fmt.Fprintf(&b, "\n## %s (%s)\n\n| key | type | default | flag | meaning |\n|---|---|---|---|---|\n", f.kind, f.binary)
		for _, k := range Keys(f.cfg) {
			dflt, flag := "", ""
			if k.Default != "" {
				dflt = "`" + k.Default + "`"
			}
			if k.Flag != "" {
				flag = "`--" + k.Flag + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.Path, k.Type, dflt, flag, strings.ReplaceAll(k.Doc, "|", "\\|"))
		}
	}
	return b.String()
}
