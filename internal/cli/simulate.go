package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/kube"
	"github.com/weirnet/weir/internal/limitfile"
)

const simulateLong = `Say which recorded connections NetworkPolicies would deny or allow that are otherwise now.
The policies of the files are added, or replace those of the same name; --remove takes one
away. Nothing is changed in the cluster. Connections are judged by the labels that were
recorded with them and by the policies in force now, evaluated, not observed.`

const simulateExample = `  weirctl simulate -f policy.yaml --since 24h
  kustomize build . | weirctl simulate -f - -n shop --since 7d --fail
  weirctl simulate --remove shop/default-deny`

type simulation struct {
	answer
	files     []string
	remove    []string
	namespace string
	denied    bool
}

func simulateCommand(env *Env, c *client) *cobra.Command {
	s := &simulation{answer: answer{env: env, api: c}}
	cmd := &cobra.Command{
		Use: "simulate -f FILE [CONDITION]", Short: "Say what NetworkPolicies would do to recorded connections", Long: simulateLong, Example: simulateExample,
		ValidArgsFunction: c.completeCondition,
		RunE:              func(cmd *cobra.Command, args []string) error { return s.run(cmd.Context(), strings.Join(args, " ")) },
	}
	s.bind(cmd, "24h", "table", "json", "csv", "markdown")
	f := cmd.Flags()
	f.StringArrayVarP(&s.files, "filename", "f", nil, "file with NetworkPolicies as YAML (- for standard input; several times)")
	f.StringArrayVar(&s.remove, "remove", nil, "NAMESPACE/NAME of a policy that would go (several times)")
	f.StringVarP(&s.namespace, "namespace", "n", "", "namespace of policies that name none")
	f.BoolVar(&s.denied, "fail", false, "exit with status 1 where a connection would be denied that is not denied now")
	return cmd
}

func (s *simulation) run(ctx context.Context, cond string) error {
	if err := oneOf("output", s.output, "table", "json", "csv", "markdown"); err != nil {
		return err
	}
	if _, err := query.ParseExpr(cond); err != nil {
		return usageError{fmt.Errorf("condition: %w", err)}
	}
	if len(s.files) == 0 && len(s.remove) == 0 {
		return usagef("a policy is wanted: -f FILE, or --remove NAMESPACE/NAME")
	}
	text, err := s.read()
	if err != nil {
		return err
	}
	v := url.Values{"q": {cond}, "remove": s.remove}
	if s.namespace != "" {
		v.Set("namespace", s.namespace)
	}
	if err := s.time.put(v, s.env.Now(), zone(s.utc)); err != nil {
		return err
	}
	var x api.Simulation
	if err := s.api.askJSON(ctx, "/api/v1/simulate", v, &content{"application/yaml", bytes.NewReader(text)}, &x); err != nil {
		return err
	}
	if err := s.print(&x); err != nil {
		return err
	}
	s.footer(&x)
	if s.denied && x.Denied > 0 {
		return fmt.Errorf("%s would be denied", plural(x.Denied, "connection"))
	}
	if s.fail && len(x.Changed) == 0 {
		return errEmpty
	}
	return nil
}

// read reads the files and finds what is wrong in them, with its file and line, before
// anybody is asked.
func (s *simulation) read() ([]byte, error) {
	var all bytes.Buffer
	var errs []error
	for _, name := range s.files {
		b, err := s.file(name)
		if err != nil {
			return nil, fmt.Errorf("read -f: %w", err)
		}
		if name == "-" {
			name = "standard input"
		}
		if _, err := kube.ReadPolicies(name, b, s.namespace); err != nil {
			errs = append(errs, err)
		}
		all.WriteString("---\n")
		all.Write(b)
		all.WriteString("\n")
	}
	if err := errors.Join(errs...); err != nil {
		return nil, usageError{err}
	}
	return all.Bytes(), nil
}

func (s *simulation) file(name string) ([]byte, error) {
	if name != "-" {
		return limitfile.Read(name, kube.MaxPolicyText)
	}
	b, err := io.ReadAll(io.LimitReader(s.env.In, kube.MaxPolicyText+1))
	if err == nil && len(b) > kube.MaxPolicyText {
		err = fmt.Errorf("standard input has more than %d bytes", kube.MaxPolicyText)
	}
	return b, err
}

func (s *simulation) print(x *api.Simulation) error {
	if s.output == "json" {
		return writeJSON(s.env.Out, x)
	}
	t := &grid{heads: []string{"NOW", "THEN", "CONNS", "FROM", "TO", "FIRST SEEN", "LAST SEEN", "WHY"}}
	for i := range x.Changed {
		g := &x.Changed[i]
		port := ""
		if g.Port != 0 {
			port = strconv.Itoa(int(g.Port))
		}
		to := withPort(g.Dst, port)
		if g.Proto != 6 {
			to += "/" + flow.ProtocolName(g.Proto)
		}
		t.add(g.Was, g.Becomes, strconv.FormatUint(g.Count, 10), g.Src, to, s.when(g.FirstMs), s.when(g.LastMs), g.Why)
	}
	return t.write(s.env.Out, s.output)
}

// footer says what was judged, and what was not and why.
func (s *simulation) footer(x *api.Simulation) {
	for _, p := range x.Policies {
		fmt.Fprintf(s.env.Err, "%s/%s %s\n", clean(p.Namespace), clean(p.Name), clean(string(p.Change)))
	}
	fmt.Fprintf(s.env.Err, "%s judged: %d newly denied, %d newly allowed, %d unchanged\n", plural(x.Judged, "connection"), x.Denied, x.Allowed, x.Unchanged)
	reasons := make([]string, 0, len(x.Unjudged))
	for why := range x.Unjudged {
		reasons = append(reasons, why)
	}
	slices.Sort(reasons)
	for _, why := range reasons {
		fmt.Fprintf(s.env.Err, "%s not judged: %s\n", plural(x.Unjudged[why], "connection"), clean(why))
	}
	if x.More > 0 {
		fmt.Fprintf(s.env.Err, "%d groups more: narrow them with a condition\n", x.More)
	}
	s.basis(&x.Basis)
}
