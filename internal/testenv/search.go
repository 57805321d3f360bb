package testenv

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Kinds of Search.
const (
	Elasticsearch = "es8"
	OpenSearch    = "opensearch"
)

// Search is a real Elasticsearch or OpenSearch in a process of its own (test/search).
type Search struct {
	URL      string // of the HTTP port; the same after Start again
	Kind     string
	Settings []string // setting=value
	Dir      string   // of the data

	cmd   *exec.Cmd
	stdin io.Closer
	log   *syncBuffer
}

// StartSearch starts one over an empty directory and ends it with the test.
func StartSearch(t testing.TB, kind string, settings ...string) *Search {
	t.Helper()
	if testing.Short() {
		t.Skip("needs " + kind + ": not part of -short")
	}
	for _, tool := range []string{"javac", "mvn", "curl", "unzip"} {
		NeedTool(t, tool)
	}
	s := &Search{Kind: kind, Settings: settings, Dir: t.TempDir()}
	s.Start(t)
	t.Cleanup(s.Kill)
	return s
}

// Start starts the server over the data that it had, at the address that it had.
func (s *Search) Start(t testing.TB) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	run := filepath.Join(filepath.Dir(file), "..", "..", "test", "search", "run.sh")
	args := append([]string{run, s.Kind, s.Dir}, s.Settings...)
	if s.URL != "" {
		args = append(args, "http.port="+s.URL[strings.LastIndexByte(s.URL, ':')+1:])
	}
	s.log = &syncBuffer{}
	s.cmd = exec.Command("bash", args...)
	s.cmd.Env, s.cmd.Stderr = append(os.Environ(), "LAB_STDIN=1"), s.log
	in, err := s.cmd.StdinPipe() // held open: its end stops the server, however this process ends
	if err != nil {
		t.Fatal(err)
	}
	s.stdin = in
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line := make(chan string, 1)
	go func() {
		l, _ := bufio.NewReader(out).ReadString('\n')
		line <- l
	}()
	select {
	case l := <-line:
		url, ok := strings.CutPrefix(strings.TrimSpace(l), "URL ")
		if !ok {
			s.Kill()
			t.Fatalf("%s did not start: %q\n%s\n%s", s.Kind, l, s.log, s.serverLog())
		}
		s.URL = url
	case <-time.After(5 * time.Minute):
		s.Kill()
		t.Fatalf("%s did not start in five minutes\n%s\n%s", s.Kind, s.log, s.serverLog())
	}
}

func (s *Search) serverLog() string {
	b, err := os.ReadFile(filepath.Join(s.Dir, "logs", "server.log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-4000):])
}

// Kill ends the server by SIGKILL.
func (s *Search) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.stdin.Close()
	_ = s.cmd.Wait()
	s.cmd = nil
}
