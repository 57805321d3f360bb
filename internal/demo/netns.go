package demo

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const netnsDir = "/run/netns"

// space is one network namespace of the world, open for building.
type space struct {
	name string
	fd   netns.NsHandle
	nl   *netlink.Handle
}

func (s *space) close() {
	s.nl.Close()
	_ = s.fd.Close() // a namespace lives on by its name
}

// newSpace makes the namespace prefix+name, with loopback up and sysctls set
// before any link exists, so that they hold for all links.
func newSpace(name string, sysctls map[string]string) (*space, error) {
	s := &space{name: prefix + name}
	err := onOwnThread(func() (err error) {
		s.fd, err = netns.NewNamed(s.name)
		if err != nil {
			return err
		}
		// An address is usable at once: nobody else is on these links.
		for k, v := range map[string]string{"ipv6/conf/default/accept_dad": "0", "ipv6/conf/default/dad_transmits": "0", "ipv6/conf/default/accept_ra": "0"} {
			if err := setSysctl(k, v); err != nil {
				return err
			}
		}
		for k, v := range sysctls {
			if err := setSysctl(k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("make namespace %s: %w", s.name, err)
	}
	if s.nl, err = netlink.NewHandleAt(s.fd); err != nil {
		return nil, fmt.Errorf("open namespace %s: %w", s.name, err)
	}
	return s, s.up("lo")
}

func setSysctl(key, value string) error {
	if err := os.WriteFile("/proc/sys/net/"+key, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set net/%s: %w", key, err)
	}
	return nil
}

// onOwnThread runs f on a thread that dies with it, so that f may change the
// thread's network namespace.
func onOwnThread(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		done <- f()
	}()
	return <-done
}

// inSpace runs f in the namespace of that full name.
func inSpace(name string, f func() error) error {
	return onOwnThread(func() error {
		ns, err := netns.GetFromName(name)
		if err != nil {
			return fmt.Errorf("open namespace %s: %w", name, err)
		}
		defer func() { _ = ns.Close() }()
		if err := netns.Set(ns); err != nil {
			return fmt.Errorf("enter namespace %s: %w", name, err)
		}
		return f()
	})
}

func (s *space) up(link string) error {
	l, err := s.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("%s: link %s: %w", s.name, link, err)
	}
	return s.nl.LinkSetUp(l)
}

// veth makes a pair: link in s, peer in other, both up.
func (s *space) veth(link string, other *space, peer string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = link
	if err := s.nl.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNamespace: netlink.NsFd(other.fd)}); err != nil {
		return fmt.Errorf("%s: make veth %s to %s: %w", s.name, link, other.name, err)
	}
	if err := s.up(link); err != nil {
		return err
	}
	return other.up(peer)
}

// addr adds addresses such as 10.0.0.1/24 to a link.
func (s *space) addr(link string, addrs ...string) error {
	l, err := s.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("%s: link %s: %w", s.name, link, err)
	}
	for _, a := range addrs {
		parsed, err := netlink.ParseAddr(a)
		if err != nil {
			return err
		}
		if parsed.IP.To4() == nil {
			parsed.Flags = unix.IFA_F_NODAD
		}
		if err := s.nl.AddrAdd(l, parsed); err != nil {
			return fmt.Errorf("%s: address %s on %s: %w", s.name, a, link, err)
		}
	}
	return nil
}

// route adds a route on a link; an empty via means that dst is on the link.
func (s *space) route(link, dst, via string) error {
	l, err := s.nl.LinkByName(link)
	if err != nil {
		return fmt.Errorf("%s: link %s: %w", s.name, link, err)
	}
	to, err := netlink.ParseIPNet(dst)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: to}
	if via == "" {
		r.Scope = netlink.SCOPE_LINK
	} else {
		gw, err := netlink.ParseAddr(via + "/32")
		if strings.Contains(via, ":") {
			gw, err = netlink.ParseAddr(via + "/128")
		}
		if err != nil {
			return err
		}
		r.Gw, r.Flags = gw.IP, int(netlink.FLAG_ONLINK)
	}
	if err := s.nl.RouteAdd(r); err != nil {
		return fmt.Errorf("%s: route %s via %q on %s: %w", s.name, dst, via, link, err)
	}
	return nil
}

// spaces lists the demo's namespaces that exist now.
func spaces() ([]string, error) {
	list, err := filepath.Glob(filepath.Join(netnsDir, prefix+"*"))
	for i := range list {
		list[i] = filepath.Base(list[i])
	}
	return list, err
}

// removeSpaces removes every namespace of the demo, whoever made it, and the
// link that joins the machine to it.
func removeSpaces() error {
	list, err := spaces()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range list {
		// A name without a mount is what a crash between the two leaves.
		if err := netns.DeleteNamed(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			if err := os.Remove(filepath.Join(netnsDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove namespace %s: %w", name, err))
			}
		}
	}
	if l, err := netlink.LinkByName(hostLink); err == nil {
		if err := netlink.LinkDel(l); err != nil {
			errs = append(errs, fmt.Errorf("remove link %s: %w", hostLink, err))
		}
	}
	return errors.Join(errs...)
}
