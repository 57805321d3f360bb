// Package render draws a dashboard of Grafana's from its own definition and the answers
// to its queries, as one HTML page with SVG, so that a person can look at it where there
// is no Grafana server. It knows what Weir's dashboards use: stats, tables and time
// series with their units, thresholds, overrides, legends and grid; it is close to what
// Grafana draws and is not the same.
//
// In: a dashboard, a Frame for each panel, the range. Out: HTML. No I/O, no state.
package render
