package kube

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/weirnet/weir/internal/cluster"
)

const (
	// MaxPolicyText bounds the text that ReadPolicies takes, in bytes.
	MaxPolicyText = 1 << 20
	// maxPolicies bounds how many it may hold.
	maxPolicies = 1000
)

// ReadPolicies reads NetworkPolicies (networking.k8s.io/v1) from the YAML or JSON of a
// file called name, strictly: every error says name, line and key, and all are returned
// at once. Those without a namespace are namespace's; where that is "" they are errors.
func ReadPolicies(name string, text []byte, namespace string) ([]*cluster.NetworkPolicy, error) {
	if len(text) > MaxPolicyText {
		return nil, fmt.Errorf("%s: %d bytes are too many: give at most %d", name, len(text), MaxPolicyText)
	}
	r := &policyReader{name: name, namespace: namespace, first: map[string]int{}}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var doc yaml.Node
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // of the syntax: nothing after it can be read
			return nil, errors.Join(append(r.errs, syntax(name, err))...)
		}
		if len(doc.Content) > 0 {
			r.document(doc.Content[0])
		}
	}
	if len(r.errs) == 0 && len(r.list) == 0 {
		return nil, fmt.Errorf("%s: it holds no NetworkPolicy: give one of apiVersion networking.k8s.io/v1", name)
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, err
	}
	return r.list, nil
}

type policyReader struct {
	name, namespace string
	list            []*cluster.NetworkPolicy
	first           map[string]int // the line of each policy
	errs            []error
}

func (r *policyReader) fail(line int, format string, args ...any) {
	if len(r.errs) < 20 {
		r.errs = append(r.errs, fmt.Errorf("%s:%d: %w", r.name, line, fmt.Errorf(format, args...)))
	}
}

// document reads one document, or one item of a List.
func (r *policyReader) document(n *yaml.Node) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return // nothing but comments
	}
	var head struct {
		APIVersion string    `yaml:"apiVersion"`
		Kind       string    `yaml:"kind"`
		Items      yaml.Node `yaml:"items"`
	}
	if n.Kind != yaml.MappingNode {
		r.fail(n.Line, "a NetworkPolicy is wanted here")
		return
	}
	var err error
	if err = n.Decode(&head); err != nil {
		r.errs = append(r.errs, syntax(r.name, err))
		return
	}
	switch head.APIVersion + "/" + head.Kind {
	case "v1/List", "networking.k8s.io/v1/NetworkPolicyList":
		for _, item := range head.Items.Content {
			r.document(item)
		}
	case "networking.k8s.io/v1/NetworkPolicy":
		r.policy(n)
	default:
		r.fail(lineOf(n, "kind"), "kind: apiVersion %q kind %q cannot be simulated: give NetworkPolicy of networking.k8s.io/v1", head.APIVersion, head.Kind)
	}
}

func (r *policyReader) policy(n *yaml.Node) {
	var v any
	if err := n.Decode(&v); err != nil {
		r.errs = append(r.errs, syntax(r.name, err))
		return
	}
	text, err := json.Marshal(v)
	if err != nil {
		r.fail(n.Line, "%w: keys are text", err)
		return
	}
	p := new(networkingv1.NetworkPolicy)
	if err := strict(text, p); err != nil {
		for _, e := range split(err) {
			r.failAt(n, e)
		}
		return
	}
	if p.Namespace == "" {
		p.Namespace = r.namespace
	}
	key := p.Namespace + "/" + p.Name
	switch err := checkPolicy(p); {
	case err != nil:
		r.failAt(n, err)
	case p.Name == "":
		r.fail(n.Line, "metadata.name is missing: give it one")
	case p.Namespace == "":
		r.fail(lineOf(n, "metadata"), "metadata.namespace is missing: write it, or name one with -n")
	case r.first[key] != 0:
		r.fail(n.Line, "%s stands there twice, first at line %d", key, r.first[key])
	case len(r.list) == maxPolicies:
		r.fail(n.Line, "more than %d policies: give fewer", maxPolicies)
	default:
		r.first[key] = n.Line
		r.list = append(r.list, networkPolicy(p))
	}
}

// split parts what strict joins.
func split(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}

// keyPath finds the path of keys in an error of the decoder or of checkPolicy.
var keyPath = regexp.MustCompile(`^(?:unknown field "|duplicate field "|cannot unmarshal .* into Go struct field [A-Za-z0-9]+\.)?((?:metadata|spec|status|apiVersion|kind)(?:\.[A-Za-z0-9]+|\[[0-9]+\])*|[A-Za-z0-9]+(?:\.[A-Za-z0-9]+|\[[0-9]+\])*")`)

func (r *policyReader) failAt(n *yaml.Node, err error) {
	err = clean(err)
	line := n.Line
	if m := keyPath.FindStringSubmatch(err.Error()); m != nil {
		line = lineOf(n, strings.TrimSuffix(m[1], `"`))
	}
	r.fail(line, "%w%s", err, remedy(err.Error()))
}

// lineOf is the line of the key that a path like spec.ingress[0].from leads to, or of
// the last one on the way that is there. An index that the path leaves out is taken as
// the first element that has the rest.
func lineOf(n *yaml.Node, path string) int {
	line, _ := follow(n, strings.FieldsFunc(path, func(c rune) bool { return c == '.' || c == '[' || c == ']' }))
	return line
}

// follow gives the line and how many keys were found.
func follow(n *yaml.Node, keys []string) (line, found int) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	line = n.Line
	if len(keys) == 0 {
		return line, 0
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k := n.Content[i]; k.Value == keys[0] {
				if l, f := follow(n.Content[i+1], keys[1:]); f > 0 {
					return l, f + 1
				}
				return k.Line, 1
			}
		}
	case yaml.SequenceNode:
		if at, err := strconv.Atoi(keys[0]); err == nil {
			if at < len(n.Content) {
				l, f := follow(n.Content[at], keys[1:])
				return l, f + 1
			}
			return line, 0
		}
		for _, e := range n.Content {
			if l, f := follow(e, keys); f > found {
				line, found = l, f
			}
		}
	default: // there are no keys in it
	}
	return line, found
}

var yamlLine = regexp.MustCompile(`(?s)^(?:unmarshal errors:\s*)?line ([0-9]+): (.*)$`)

// syntax names the file and the line of an error of the YAML reader.
func syntax(name string, err error) error {
	text := strings.TrimSpace(strings.TrimPrefix(err.Error(), "yaml: "))
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		return fmt.Errorf("%s:%s: %s", name, m[1], strings.Join(strings.Fields(m[2]), " "))
	}
	return fmt.Errorf("%s: %s", name, text)
}
