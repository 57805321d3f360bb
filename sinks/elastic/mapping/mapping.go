// Package mapping writes the text of Weir's schema for Elasticsearch and OpenSearch: the
// name and type of each field of the one table (api/flow) in a document, and the
// component and index templates, lifecycles and policies around them.
//
// In: a Layout (name, shards, retention). Out: bodies of requests as JSON. It opens no
// connection and keeps no state; sinks/elastic sends what it writes, and dashboards/kibana
// takes names and types from here.
//
// A field that a record does not have is not in its document.
package mapping

import (
	"strings"

	"github.com/weirnet/weir/api/flow"
)

// Names in a document that are not fields' own.
const (
	Time        = "@timestamp"  // the record's end
	Connections = "connections" // 1 in the first record of a connection, so that a sum counts connections
	Flows       = "flows"       // in sums by minute: how many records they are of
	Verdict     = "verdict"     // allowed or denied, as the query language means it
)

// Name gives the name of a field in documents: the query language's, with two exceptions.
// The end is @timestamp (end is an alias of it), and the id is the document's own _id, so
// that its name is empty. A name that other names begin with cannot hold a value in a
// document: service is service.name there.
func Name(id flow.FieldID) string {
	if name, ok := renamed[id]; ok {
		return name
	}
	return flow.Fields[id].Name
}

var renamed = map[flow.FieldID]string{flow.FEnd: Time, flow.FID: "", flow.FSvcPortName: "service.name"}

// longest is how many characters of a text are searched: more than Lucene's term of 32,766
// bytes would refuse the whole document. All of it stays in the document.
const longest = 8191

// Type gives the type of a field in the mapping; empty for the id.
func Type(id flow.FieldID) string {
	row := &flow.Fields[id]
	if id == flow.FID {
		return ""
	}
	switch row.Type {
	case flow.TypeU8:
		if flow.EnumWords[id] != nil {
			return "keyword"
		}
		return "short"
	case flow.TypeU16, flow.TypeI32:
		return "integer"
	case flow.TypeU32, flow.TypeI64:
		return "long"
	case flow.TypeU64:
		if row.Unit == "" { // a number that only tells things apart, written in hex
			return "keyword"
		}
		return "long"
	case flow.TypeBool:
		return "boolean"
	case flow.TypeMillis:
		return "date"
	case flow.TypeAddr:
		return "ip"
	default: // texts and UUIDs
		return "keyword"
	}
}

// object is a JSON object.
type object = map[string]any

// Fields gives the type of every name in a document.
func Fields() map[string]string {
	out := map[string]string{Connections: "long", Flows: "long", Verdict: "keyword", flow.Fields[flow.FEnd].Name: "alias"}
	for id := range flow.FieldID(flow.NumFields) {
		if n := Name(id); n != "" {
			out[n] = Type(id)
		}
	}
	return out
}

// Properties is the mapping's tree: src.ns is ns within src.
func Properties() map[string]any {
	root := object{}
	for name, typ := range Fields() {
		at := root
		parts := strings.Split(name, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(object)
			if !ok {
				next = object{"properties": object{}}
				at[p] = next
			}
			at = next["properties"].(object)
		}
		at[parts[len(parts)-1]] = property(name, typ)
	}
	return root
}

func property(name, typ string) object {
	p := object{"type": typ}
	switch typ {
	case "alias":
		p["path"] = Time
	case "date":
		p["format"] = "epoch_millis||strict_date_optional_time"
	case "keyword":
		if id, ok := flow.FieldByName(name); ok && flow.Fields[id].Type == flow.TypeString || name == Name(flow.FSvcPortName) {
			p["ignore_above"] = longest
		}
	}
	return p
}
