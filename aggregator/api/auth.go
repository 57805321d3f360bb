package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weirnet/weir/internal/limitfile"
)

// Tokens are the bearer tokens of a file, one a line; '#' begins a comment:
//
//	TOKEN [name=NAME] [namespaces=NS,NS...]
//
// A token without namespaces sees everything. The file is looked at again at most once
// a second, so that a token can be changed without a restart.
type Tokens struct {
	path    string
	mu      sync.Mutex
	list    []token
	checked time.Time
	mtime   time.Time
	size    int64
	bad     string // what is wrong with the file as it is now
}

type token struct {
	hash   [sha256.Size]byte
	caller Caller
}

// LoadTokens reads the file; one without a token is an error.
func LoadTokens(path string) (*Tokens, error) {
	t := &Tokens{path: path}
	if err := t.load(); err != nil {
		return nil, err
	}
	t.checked = time.Now()
	return t, nil
}

func (t *Tokens) load() error {
	st, err := os.Stat(t.path)
	if err != nil {
		return fmt.Errorf("read tokens: %w: make the file or set api.tokenFile to the right one", err)
	}
	if st.Mode().Perm()&0o007 != 0 {
		return fmt.Errorf("read tokens: %s can be read by everybody (mode %04o): chmod 600 it", t.path, st.Mode().Perm())
	}
	b, err := limitfile.Read(t.path, 1<<20)
	if err != nil {
		return fmt.Errorf("read tokens: %w", err)
	}
	list, err := parseTokens(b)
	if err != nil {
		return fmt.Errorf("read tokens: %s%w", t.path, err)
	}
	t.list, t.mtime, t.size = list, st.ModTime(), st.Size()
	return nil
}

// parseTokens reads the text of a file. Its errors begin with the number of the line
// and never hold a token.
func parseTokens(b []byte) ([]token, error) {
	var list []token
	lines := map[[sha256.Size]byte]int{}
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		words := strings.Fields(sc.Text())
		if len(words) == 0 || words[0][0] == '#' {
			continue
		}
		if len(words[0]) < 16 {
			return nil, fmt.Errorf(":%d: a token of %d characters can be guessed: use at least 16", n, len(words[0]))
		}
		t := token{hash: sha256.Sum256([]byte(words[0])), caller: Caller{Name: fmt.Sprintf("token of line %d", n), All: true}}
		if m := lines[t.hash]; m != 0 {
			return nil, fmt.Errorf(":%d: the token of line %d stands here again: remove one", n, m)
		}
		lines[t.hash] = n
		if err := t.caller.parse(words[1:]); err != nil {
			return nil, fmt.Errorf(":%d: %w", n, err)
		}
		list = append(list, t)
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf(": %w", err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf(" holds no token: write one a line")
	}
	return list, nil
}

var (
	// namePattern is what a caller may be called in logs and messages.
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,62}$`)
	// nsPattern is an RFC 1123 label, as Kubernetes wants of a namespace.
	nsPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
)

// parse reads what stands behind a token.
func (c *Caller) parse(words []string) error {
	seen := map[string]bool{}
	for _, w := range words {
		k, v, ok := strings.Cut(w, "=")
		if !ok || k != "name" && k != "namespaces" {
			return fmt.Errorf("a token is followed by name=NAME or namespaces=NS,NS and nothing else")
		}
		if seen[k] {
			return fmt.Errorf("%s stands there twice: keep one", k)
		}
		seen[k] = true
		if k == "name" {
			if !namePattern.MatchString(v) {
				return fmt.Errorf("name: %q is no name: use up to 63 letters, digits and . _ : @ -", v)
			}
			c.Name = v
			continue
		}
		c.All, c.Namespaces = false, strings.Split(v, ",")
		for _, ns := range c.Namespaces {
			if !nsPattern.MatchString(ns) {
				return fmt.Errorf("namespaces: %q is no name of a namespace: write namespaces=shop,data, or leave it out for all", ns)
			}
		}
		slices.Sort(c.Namespaces)
		c.Namespaces = slices.Compact(c.Namespaces)
	}
	return nil
}

// caller compares in constant time. Where the file has become unreadable the tokens
// that were read last stay in force.
func (t *Tokens) caller(text string) *Caller {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.checked) > time.Second {
		t.checked = now
		if st, err := os.Stat(t.path); err == nil && (!st.ModTime().Equal(t.mtime) || st.Size() != t.size) {
			t.bad = ""
			if err := t.load(); err != nil {
				t.bad = err.Error()
			}
		}
	}
	h := sha256.Sum256([]byte(text))
	found := -1
	for i := range t.list {
		if subtle.ConstantTimeCompare(h[:], t.list[i].hash[:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return nil
	}
	c := t.list[found].caller
	return &c
}

// Bad says what is wrong with the file as it is now, while the tokens that were read
// before it stay in force; "" where nothing is.
func (t *Tokens) Bad() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bad
}
