// Package grafana is Weir's dashboards for Grafana as code: flows in ClickHouse, and the
// pipeline's health in Prometheus.
//
// In: nothing. Out: the dashboards as values of Grafana's schema (All), which
// internal/gen/dashgen writes as JSON. A panel over flows is written down once, as what
// it asks in Weir's query language; its SQL and its link to Weir's page are made of that,
// so that both ask the same. Fields are those of api/flow: another name is an error.
//
// A record counts where it ends: a panel and Weir's page, which spreads bytes over the time
// in which they moved, agree but for a minute at either end of a range or a step.
//
// There is no I/O and no state. That the JSON is what a Grafana server wants could be
// checked against its published schema only, not against a server.
package grafana
