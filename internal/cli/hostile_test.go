package cli

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/aggregator/api"
	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/internal/canary"
	"github.com/weirnet/weir/internal/ledger"
	"github.com/weirnet/weir/internal/version"
)

// hostileText would clear a screen, set its title, start a sequence of C1, turn a line
// around and begin a new one.
const hostileText = "x\x1b[2J\x1b]0;owned\x07\u009b5n\u202eabc\r\n\t\u2028`|'\"<\x7f"

// poison puts hostileText wherever v has a string, and something wherever it has room.
func poison(v reflect.Value, depth int) {
	if depth > 12 || !v.CanSet() && v.Kind() != reflect.Pointer {
		return
	}
	if v.Type() == reflect.TypeFor[time.Time]() {
		v.Set(reflect.ValueOf(fixedNow()))
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(hostileText)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Int16, reflect.Int8:
		v.SetInt(1)
	case reflect.Uint, reflect.Uint64, reflect.Uint32, reflect.Uint16, reflect.Uint8:
		v.SetUint(1)
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		poison(v.Elem(), depth+1)
	case reflect.Struct:
		for _, f := range v.Fields() {
			poison(f, depth+1)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			poison(v.Index(i), depth+1)
		}
	case reflect.Map:
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		poison(key, depth+1)
		poison(value, depth+1)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(key, value)
	default: // nothing that an answer holds
	}
}

// hostileServer answers each path with what its type can hold, poisoned, and queries and
// streams with flows that are.
func hostileServer(t *testing.T) string {
	t.Helper()
	var r flow.Record
	for f := range flow.FieldID(flow.NumFields) {
		if flow.Fields[f].Type == flow.TypeString {
			if err := r.SetText(f, hostileText); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.SetConnID(7)
	r.SetFirst(true)
	r.SetStart(time.Now().UnixMilli())
	r.SetEnd(time.Now().UnixMilli())
	r.SetProto(17)
	r.SetOutcome(flow.OutcomeDenied)
	s := &api.Server{
		Auth: api.AuthNone, MaxClients: 4, Log: slog.New(slog.DiscardHandler), Hub: api.NewHub(64), Version: version.Info{Version: hostileText, Go: hostileText, Platform: hostileText},
		NotReady: func() []string { return nil }, Books: func() api.Books { return api.Books{} }, Limits: api.DefaultQueryLimits(),
	}
	s.Engine = &memory{s.Hub}
	s.Hub.Publish([]flow.Record{r})
	real := s.Handler()
	answers := map[string]any{
		"why": &api.Why{}, "findings": &api.FindingsAnswer{}, "map": &api.Map{}, "differences": &api.Differences{}, "simulate": &api.Simulation{},
		"changes": &api.Changes{}, "coverage": &api.Coverage{}, "ledger": &api.Books{}, "ledger/minutes": &[]ledger.MinuteBook{}, "verify": &[]canary.NodeRuns{},
		"fields": &[]api.FieldInfo{}, "version": &version.Info{},
	}
	for _, a := range answers {
		poison(reflect.ValueOf(a).Elem(), 0)
	}
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/api/v1/")
		switch a, ok := answers[path]; {
		case r.Header.Get("Authorization") != "": // the token asks for an error
			w.WriteHeader(http.StatusBadGateway)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": hostileText})
		case ok:
			if err := json.NewEncoder(w).Encode(a); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		default:
			real.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(h.Close)
	return h.URL
}

// TestHostileNames: whatever a cluster's names, a server's words and its errors hold, no
// command lets it reach the terminal as it is, in no form of output.
func TestHostileNames(t *testing.T) {
	server := hostileServer(t)
	dir := t.TempDir()
	policy, token := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "token")
	for name, text := range map[string]string{
		policy: "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: a, namespace: b}\nspec: {podSelector: {}}\n", token: "secret\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	forms := func(command string, outputs ...string) (all []string) {
		for _, o := range outputs {
			all = append(all, command+" -o "+o)
		}
		return all
	}
	var commands []string
	for _, x := range [][]string{
		forms("observe --since 1h", outputs...),
		forms("observe --since 1h --numeric", "compact", "wide"),
		forms("query '| fields src.pod, dst.name, dns.query'", queryOutputs...),
		forms("query '| stats conns by src.workload, dst.name'", queryOutputs...),
		forms("top --by src.workload,dst.name", "table", "json"),
		forms("why a b:1", "text", "json"), forms("findings", "text", "json"),
		forms("map", "table", "dot", "mermaid", "json"), forms("diff 'outcome != ok'", "table", "json", "csv", "markdown"),
		forms("simulate -f "+policy, "table", "json", "csv", "markdown"),
		forms("ledger", "table", "json"), forms("ledger --minutes 2", "table", "json"),
		forms("check node --server "+server, "table", "json"), forms("verify --last", "table", "json"), forms("version", "text", "json"),
	} {
		commands = append(commands, x...)
	}
	for _, what := range []string{"fields", "changes", "nodes", "agents", "namespaces", "workloads", "pods", "services", "hosts"} {
		commands = append(commands, forms("get "+what, getOutputs...)...)
	}
	for _, c := range commands {
		for _, extra := range []string{"", " --token-file " + token} {
			args := append(argsOf(t, c+extra), "--server", server)
			var out, errs bytes.Buffer
			env := Env{In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(string) string { return "" }, Now: time.Now}
			status := Run(t.Context(), env, append([]string{"weirctl"}, args...))
			if extra == "" && out.Len() == 0 || extra != "" && status != ExitError {
				t.Errorf("%s: status %d, %d bytes: %s", c, status, out.Len(), errs.String())
			}
			if !strings.Contains(out.String()+errs.String(), "owned") && !strings.Contains(c, "--numeric") {
				t.Errorf("%s shows no hostile name: the test says nothing of it: %s%s", c, out.String(), errs.String())
			}
			for _, r := range out.String() + errs.String() {
				if r != '\n' && unsafeRune(r) {
					t.Errorf("%s%s: %U reaches the terminal:\n%.600q\n%.600q", c, extra, r, out.String(), errs.String())
					break
				}
			}
		}
	}
}
