package mapping

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/weirnet/weir/api/flow"
)

// Latest is the version of the layout. One that an older Weir could not write to has a
// higher number; fields that are new do not raise it.
const Latest = 1

// Ways to let old documents go.
const (
	ByLifecycle = "lifecycle" // the data stream's own lifecycle (Elasticsearch 8.11 and newer)
	ByILM       = "ilm"       // a policy of index lifecycle management
	ByNothing   = "none"
)

// priority of the index template, above those that Elasticsearch brings (100 to 200).
const priority = 300

// Layout is one data stream.
type Layout struct {
	Index            string
	Shards, Replicas int
	Retention        time.Duration // documents go this long after their backing index was rolled over; 0 keeps them
	Way              string        // ByLifecycle, ByILM or ByNothing
	Custom           bool          // leave room for a component template <Index>@custom (Elasticsearch 8.7 and newer)
	Version          string        // of Weir
}

// Meta is noted in what Weir makes, so that another Weir knows it again.
type Meta struct {
	Layout int    `json:"layout"`
	Fields int    `json:"fields"`
	By     string `json:"by"`
}

func (l *Layout) meta() object {
	return object{"weir": Meta{Layout: Latest, Fields: flow.NumFields, By: l.Version}}
}

// Request is one that makes a part of the layout.
type Request struct {
	Path string // PUT
	Body []byte
}

// Put makes a request of a body.
func Put(path string, body map[string]any) Request {
	b, err := json.MarshalIndent(body, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("mapping: %s: %v", path, err)) // of values made here
	}
	return Request{path, append(b, '\n')}
}

// Templates gives the requests that make the layout, in their order.
func (l *Layout) Templates() []Request {
	var out []Request
	settings := object{
		"index.number_of_shards": l.Shards, "index.number_of_replicas": l.Replicas,
		"index.codec": "best_compression", "index.refresh_interval": "5s",
	}
	if l.Way == ByILM && l.Retention > 0 {
		out = append(out, Put("/_ilm/policy/"+l.Index, object{"policy": object{"_meta": l.meta(), "phases": object{
			"hot":    object{"actions": object{"rollover": object{"max_age": span(l.rollover()), "max_primary_shard_size": "50gb"}}},
			"delete": object{"min_age": span(l.Retention), "actions": object{"delete": object{}}},
		}}}))
		settings["index.lifecycle.name"] = l.Index
	}
	out = append(
		out,
		Put("/_component_template/"+l.Index+"@mappings", object{"_meta": l.meta(), "template": object{"mappings": Mappings()}}),
		Put("/_component_template/"+l.Index+"@settings", object{"_meta": l.meta(), "template": object{"settings": settings}}),
	)
	composed := []string{l.Index + "@mappings", l.Index + "@settings"}
	template := object{"index_patterns": []string{l.Index}, "data_stream": object{}, "priority": priority, "_meta": l.meta()}
	if l.Custom {
		composed = append(composed, l.Index+"@custom")
		template["ignore_missing_component_templates"] = []string{l.Index + "@custom"}
	}
	template["composed_of"] = composed
	if l.Way == ByLifecycle {
		template["template"] = object{"lifecycle": l.lifecycle()}
	}
	return append(out, Put("/_index_template/"+l.Index, template))
}

// Lifecycle is the request that changes the lifecycle of a data stream that exists.
func (l *Layout) Lifecycle() Request {
	return Put("/_data_stream/"+l.Index+"/_lifecycle", l.lifecycle())
}

func (l *Layout) lifecycle() object {
	o := object{"enabled": true}
	if l.Retention > 0 {
		o["data_retention"] = span(l.Retention)
	}
	return o
}

// rollover is after how long a backing index ends at the latest, so that documents go not
// much later than they should.
func (l *Layout) rollover() time.Duration {
	return max(time.Hour, min(24*time.Hour*7, l.Retention/10))
}

// span writes a time in whole units, as Elasticsearch wants them.
func span(d time.Duration) string {
	if d%(24*time.Hour) == 0 {
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// Mappings is the body of a request for the mapping. Fields of a newer Weir are kept in
// the documents and not searched until it has renewed the mapping.
func Mappings() map[string]any {
	return object{"dynamic": false, "properties": Properties()}
}
