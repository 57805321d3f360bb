package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
)

// Prometheus is a real Prometheus in a process of its own.
type Prometheus struct {
	process
	URL string
}

// StartPrometheus starts one with a configuration (prometheus.yml) and an empty database,
// and ends it with the test.
func StartPrometheus(t testing.TB, config string) *Prometheus {
	t.Helper()
	bin := NeedTool(t, "prometheus")
	dir := t.TempDir()
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := fmt.Sprint("127.0.0.1:", FreePorts(t, 1)[0])
	p := &Prometheus{process: process{name: "Prometheus"}, URL: "http://" + listen}
	p.start(t, exec.Command(bin, "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+listen, "--log.level=warn"), func() bool {
		resp, err := http.Get(p.URL + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	t.Cleanup(p.Kill)
	return p
}

// Series is one of an answer, with its value now.
type Series struct {
	Labels map[string]string
	Value  float64
}

// Query asks an expression now.
func (p *Prometheus) Query(t testing.TB, expr string) (out []Series) {
	t.Helper()
	var got struct {
		Result []struct {
			Metric map[string]string
			Value  [2]any
		}
	}
	p.Get(t, "query?query="+url.QueryEscape(expr), &got)
	for _, r := range got.Result {
		text, _ := r.Value[1].(string)
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%s: value %v", expr, r.Value)
		}
		out = append(out, Series{r.Metric, v})
	}
	return out
}

// Number asks an expression that gives one series; false if it gives none.
func (p *Prometheus) Number(t testing.TB, expr string) (float64, bool) {
	t.Helper()
	s := p.Query(t, expr)
	if len(s) > 1 {
		t.Fatalf("%s gives %d series", expr, len(s))
	}
	if len(s) == 0 {
		return 0, false
	}
	return s[0].Value, true
}

// Get asks a path below /api/v1 and decodes the data of its answer.
func (p *Prometheus) Get(t testing.TB, path string, data any) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, p.URL+"/api/v1/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if got.Status != "success" {
		t.Fatalf("%s: %s", path, got.Error)
	}
	if err := json.Unmarshal(got.Data, data); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
