package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weirnet/weir/internal/limitfile"
)

// Tokens are the bearer tokens of a file, one a line; '#' begins a comment. The
// file is looked at again at most once a second, so that a token can be changed
// without a restart.
type Tokens struct {
	path    string
	mu      sync.Mutex
	hashes  [][sha256.Size]byte
	checked time.Time
	mtime   time.Time
	size    int64
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
	var hashes [][sha256.Size]byte
	sc := bufio.NewScanner(bytes.NewReader(b))
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(sc.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if len(line) < 16 {
			return fmt.Errorf("read tokens: %s:%d: a token of %d characters can be guessed: use at least 16", t.path, n, len(line))
		}
		hashes = append(hashes, sha256.Sum256([]byte(line)))
	}
	if err := sc.Err(); err != nil {
		return fmt.Errorf("read tokens: %s: %w", t.path, err)
	}
	if len(hashes) == 0 {
		return fmt.Errorf("read tokens: %s holds no token: write one a line", t.path)
	}
	t.hashes, t.mtime, t.size = hashes, st.ModTime(), st.Size()
	return nil
}

// ok compares in constant time. Where the file has become unreadable the tokens
// that were read last stay in force.
func (t *Tokens) ok(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.checked) > time.Second {
		t.checked = now
		if st, err := os.Stat(t.path); err == nil && (!st.ModTime().Equal(t.mtime) || st.Size() != t.size) {
			_ = t.load()
		}
	}
	h := sha256.Sum256([]byte(token))
	found := 0
	for i := range t.hashes {
		found |= subtle.ConstantTimeCompare(h[:], t.hashes[i][:])
	}
	return found == 1
}

// allowed tells whether a request may be answered.
func (s *Server) allowed(r *http.Request) bool {
	if s.Auth == AuthNone {
		return true
	}
	if (s.Auth == AuthMTLS || s.Auth == AuthAny) && r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		return true
	}
	if s.Auth == AuthToken || s.Auth == AuthAny {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return ok && s.Tokens != nil && s.Tokens.ok(token)
	}
	return false
}
