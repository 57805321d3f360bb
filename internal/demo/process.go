package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// process is a program of the demo, in a namespace of the world or (with an empty
// space) in the machine's own.
type process struct {
	name  string // of its log
	space string
	path  string
	args  []string
}

// start runs p in the background. It leads a process group of its own, so that
// Ctrl-C at the terminal reaches only the demo, which then ends all in order.
func start(p process) error {
	log, err := os.Create(filepath.Join(runDir, "log", p.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), markEnv)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	run := cmd.Start
	if p.space != "" {
		run = func() error { return inSpace(p.space, cmd.Start) }
	}
	if err := run(); err != nil {
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() { _ = cmd.Wait() }() // reap it; its log tells how it ended
	return nil
}

// processes lists the pids of the demo's processes, whoever started them.
func processes() ([]int, error) {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range list {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		env, err := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+markEnv+"\x00")) {
			continue // gone meanwhile, or not ours
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// alive reports whether a process runs (a zombie does not).
func alive(pid int) bool {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(raw, ')')
	return i < 0 || i+2 >= len(raw) || raw[i+2] != 'Z'
}

// end asks pids to stop, waits, and kills what is left.
func end(pids []int, wait time.Duration) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGTERM) // it may be gone already
	}
	deadline := time.Now().Add(wait)
	for {
		left := pids[:0:0]
		for _, pid := range pids {
			if alive(pid) {
				left = append(left, pid)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			for _, pid := range left {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
			deadline = time.Now().Add(wait)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// lock makes the caller the only one that builds or runs a demo on this machine. It
// is an abstract socket: it leaves no file and goes with its process.
func lock() (io.Closer, error) {
	l, err := net.Listen("unix", "@weir-demo")
	if err != nil {
		return nil, fmt.Errorf("another demo runs on this machine: end it with Ctrl-C first (%w)", err)
	}
	return l, nil
}

// down removes all that is the demo's: processes, namespaces, link, files.
func down() error {
	pids, err := processes()
	if err != nil {
		return err
	}
	end(pids, 5*time.Second)
	return errors.Join(removeSpaces(), os.RemoveAll(runDir))
}

// residue names what of the demo is still there.
func residue() ([]string, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	list, err := spaces()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		list = append(list, fmt.Sprintf("process %d", pid))
	}
	if _, err := os.Stat(runDir); err == nil {
		list = append(list, runDir)
	}
	if _, err := os.Stat("/sys/class/net/" + hostLink); err == nil {
		list = append(list, "link "+hostLink)
	}
	return list, nil
}
