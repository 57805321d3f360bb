package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weirnet/weir/api/query"
)

// hubbleFlag is a flag of `hubble observe` that is no selector here by the same name.
// With cond it is one, by what it stands for in the language. Without, it is refused,
// and says what to ask instead.
type hubbleFlag struct {
	name  string
	doc   string
	bare  bool                            // takes no value
	cond  func(v string) (string, error)  // the condition that it stands for
	why   string                          // of a refusal
	equal func(v string) (weirctl string) // the arguments of observe that ask the same, or come near
	short string
}

func is(field string) func(string) (string, error) {
	return func(v string) (string, error) { return field + " = " + value(v), nil }
}

// value writes v in the language; * stays a glob.
func value(v string) string {
	if strings.Contains(v, "*") && (query.Value{Text: strings.ReplaceAll(v, "*", "")}).String() == strings.ReplaceAll(v, "*", "") {
		return v
	}
	return query.Value{Text: v}.String()
}

func always(s string) func(string) string { return func(string) string { return s } }

func verdict(v string) (string, error) {
	switch strings.ToLower(v) {
	case "forwarded":
		return "not outcome = denied", nil
	case "dropped":
		return "outcome = denied", nil
	}
	return "", errors.New("a connection is forwarded or dropped: write one of them, or --outcome refused")
}

const noIdentity = "there are no numeric identities: pods are picked by their labels"

// identity says how to ask for what has a numeric or a reserved identity there.
func identity(side string) func(string) string {
	return func(v string) string {
		kind, ok := reserved[strings.TrimPrefix(strings.ToLower(v), "reserved:")]
		switch {
		case !ok:
			return "--" + strings.ReplaceAll(side, ".", "-") + "label app=NAME"
		case side == "":
			return fmt.Sprintf("'src.kind = %s or dst.kind = %[1]s'", kind)
		}
		return fmt.Sprintf("'%skind = %s'", map[string]string{"from.": "src.", "to.": "dst."}[side], kind)
	}
}

// reserved are the identities of Cilium that have a name, as kinds of an end.
var reserved = map[string]string{"world": "external", "world-ipv4": "external", "world-ipv6": "external", "host": "node", "remote-node": "node", "kube-apiserver": "node"}

// hubbleOutputs are forms of output that have another name here.
var hubbleOutputs = map[string]string{"dict": "wide", "jsonpb": "jsonl", "tab": "table"}

// hubbleValue is a value of a selector as hubble has it: one that means the same, or an
// error that says what to write.
func hubbleValue(key, v string) (string, error) {
	switch {
	case strings.HasSuffix(key, "label"):
		if rest, ok := strings.CutPrefix(v, "reserved:"); ok {
			side := map[string]string{"from-label": "from.", "to-label": "to."}[key]
			return "", errors.New("what is no pod has no labels: write " + identity(side)(rest))
		}
		return strings.TrimPrefix(v, "k8s:"), nil
	case key != "protocol":
	case strings.EqualFold(v, "dns"):
		return "", errors.New("DNS is what a connection says, not its protocol: write 'has dns.query'")
	case strings.EqualFold(v, "http"):
		return "", errors.New("HTTP is what a connection says, not its protocol: write 'has http'")
	case strings.EqualFold(v, "icmpv4"):
		return "icmp", nil
	}
	return v, nil
}

// hubbleFlags are flags of hubble observe beside the selectors; docs/hubble.md has a line
// with each.
var hubbleFlags = []hubbleFlag{
	{name: "verdict", doc: "forwarded or dropped (denied by a policy)", cond: verdict},
	{name: "from-fqdn", doc: "client's name outside of the cluster; * stands for any text", cond: is("src.name")},
	{name: "to-fqdn", doc: "server's name outside of the cluster", cond: is("dst.name")},
	{name: "fqdn", doc: "either end's name outside of the cluster", cond: is("name")},
	{name: "to-service", doc: "Service that was dialled", cond: is("service")},
	{name: "cluster", doc: "cluster that the flow was seen in", cond: is("cluster")},
	{name: "snat-ip", doc: "address that the client was translated to", cond: is("proxy_snat.ip")},
	{name: "ipv4", short: "4", doc: "IPv4 only", bare: true, cond: func(string) (string, error) { return "ip = 0.0.0.0/0", nil }},
	{name: "ipv6", short: "6", doc: "IPv6 only", bare: true, cond: func(string) (string, error) { return "ip = ::/0", nil }},

	{name: "from-service", why: "a Service dials nobody: name the workload behind it", equal: func(v string) string { return "--from-workload " + v[strings.LastIndex(v, "/")+1:] }},
	{name: "from-cluster", why: "a record names the one cluster that it was seen in", equal: func(v string) string { return "--cluster " + v }},
	{name: "to-cluster", why: "a record names the one cluster that it was seen in", equal: func(v string) string { return "--cluster " + v }},
	{name: "identity", why: noIdentity, equal: identity("")},
	{name: "from-identity", why: noIdentity, equal: identity("from.")},
	{name: "to-identity", why: noIdentity, equal: identity("to.")},
	{name: "drop-reason-desc", why: "a denied connection names its policy and rule", equal: always("'outcome = denied' -o wide")},
	{name: "tcp-flags", why: "a row is a connection, not a packet", equal: tcpFlags},
	{name: "type", short: "t", why: "a row is a connection, not an event", equal: eventType},
	{name: "traffic-direction", why: "a row is a connection with both of its ends", equal: direction},
	{name: "http-status", why: "HTTP is a text of the agents that look into it", equal: httpText(`.*\"http_status\":%s.*`)},
	{name: "http-method", why: "HTTP is a text of the agents that look into it", equal: httpText(`.*\"http_method\":\"%s\".*`)},
	{name: "http-path", why: "HTTP is a text of the agents that look into it", equal: httpText(`.*\"url\":\"%s.*`)},
	{name: "http-url", why: "HTTP is a text of the agents that look into it", equal: httpText(`.*%s.*`)},
	{name: "http-header", why: "headers are not recorded", equal: always("'has http'")},
	{name: "node-label", why: "labels of nodes are not recorded, their zone is", equal: zoneOf},
	{name: "interface", why: "interfaces are not recorded", equal: always("--node-name NODE")},
	{name: "encrypted", bare: true, why: "whether a path is encrypted is not recorded and cannot be asked; for all that goes between nodes", equal: always("'scope = cross_node'")},
	{name: "unencrypted", bare: true, why: "whether a path is encrypted is not recorded and cannot be asked; for all that goes between nodes", equal: always("'scope = cross_node'")},
	{name: "uuid", why: "a connection has a number of 16 hexadecimal digits", equal: always("'conn_id = 00c0ffee00c0ffee'")},
	{name: "trace-id", why: "trace identifiers are not recorded", equal: always("'conn_id = 00c0ffee00c0ffee'")},
	{name: "cel-expression", why: "the condition is in Weir's language", equal: always("'checkout outcome != ok'")},
	{name: "allowlist", why: "the condition is in Weir's language", equal: always("'checkout outcome != ok'")},
	{name: "denylist", why: "the condition is in Weir's language", equal: always("'not (ns = kube-system or port = 53)'")},
	{name: "all", bare: true, why: "the history may be long: say how far back", equal: always("--since 24h")},
	{name: "print-raw-filters", bare: true, why: "the filter is a condition of the language", equal: always("--print-query")},
	{name: "field-mask", why: "columns are a stage of a query", equal: always("weirctl query '| fields src.pod, dst.pod, outcome'")},
	{name: "experimental-field-mask", why: "columns are a stage of a query", equal: always("weirctl query '| fields src.pod, dst.pod, outcome'")},
	{name: "ip-translation", bare: true, why: "names are always shown where they are known", equal: always("--numeric")},
	{name: "print-node-name", bare: true, why: "nodes are columns", equal: always("-o wide")},
	{name: "print-policy-names", bare: true, why: "a denied connection always names its policy", equal: always("-o compact")},
	{name: "time-format", why: "times are local, or UTC", equal: always("--utc")},
	{name: "tls", bare: true, why: "TLS is what the address says", equal: always("--server https://HOST:PORT")},
	{name: "tls-allow-insecure", bare: true, why: "a certificate is always checked", equal: always("--ca-file FILE")},
	{name: "tls-ca-cert-files", why: "it has another name here", equal: always("--ca-file FILE")},
	{name: "tls-client-cert-file", why: "it has another name here", equal: always("--cert-file FILE")},
	{name: "tls-client-key-file", why: "it has another name here", equal: always("--key-file FILE")},
	{name: "tls-server-name", why: "it has another name here", equal: always("--server-name NAME")},
}

func tcpFlags(v string) string {
	switch {
	case strings.Contains(strings.ToUpper(v), "RST"):
		return "'outcome in (refused, reset)'"
	case strings.Contains(strings.ToUpper(v), "FIN"):
		return "'proto = tcp final = true'"
	}
	return "'proto = tcp first = true'"
}

// zoneOf is the one label of a node that records have.
func zoneOf(v string) string {
	if zone, ok := strings.CutPrefix(v, "topology.kubernetes.io/zone="); ok && zone != "" {
		return "--zone " + zone
	}
	return "--zone ZONE"
}

func eventType(v string) string {
	kind, _, _ := strings.Cut(v, ":")
	switch kind {
	case "drop", "policy-verdict":
		return "'outcome = denied'"
	case "l7":
		return "'has dns.query or has http'"
	}
	return "'not outcome = denied'"
}

func direction(v string) string {
	if strings.EqualFold(v, "ingress") {
		return "--to-pod NAMESPACE/POD"
	}
	return "--from-pod NAMESPACE/POD"
}

func httpText(pattern string) func(string) string {
	return func(v string) string {
		return "'http =~ " + query.Value{Text: "(?s)" + fmt.Sprintf(strings.ReplaceAll(pattern, `\"`, `"`), regexp.QuoteMeta(v))}.String() + "'"
	}
}

// hubbleTerm is the value of one of them.
type hubbleTerm struct {
	o *observe
	f *hubbleFlag
}

func (t hubbleTerm) String() string { return "" }

func (t hubbleTerm) Type() string {
	if t.f.bare {
		return ""
	}
	return "value"
}

// Set takes a value, or refuses it with what to write instead.
func (t hubbleTerm) Set(v string) error {
	if t.f.cond == nil {
		return fmt.Errorf("%s: write %s", t.f.why, t.f.equal(v))
	}
	cond, err := t.f.cond(v)
	if err != nil {
		return err
	}
	if _, err := query.ParseExpr(cond); err != nil {
		return fmt.Errorf("%q is no value for it: %w", v, err)
	}
	t.o.alias(t.f.name, cond)
	return nil
}

// alias adds a condition that a flag stands for: values of one flag are alternatives.
func (o *observe) alias(flag, cond string) {
	not := o.not
	o.not = false
	if not {
		o.aliases = append(o.aliases, aliased{text: []string{"not (" + cond + ")"}})
		return
	}
	for i := range o.aliases {
		if o.aliases[i].flag == flag {
			o.aliases[i].text = append(o.aliases[i].text, cond)
			return
		}
	}
	o.aliases = append(o.aliases, aliased{flag, []string{cond}})
}

// aliased is what one flag stands for.
type aliased struct {
	flag string
	text []string
}

// aliasExpr is what all such flags stand for together.
func (o *observe) aliasExpr() (query.Expr, error) {
	var all []string
	for _, a := range o.aliases {
		all = append(all, "("+strings.Join(a.text, " or ")+")")
	}
	return query.ParseExpr(strings.Join(all, " "))
}

func bindHubble(f *pflag.FlagSet, o *observe) {
	for i := range hubbleFlags {
		h := &hubbleFlags[i]
		doc := h.doc
		if h.cond == nil {
			doc = h.why
		}
		fl := f.VarPF(hubbleTerm{o, h}, h.name, h.short, doc)
		fl.Hidden = h.cond == nil
		if h.bare {
			fl.NoOptDefVal = "true"
		}
	}
}
