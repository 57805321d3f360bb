package grafana

import (
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

// filters are what the variables add to every WHERE. $__conditionalAll is the plugin's: it
// leaves its condition out while the variable is "All". A variable may fit either end,
// as a bare field does in the query language.
var filters = []string{
	"$__conditionalAll({cluster} IN (${cluster:singlequote}), $cluster)",
	"$__conditionalAll(" + end("ns", "namespace") + ", $namespace)",
	"$__conditionalAll(" + end("workload", "workload") + ", $workload)",
	"('${verdict}' = 'any' OR '${verdict}' = multiIf(" + deniedSQL + ", 'denied', " + allowedSQL + ", 'allowed', 'none'))",
}

func end(field, variable string) string {
	return strings.NewReplacer("F", field, "V", variable).Replace("(('${direction}' != 'to' AND {src.F} IN (${V:singlequote})) OR ('${direction}' != 'from' AND {dst.F} IN (${V:singlequote})))")
}

// filterSQL writes what the variables pick as a condition of the query language, for the
// links to Weir's page. Where they pick everything it is `has end`, which always holds.
var filterSQL = `WITH arrayStringConcat(arrayFilter(x -> x != '', [` +
	words("'cluster'", "cluster") + `,
  ` + words("concat("+side+", 'ns')", "namespace") + `,
  ` + words("concat("+side+", 'workload')", "workload") + `,
  multiIf('${verdict}' = 'any', '', '${verdict}' = 'none', 'not has verdict', 'verdict = ${verdict}')]), ' ') AS text
SELECT if(text = '', 'has end', text)`

const side = "multiIf('${direction}' = 'from', 'src.', '${direction}' = 'to', 'dst.', '')"

func words(field, variable string) string {
	return strings.NewReplacer("F", field, "V", variable).Replace(
		`if('${V:text}' = 'All', '', concat(F, ' in (', arrayStringConcat(arrayMap(x -> concat('"', toString(x), '"'), [${V:singlequote}]), ', '), ')'))`)
}

// Queries of the variables' values.
const (
	clusters = "SELECT DISTINCT {cluster} AS name FROM weir_flows WHERE $__timeFilter_ms({end}) AND {cluster} != '' ORDER BY name"
	spaces   = "SELECT DISTINCT arrayJoin([{src.ns}, {dst.ns}]) AS name FROM weir_flows_by_minute WHERE $__timeFilter(minute) AND name != '' ORDER BY name"
	loads    = "SELECT DISTINCT arrayJoin([{src.workload}, {dst.workload}]) AS name FROM weir_flows_by_pod WHERE $__timeFilter(minute) AND name != '' ORDER BY name"
)

func text(s string) dashboard.StringOrMap { return dashboard.StringOrMap{String: &s} }

func option(label, value string) dashboard.VariableOption {
	return dashboard.VariableOption{
		Selected: new(true), Text: dashboard.StringOrArrayOfString{String: &label}, Value: dashboard.StringOrArrayOfString{String: &value},
	}
}

func allOption() dashboard.VariableOption {
	return dashboard.VariableOption{
		Selected: new(true), Text: dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}}, Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
	}
}

func source(plugin, variable string) common.DataSourceRef {
	return common.DataSourceRef{Type: &plugin, Uid: new("${" + variable + "}")}
}

// flowVariables are those of every dashboard over ClickHouse.
func flowVariables() ([]cog.Builder[dashboard.VariableModel], error) {
	out := []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type(clickhousePlugin),
		pageVariable(),
	}
	for _, v := range []struct{ name, label, sql string }{{"cluster", "Cluster", clusters}, {"namespace", "Namespace", spaces}, {"workload", "Workload", loads}} {
		sql, err := columns(v.sql)
		if err != nil {
			return nil, err
		}
		out = append(out, dashboard.NewQueryVariableBuilder(v.name).Label(v.label).Query(text(sql)).Definition(sql).Datasource(source(clickhousePlugin, "datasource")).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortDisabled).Multi(true).IncludeAll(true).Current(allOption()))
	}
	return append(out,
		dashboard.NewCustomVariableBuilder("direction").Label("Direction").Description("Which end namespace and workload are those of: either, the client (from) or the server (to).").
			Values(text("either,from,to")).Current(option("either", "either")),
		dashboard.NewCustomVariableBuilder("verdict").Label("Verdict").Description("What policy said: denied, allowed, or none where no policy had a say.").
			Values(text("any,allowed,denied,none")).Current(option("any", "any")),
		dashboard.NewQueryVariableBuilder("filter").Query(text(filterSQL)).Definition(filterSQL).Datasource(source(clickhousePlugin, "datasource")).
			Description("The variables as a condition of Weir's query language, for links.").
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Hide(dashboard.VariableHideHideVariable).Current(option("has end", "has end")),
	), nil
}

func pageVariable() cog.Builder[dashboard.VariableModel] {
	return dashboard.NewTextBoxVariableBuilder("weir").Label("Weir's page").Description("Where the links go: the address of an aggregator's API.").
		DefaultValue(text(DefaultPage)).Current(option(DefaultPage, DefaultPage))
}

// DefaultPage is where Weir's page stands before anyone says otherwise.
const DefaultPage = "https://localhost:8443"
