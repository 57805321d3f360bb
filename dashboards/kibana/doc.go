// Package kibana holds Weir's dashboards for Kibana over Elasticsearch: overview, flow
// records, edges, nodes, policy and outcome, as saved objects.
//
// In: Boards, written down once as panels: which connections, what is summed, by which
// fields. Out: weir.ndjson, which Kibana imports: a data view, a saved search, a Vega-Lite
// visualization a panel, and the dashboards with their controls. Names and types of fields
// come from sinks/elastic/mapping, so that one that the schema lacks fails the build.
//
// Panels are Vega-Lite because their queries stand in them as they are sent: tests run each
// on the real engine and draw it with its answer. No Kibana can be had for the tests; what
// it does with the objects was not seen.
package kibana
