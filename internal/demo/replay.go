package demo

import (
	"context"
	_ "embed" // the recording
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"sigs.k8s.io/yaml"
)

// recording is half a minute of node-a of the demo.
//
//go:embed recorded/node-a.ct.gz
var recording []byte

const (
	replayCollect = "127.0.0.1:24739"
	replayTail    = 3 * time.Second // for the last halves to be told
)

// replay is the part of the demo that needs no root: the recorded conntrack stream
// of one node goes through the same binaries.
func replay(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp("", "weir-replay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	agg, err := startReplay(dir, "weir-aggregator", map[string]any{
		"kind": "AggregatorConfig", "dataDir": filepath.Join(dir, "data"),
		"collect":   map[string]any{"tcp": replayCollect, "tls": ""},
		"correlate": map[string]any{"activeTimeout": "5s", "inactiveTimeout": "30s", "halfTimeout": "1s"},
		"api":       map[string]any{"listen": apiAddr, "auth": "none"},
		"metrics":   map[string]any{"listen": ""},
	})
	if err != nil {
		return err
	}
	defer agg.stop()
	if err := agg.answers(ctx, apiAddr); err != nil {
		return err
	}
	watch, err := observe(out)
	if err != nil {
		return err
	}
	defer end([]int{watch.Process.Pid}, time.Second)
	if err := writeManifests(filepath.Join(dir, "manifests"), false); err != nil {
		return err
	}
	file := filepath.Join(dir, "node-a.ct.gz")
	if err := os.WriteFile(file, recording, 0o600); err != nil {
		return err
	}
	agent, err := startReplay(dir, "weir-agent", map[string]any{
		"kind": "AgentConfig", "nodeName": "node-a", "observeOnly": true, "replay": file,
		"conntrack": map[string]any{"pollInterval": "1s"},
		"names":     map[string]any{"source": "manifests", "manifests": filepath.Join(dir, "manifests")},
		"send":      map[string]any{"aggregators": []string{replayCollect}, "transport": "tcp"},
		"metrics":   map[string]any{"listen": ""},
	})
	if err != nil {
		return err
	}
	defer agent.stop()
	select {
	case <-ctx.Done():
		return nil
	case <-agent.done:
	}
	if agent.err != nil {
		return fmt.Errorf("weir-agent: %w\n%s", agent.err, agent.tail())
	}
	pause(ctx, replayTail)
	books, err := readBooks(1)
	if err != nil {
		return err
	}
	end([]int{watch.Process.Pid}, time.Second)
	printBooks(out, books)
	records, connections, bytes := difference(books)
	fmt.Fprintf(out, "\ndifference: %d records, %d connections, %d bytes\n", records, connections, bytes)
	if records != 0 || connections != 0 || bytes != 0 {
		return errors.New("the books do not balance")
	}
	return nil
}

// child is a program that the replay runs and ends.
type child struct {
	name, log string
	cmd       *exec.Cmd
	done      chan struct{}
	err       error // once done is closed
}

func startReplay(dir, name string, config map[string]any) (*child, error) {
	path, err := binary(name)
	if err != nil {
		return nil, err
	}
	config["apiVersion"] = "weir.dev/v1alpha1"
	raw, err := yaml.Marshal(config)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, name+".yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return nil, err
	}
	c := &child{name: name, log: filepath.Join(dir, name+".log"), cmd: exec.Command(path, "--config", file), done: make(chan struct{})}
	log, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	c.cmd.Stdout, c.cmd.Stderr = log, log
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		c.err = c.cmd.Wait()
		close(c.done)
	}()
	return c, nil
}

func (c *child) stop() {
	end([]int{c.cmd.Process.Pid}, 10*time.Second)
	<-c.done
}

func (c *child) tail() string {
	raw, err := os.ReadFile(c.log)
	if err != nil {
		return err.Error()
	}
	return string(raw[max(0, len(raw)-2000):])
}

// answers waits until the address accepts connections.
func (c *child) answers(ctx context.Context, addr string) error {
	for range 500 {
		conn, err := net.DialTimeout("tcp", addr, time.Second)
		if err == nil {
			conn.Close()
			return nil
		}
		select {
		case <-c.done:
			return fmt.Errorf("%s ended at its start: %w\n%s", c.name, c.err, c.tail())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s does not answer on %s\n%s", c.name, addr, c.tail())
}
