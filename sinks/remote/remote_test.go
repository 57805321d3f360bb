package remote_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/remote"
)

func TestSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("one\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := remote.Secret{Name: "password", File: file}
	if got, err := s.Read(); got != "one" || err != nil {
		t.Errorf("Read: %q, %v", got, err)
	}
	if err := os.WriteFile(file, []byte("two"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := s.Read(); got != "two" {
		t.Errorf("after it was rotated: %q", got)
	}
	if got := s.Advice(); got != "check the password in "+file {
		t.Errorf("Advice: %s", got)
	}
	t.Setenv("WEIR_TEST_SECRET", "three")
	s = remote.Secret{Name: "password", Env: "WEIR_TEST_SECRET"}
	if got, err := s.Read(); got != "three" || err != nil {
		t.Errorf("Read: %q, %v", got, err)
	}
	for want, s := range map[string]remote.Secret{
		"passwordEnv: the environment has no WEIR_TEST_NONE": {Name: "password", Env: "WEIR_TEST_NONE"},
		"passwordFile: ": {Name: "password", File: file + ".none"},
	} {
		if _, err := s.Read(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Read: %v, want %s", err, want)
		}
	}
	if err := (remote.Secret{Name: "apiKey", File: "a", Env: "B"}).Validate(); err == nil || err.Error() != "apiKeyFile, apiKeyEnv: give one of them" {
		t.Errorf("Validate: %v", err)
	}
}

func TestTLS(t *testing.T) {
	if tc, err := (remote.TLS{}).Config(); tc != nil || err != nil {
		t.Errorf("plain: %v, %v", tc, err)
	}
	file := filepath.Join(t.TempDir(), "ca")
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, c := range map[string]remote.TLS{
		"holds no certificate in PEM": {On: true, CA: file},
		"ca: ":                        {On: true, CA: file + ".none"},
		"cert " + file + ", key x":    {On: true, Cert: file, Key: "x"},
	} {
		if _, err := c.Config(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Config: %v, want %s", err, want)
		}
	}
	old := remote.TLS{On: true}
	old.Cert, old.Key = testenv.NewCA(t).Issue(t, t.TempDir(), "old", time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
	if _, err := old.Config(); err == nil || err.Error() != "cert "+old.Cert+" expired at 2025-01-02T03:04:05Z: renew it, it is read at each connect" {
		t.Errorf("Config: %v", err)
	}
	for want, c := range map[string]remote.TLS{
		"cert, key: give both": {On: true, Cert: "a"},
		"set tls: true":        {CA: "a"},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Validate: %v, want %s", err, want)
		}
	}
}
