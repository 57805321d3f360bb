package sockets

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const maxNamespaces = 4096

// find lists the network namespaces that the patterns name, by inode, with one path
// each. Names that are no namespace, or are gone, are passed over.
func find(patterns []string) (spaces map[uint64]string, capped int) {
	spaces = map[uint64]string{}
	for _, p := range patterns {
		paths, _ := filepath.Glob(p) // the patterns were checked
		for _, path := range paths {
			var st unix.Stat_t
			var fs unix.Statfs_t
			if unix.Stat(path, &st) != nil {
				continue
			}
			if _, ok := spaces[st.Ino]; ok {
				continue
			}
			// A name in /run/netns without a mount is an empty file.
			if unix.Statfs(path, &fs) != nil || fs.Type != unix.NSFS_MAGIC {
				continue
			}
			if len(spaces) >= maxNamespaces {
				capped++
				continue
			}
			spaces[st.Ino] = path
		}
	}
	return spaces, capped
}

// space is an open network namespace.
type space struct {
	inode       uint64
	diag, route *conn
	noUDP       bool // the kernel has no udp_diag
}

func open(inode uint64, path string) (*space, error) {
	s := &space{inode: inode}
	err := enter(path, inode, func() (err error) {
		if s.diag, err = dial(unix.NETLINK_SOCK_DIAG); err != nil {
			return err
		}
		s.route, err = dial(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *space) close() error {
	var errs []error
	for _, c := range []*conn{s.diag, s.route} {
		if c != nil {
			errs = append(errs, c.close())
		}
	}
	return errors.Join(errs...)
}

// gone says that an error is the end of a namespace or its process, and no trouble.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}
