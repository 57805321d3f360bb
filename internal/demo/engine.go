package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// engine is a database or a broker that the demo feeds besides its file: a script that
// knows how it is served and asked (test/demo). The zero value is none.
type engine struct {
	script string
	name   string
}

// engineOf checks that the script is there.
func engineOf(script string) (engine, error) {
	if script == "" {
		return engine{}, nil
	}
	if !isFile(script) {
		return engine{}, fmt.Errorf("--engine: there is no script %s: those that are, are in test/demo, and `make demo SINK=NAME` takes one", script)
	}
	path, err := filepath.Abs(script)
	return engine{path, strings.TrimSuffix(filepath.Base(path), ".sh")}, err
}

// say runs a verb of the script and gives what it prints.
func (e engine) say(ctx context.Context, verb string, timeout time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", e.script, verb)
	cmd.Env = append(os.Environ(), markEnv)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", e.script, verb, err, out)
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// start serves it, waits until it answers, and gives its part of the aggregator's sinks;
// nil where there is none.
func (e engine) start(ctx context.Context) (sink map[string]any, err error) {
	if e.script == "" {
		return nil, nil
	}
	dir := filepath.Join(runDir, "engine")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	if err := start(process{name: "engine", path: "bash", args: []string{e.script, "serve", dir}}); err != nil {
		return nil, err
	}
	deadline := time.Now().Add(2 * time.Minute)
	for {
		if _, err = e.say(ctx, "ready", 10*time.Second); err == nil {
			break
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s does not answer\n%s", e.name, logTail("engine")), ctx.Err())
		}
		pause(ctx, 200*time.Millisecond)
	}
	text, err := e.say(ctx, "sink", 10*time.Second)
	if err != nil {
		return nil, err
	}
	return sink, yaml.UnmarshalStrict([]byte(text), &sink)
}

// show asks it something and says where to look.
func (e engine) show(ctx context.Context, out io.Writer) error {
	if e.script == "" {
		return nil
	}
	// An answer is worth a look when there is something to tell of.
	for end := time.Now().Add(20 * time.Second); ctx.Err() == nil && time.Now().Before(end); pause(ctx, 500*time.Millisecond) {
		text, err := e.say(ctx, "count", 10*time.Second)
		if n, _ := strconv.Atoi(strings.TrimSpace(text)); err == nil && n >= 100 { // an empty bucket is an error
			break
		}
	}
	answer, err := e.say(ctx, "ask", time.Minute)
	if err != nil {
		return err
	}
	look, err := e.say(ctx, "look", 10*time.Second)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%s answers:\n%s\n\nlook there yourself:\n  %s\n\n", e.name, answer, strings.ReplaceAll(look, "\n", "\n  "))
	return nil
}

// count compares the records it has with those of the file.
func (e engine) count(ctx context.Context, out io.Writer, records int) error {
	if e.script == "" {
		return nil
	}
	text, err := e.say(ctx, "count", time.Minute)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("%s count: %w", e.script, err)
	}
	fmt.Fprintf(out, "%s has %d records, the file %d\n", e.name, n, records)
	if n != records {
		return fmt.Errorf("%s has %d records and the file %d", e.name, n, records)
	}
	return nil
}
