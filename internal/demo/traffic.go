package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// generator is the traffic of one pod, running inside the pod's namespace: the
// servers of the shapes that go to it and the clients of those that leave it.
type generator struct {
	w    *world
	pod  string
	mu   sync.Mutex
	made map[string]int // connections begun, by shape

	ports atomic.Uint32 // UDP ports used so far
}

func newGenerator(w *world, pod string) *generator {
	return &generator{w: w, pod: pod, made: map[string]int{}}
}

func (g *generator) count(shape string) {
	g.mu.Lock()
	g.made[shape]++
	g.mu.Unlock()
}

// run serves and dials until ctx ends, then closes what is open in good order.
func (g *generator) run(ctx context.Context) error {
	if err := g.serve(); err != nil {
		return err
	}
	if err := g.writeMade(); err != nil { // the sign that the servers listen
		return err
	}
	var clients sync.WaitGroup
	for _, s := range shapes() {
		if s.from != g.pod {
			continue
		}
		dst, err := g.w.target(&s)
		if err != nil {
			return err
		}
		clients.Go(func() { g.client(ctx, &s, dst) })
	}
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			clients.Wait()
			return g.writeMade()
		case <-tick.C:
			if err := g.writeMade(); err != nil {
				return err
			}
		}
	}
}

// writeMade tells the demo what was made so far.
func (g *generator) writeMade() error {
	g.mu.Lock()
	raw, err := json.Marshal(g.made)
	g.mu.Unlock()
	if err != nil {
		return err
	}
	path := madeFile(g.pod)
	if err := os.WriteFile(path+".new", raw, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// madeFile is where a pod's counts stand.
func madeFile(pod string) string { return filepath.Join(runDir, "made", pod+".json") }

// readMade adds up what all pods made.
func readMade() (map[string]int, error) {
	list, err := filepath.Glob(filepath.Join(runDir, "made", "*.json"))
	if err != nil {
		return nil, err
	}
	sum := map[string]int{}
	for _, path := range list {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		one := map[string]int{}
		if err := json.Unmarshal(raw, &one); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for k, n := range one {
			sum[k] += n
		}
	}
	return sum, nil
}

// target is the address that a shape dials.
func (w *world) target(s *shape) (netip.AddrPort, error) {
	addrs := outsideAddrs()
	switch how, name, _ := strings.Cut(s.to, "/"); how {
	case outside:
	case "svc":
		addrs = w.service(name).vips
	case "nodeport":
		addrs = w.nodes[0].addrs
	default:
		p := w.pod(s.to)
		if p == nil {
			return netip.AddrPort{}, fmt.Errorf("shape %s: no pod %s in the manifests", s.name, s.to)
		}
		addrs = p.addrs
	}
	for _, a := range addrs {
		if a.Is4() == (s.family == 4) {
			return netip.AddrPortFrom(a, s.port), nil
		}
	}
	return netip.AddrPort{}, fmt.Errorf("shape %s: %s has no IPv%d address", s.name, s.to, s.family)
}

// servers lists the pods (or outside) at which a shape may arrive.
func (w *world) servers(s *shape) []string {
	how, name, ok := strings.Cut(s.to, "/")
	if !ok {
		return []string{how}
	}
	var list []string
	for _, b := range w.service(name).backends {
		for i := range w.pods {
			for _, a := range w.pods[i].addrs {
				if a == b.Addr() {
					list = append(list, w.pods[i].name)
				}
			}
		}
	}
	return list
}

// serve opens the servers of this pod, one a port and protocol, both families.
func (g *generator) serve() error {
	opened := map[string]bool{}
	for _, s := range shapes() {
		here := false
		for _, p := range g.w.servers(&s) {
			here = here || p == g.pod
		}
		key := fmt.Sprintf("%s/%d", s.kind.proto(), s.server)
		if s.phase == before && g.w.staged {
			continue
		}
		// Nobody listens where an attempt goes, but for the one whose reply is lost.
		attempt := s.kind == tcpAttempt && s.server != portLostReply
		if !here || opened[key] || attempt || s.kind == icmpEcho {
			continue
		}
		opened[key] = true
		addr := fmt.Sprintf(":%d", s.server)
		if s.kind.proto() == "udp" {
			c, err := net.ListenPacket("udp", addr)
			if err != nil {
				return fmt.Errorf("serve %s: %w", s.name, err)
			}
			if s.kind == udpDNS {
				go resolve(c)
			} else {
				go answer(c, s.kind == udpSilent)
			}
			continue
		}
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return fmt.Errorf("serve %s: %w", s.name, err)
		}
		go accept(l, s.kind)
	}
	return g.listen(opened)
}

// listen opens what the pod's containers say they listen on, and no shape has opened.
func (g *generator) listen(opened map[string]bool) error {
	p := g.w.pod(g.pod)
	if p == nil {
		return nil
	}
	for _, port := range p.ports {
		if opened[fmt.Sprintf("tcp/%d", port)] {
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return fmt.Errorf("serve port %d of %s: %w", port, p.name, err)
		}
		go accept(l, tcpShort)
	}
	return nil
}

func accept(l net.Listener, k kind) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			buf := make([]byte, 64<<10)
			for {
				n, err := c.Read(buf)
				if err != nil {
					return
				}
				if _, err := c.Write(buf[:n]); err != nil {
					return
				}
				if k == tcpVanish {
					time.Sleep(time.Second) // the reply's acknowledgement comes first
					vanish(c)
					return
				}
			}
		}()
	}
}

func answer(c net.PacketConn, silent bool) {
	buf := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		if !silent {
			_, _ = c.WriteTo(buf[:n], from) // a lost answer is the client's to notice
		}
	}
}
