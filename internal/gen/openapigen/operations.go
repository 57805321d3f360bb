package main

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/cluster"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

// operation is one route of the API.
type operation struct {
	method, path, id, summary string
	whole                     bool // for callers who see the whole cluster
	params                    []object
	form                      []object // parameters that a POST may have in its body
	text                      object   // the content of a POST's body that is none
	answers                   []content
	fails                     []int // besides those that every operation has
	notReady                  reflect.Type
}

// content is one form of an answer.
type content struct {
	media string
	body  reflect.Type
	lines []reflect.Type // of a stream: what a line may be
	name  string         // of the schema of a line

	trailer reflect.Type // of CSV: what the last line, a comment, holds
}

const (
	jsonMedia   = "application/json"
	linesMedia  = "application/x-ndjson"
	eventsMedia = "text/event-stream"
)

func answer[T any]() []content { return []content{{media: jsonMedia, body: reflect.TypeFor[T]()}} }

func text(name, doc string, more ...member) object {
	return parameter(name, doc, append(object{{"type", "string"}}, more...))
}

func number(name, doc string, least int, more ...member) object {
	return parameter(name, doc, append(object{{"type", "integer"}, {"minimum", least}}, more...))
}

func words(name, doc string, list any, more ...member) object {
	return parameter(name, doc, append(object{{"type", "string"}, {"enum", list}}, more...))
}

func parameter(name, doc string, schema object) object {
	return object{{"name", name}, {"in", "query"}, {"description", doc}, {"schema", schema}}
}

// repeated is a parameter that may be given several times.
func repeated(p object) object {
	for i, m := range p {
		if m.key == "schema" {
			p[i].value = object{{"type", "array"}, {"items", m.value}}
		}
	}
	return append(p, member{"style", "form"}, member{"explode", true})
}

func needed(p object) object { return append(p, member{"required", true}) }

func sharedParameters() object {
	return object{
		{"since", text("since", "begin of the range: RFC 3339, a duration before now, or milliseconds since the epoch", member{"default", "1h"})},
		{"until", text("until", "end of the range, exclusive; now where it is not given")},
		{"condition", text("q", "a condition of the query language")},
	}
}

var (
	since, until = ref("parameters", "since"), ref("parameters", "until")
	condition    = ref("parameters", "condition")
)

var asked = []object{
	text("q", "a query: a condition, and stages after |"), since, until,
	number("limit", "rows at most, 10000 where it is not given; more, and 0 for all, come as lines or CSV only", 0),
}

var forPeers = []object{
	parameter("part", "for aggregators that ask each other: what this one has, to merge, as "+partMedia, object{{"type", "boolean"}}),
	parameter("live", "for aggregators that ask each other, beside part: the records that ClickHouse may not have yet", object{{"type", "boolean"}}),
	repeated(text("facet", "for aggregators that ask each other: fields by each of which connections are counted")),
	repeated(text("visible", "for aggregators that ask each other: the namespaces of the caller for whom part is asked")),
}

const (
	csvMedia   = "text/csv"
	partMedia  = "application/vnd.weir.part+json"
	partsMedia = "application/vnd.weir.part+x-ndjson"
)

var queryAnswers = []content{
	{media: linesMedia, name: "QueryLine", lines: []reflect.Type{reflect.TypeFor[api.Head](), reflect.TypeFor[query.Row](), reflect.TypeFor[api.TailLine]()}},
	{media: jsonMedia, body: reflect.TypeFor[api.QueryAnswer]()},
	{media: csvMedia, trailer: reflect.TypeFor[api.TailLine]()},
	{media: partMedia, body: reflect.TypeFor[query.Part]()},
	{media: partsMedia, name: "QueryPartLine", lines: []reflect.Type{nil, reflect.TypeFor[api.TailLine](), reflect.TypeFor[api.Note]()}},
}

func operations() []operation {
	return append(aboutFlows(), aboutWeir()...)
}

// aboutFlows asks what happened in the cluster.
func aboutFlows() []operation {
	return []operation{
		{
			method: "GET", path: "flows", id: "streamFlows", summary: "Records as they come, after those held in memory",
			params: []object{
				text("query", "a condition of the query language"),
				repeated(text("where", "a term KEY=VALUE, or !KEY=VALUE; all must hold")),
				number("last", "the newest connections, before what comes", 0),
				text("since", "records from then on, of those held in memory"),
				parameter("follow", "go on with what comes", object{{"type", "boolean"}, {"default", false}}),
			},
			answers: []content{
				{media: linesMedia, name: "FlowLine", lines: []reflect.Type{nil, reflect.TypeFor[api.Note]()}},
				{media: eventsMedia, name: "FlowLine", lines: []reflect.Type{nil, reflect.TypeFor[api.Note]()}},
			},
		},
		{
			method: "GET", path: "query", id: "query", summary: "A query over the history and what is live, of all aggregators",
			params: append(asked, forPeers...), answers: queryAnswers, fails: []int{404, 422},
		},
		{
			method: "POST", path: "query", id: "postQuery", summary: "The same, its parameters as a form",
			form: append(asked, forPeers...), answers: queryAnswers, fails: []int{404, 422},
		},
		{
			method: "GET", path: "complete", id: "complete", summary: "How a query can go on",
			params:  []object{text("text", "the query so far"), number("cursor", "byte offset within text; its end where it is not given", 0), since, until},
			answers: answer[api.CompletionAnswer](),
		},
		{
			method: "GET", path: "findings", id: "findings", summary: "What is otherwise than in the period before, of the same length, worst first",
			params: []object{
				parameter("summary", "leave out retransmits and losses, which the history's sums by minute do not have", object{{"type", "boolean"}, {"default", false}}), since, until,
			},
			answers: answer[api.FindingsAnswer](), fails: []int{404, 422},
		},
		{
			method: "GET", path: "map", id: "map", summary: "Who talks to whom",
			params: []object{
				words("level", "what an end is", []string{"namespace", "workload", "pod"}, member{"default", "workload"}), condition,
				parameter("compare", "with the period before, of the same length", object{{"type", "boolean"}, {"default", false}}),
				parameter("summary", "leave out round trip times, which the history's sums by minute do not have", object{{"type", "boolean"}, {"default", false}}), since, until,
			},
			answers: answer[api.Map](), fails: []int{404, 422},
		},
		{
			method: "GET", path: "why", id: "why", summary: "Why one end does not reach the other",
			params: []object{
				needed(text("src", "NAMESPACE/NAME of a workload or pod, a name, or an address")), needed(text("dst", "the same, or a Service or a host outside")),
				number("port", "the port that is dialled", 1, member{"maximum", 65535}),
				text("conn", "a `conn_id` of the pair: that connection alone, by the policies that were in force at its start"), since, until,
			},
			answers: answer[api.Why](), fails: []int{404, 422},
		},
		{
			method: "GET", path: "differences", id: "differences", summary: "What a region of the connections has more often than the rest, or than the time before",
			params: []object{
				text("q", "the region: a condition of the query language"), text("from", "begin of the region, within since and until"), text("to", "its end, exclusive"),
				words("against", "the other connections of the range, or those that satisfy q in the time before the region, as long as it", []api.Against{api.AgainstRest, api.AgainstPrevious}, member{"default", api.AgainstRest}),
				since, until,
			},
			answers: answer[api.Differences](), fails: []int{404, 422},
		},
		{
			method: "POST", path: "simulate", id: "simulate", summary: "What a change of NetworkPolicies would do to the connections of the range",
			params: []object{
				condition, since, until, text("namespace", "of policies that name none"),
				repeated(text("remove", "NAMESPACE/NAME of a policy that would go")),
			},
			text: object{{"application/yaml", object{{"schema", object{
				{"type", "string"}, {"maxLength", 1 << 20}, {"description", "NetworkPolicies of networking.k8s.io/v1, those that would be added or replaced"},
			}}}}},
			answers: answer[api.Simulation](), fails: []int{404, 422},
		},
		{
			method: "GET", path: "changes", id: "changes", summary: "What happened in the cluster, in the order of time",
			params: []object{
				since, until, repeated(words("kind", "of these kinds", cluster.ChangeKinds)), repeated(text("ns", "of these namespaces, and of none")),
				number("limit", "the newest at most", 1, member{"maximum", 10000}, member{"default", 1000}),
			},
			answers: answer[api.Changes](), fails: []int{404},
		},
	}
}

// aboutWeir asks how far Weir can be believed.
func aboutWeir() []operation {
	return []operation{
		{method: "GET", path: "ledger", id: "ledger", summary: "The books of every stage and agent", whole: true, answers: answer[api.Books]()},
		{
			method: "GET", path: "ledger/minutes", id: "ledgerMinutes", summary: "The books by minute, newest last", whole: true,
			params:  []object{number("last", "minutes", 1, member{"maximum", 1440}, member{"default", 60})},
			answers: answer[[]ledger.MinuteBook](),
		},
		{method: "GET", path: "coverage", id: "coverage", summary: "What the nodes say can be seen of them", whole: true, answers: answer[api.Coverage](), fails: []int{404}},
		{method: "GET", path: "canaries", id: "canaries", summary: "Which of the probe's connections passed which hop", whole: true, answers: answer[canary.View](), fails: []int{404}},
		{method: "GET", path: "verify", id: "verify", summary: "What became of each node's probes", whole: true, answers: answer[[]canary.NodeRuns](), fails: []int{404}},
		{method: "GET", path: "fields", id: "fields", summary: "The fields of records", answers: answer[[]api.FieldInfo]()},
		{method: "GET", path: "version", id: "version", summary: "The aggregator's version", answers: answer[version.Info]()},
		{
			method: "GET", path: "health", id: "health", summary: "Whether all is ready, and what is not",
			answers: answer[api.Health](), notReady: reflect.TypeFor[api.Health](),
		},
		{method: "GET", path: "openapi.json", id: "openapi", summary: "This document", answers: []content{{media: jsonMedia}}},
	}
}

// reasons say what is wrong by status.
var reasons = map[int]string{
	400: "The request is wrong; of a query with the column and the nearest name",
	401: "Nobody's: a token or a client certificate is needed",
	403: "Not for this caller, or of a page of another origin",
	404: "Not kept here",
	422: "The query cannot be answered: too many groups or connections",
	429: "Over a limit, of all callers or of this one",
	503: "Not ready, the query took longer than api.queryTimeout, or the API server did not say whose token it is",
}

func failures() object {
	var o object
	for code := http.StatusBadRequest; code < 600; code++ {
		if why, ok := reasons[code]; ok {
			o = append(o, member{fmt.Sprint("Failure", code), object{
				{"description", why}, {"content", object{{jsonMedia, object{{"schema", ref("schemas", "Failure")}}}}},
			}})
		}
	}
	return o
}

// paths gives all operations, those of one path together.
func (s *schemas) paths() (object, error) {
	s.schema(reflect.TypeFor[api.Failure]())
	var o object
	at := map[string]int{}
	for _, op := range operations() {
		path := "/" + op.path
		if _, ok := at[path]; !ok {
			at[path] = len(o)
			o = append(o, member{path, object{}})
		}
		item := o[at[path]].value.(object) //nolint:forcetypeassert // it was put there as one
		key := map[string]string{"GET": "get", "POST": "post"}[op.method]
		if key == "" {
			return nil, fmt.Errorf("%s %s: the method has no key", op.method, op.path)
		}
		o[at[path]].value = append(item, member{key, s.operation(&op)})
	}
	return o, nil
}

func (s *schemas) operation(op *operation) object {
	o := object{{"operationId", op.id}, {"summary", op.summary}}
	if op.whole {
		o = append(o, member{"description", "For callers who see the whole cluster."}, member{"x-whole-cluster", true})
	}
	if len(op.params) > 0 {
		o = append(o, member{"parameters", op.params})
	}
	if len(op.form) > 0 {
		o = append(o, member{"requestBody", object{{"required", true}, {"content", object{{"application/x-www-form-urlencoded", object{{"schema", form(op.form)}}}}}}})
	}
	if op.text != nil {
		o = append(o, member{"requestBody", object{{"required", true}, {"content", op.text}}})
	}
	ok := object{}
	for _, c := range op.answers {
		ok = append(ok, member{c.media, s.media(&c)})
	}
	responses := object{{"200", object{{"description", op.summary}, {"content", ok}}}}
	for code := http.StatusBadRequest; code < 600; code++ {
		switch code {
		case 400, 401, 403, 429, 503:
		default:
			if !slices.Contains(op.fails, code) {
				continue
			}
		}
		if code == 503 && op.notReady != nil {
			either := object{{"anyOf", []any{s.schema(op.notReady), ref("schemas", "Failure")}}}
			responses = append(responses, member{"503", object{{"description", reasons[503]}, {"content", object{{jsonMedia, object{{"schema", either}}}}}}})
			continue
		}
		responses = append(responses, member{strconv.Itoa(code), ref("responses", fmt.Sprint("Failure", code))})
	}
	return append(o, member{"responses", responses})
}

// media is one form of an answer. Lines have no schema in OpenAPI 3.1 (itemSchema came
// with 3.2): their text is one, and x-item-schema says what each line is.
func (s *schemas) media(c *content) object {
	switch {
	case c.lines != nil:
		var alternatives []any
		for _, t := range c.lines {
			if t == nil {
				alternatives = append(alternatives, ref("schemas", "Flow"))
				continue
			}
			alternatives = append(alternatives, s.schema(t))
		}
		s.add(c.name, object{{"oneOf", alternatives}, {"description", c.name + " is one line of a stream, or the data of one event."}})
		return object{{"schema", object{{"type", "string"}, {"description", "lines of JSON, each a " + c.name}}}, {"x-item-schema", ref("schemas", c.name)}}
	case c.trailer != nil:
		return object{
			{"schema", object{{"type", "string"}, {"description", "RFC 4180 with a header; the last line is # and an object of JSON, about the answer"}}},
			{"x-trailer-schema", s.schema(c.trailer)},
		}
	case c.body == nil:
		s.add("OpenAPI", object{
			{"type", "object"},
			{"description", "OpenAPI is a document of OpenAPI 3.1."},
			{"properties", object{{"openapi", object{{"type", "string"}, {"pattern", "^3[.]1[.]"}}}}},
			{"required", []string{"openapi"}},
			{"additionalProperties", true},
		})
		return object{{"schema", ref("schemas", "OpenAPI")}}
	default:
		return object{{"schema", s.schema(c.body)}}
	}
}

// form is the schema of a body that has parameters.
func form(params []object) object {
	shared := map[string]object{}
	for _, m := range sharedParameters() {
		shared["#/components/parameters/"+m.key] = m.value.(object) //nolint:forcetypeassert // they are
	}
	var props object
	for _, p := range params {
		if p[0].key == "$ref" {
			p = shared[p[0].value.(string)] //nolint:forcetypeassert // as ref makes it
		}
		var name string
		var schema object
		var doc any
		for _, m := range p {
			switch m.key {
			case "name":
				name = fmt.Sprint(m.value)
			case "schema":
				schema = m.value.(object) //nolint:forcetypeassert // as parameter makes it
			case "description":
				doc = m.value
			}
		}
		props = append(props, member{name, append(append(object{}, schema...), member{"description", doc})})
	}
	return object{{"type", "object"}, {"properties", props}, {"additionalProperties", false}}
}
