// Package remote is what sinks that write to a server over the network share: secrets
// by reference, and the client's side of TLS.
//
// In: names of files and variables, as the configuration gives them. Out: the secret, or
// a tls.Config, read anew at each call, so that what was rotated counts at the next
// connection. It keeps nothing.
package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/weirnet/weir/internal/limitfile"
)

// maxFile bounds what is read of a file with a secret or certificates.
const maxFile = 4 << 20

// Secret says where a secret is. It never holds the secret.
type Secret struct {
	Name string // what it is in the configuration: password
	File string // a file that holds it; line ends behind it are cut off
	Env  string // or the variable of the environment that does
}

// Given says whether there is a reference.
func (s Secret) Given() bool { return s.File != "" || s.Env != "" }

// Validate says that both references are given.
func (s Secret) Validate() error {
	if s.File != "" && s.Env != "" {
		return fmt.Errorf("%sFile, %sEnv: give one of them", s.Name, s.Name)
	}
	return nil
}

// Read follows the reference; without one the secret is empty.
func (s Secret) Read() (string, error) {
	switch {
	case s.File != "":
		b, err := limitfile.Read(s.File, maxFile)
		if err != nil {
			return "", fmt.Errorf("%sFile: %w", s.Name, err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	case s.Env != "":
		v, ok := os.LookupEnv(s.Env)
		if !ok {
			return "", fmt.Errorf("%sEnv: the environment has no %s", s.Name, s.Env)
		}
		return v, nil
	}
	return "", nil
}

// Advice is what to do where the server refuses the secret.
func (s Secret) Advice() string {
	switch {
	case s.File != "":
		return "check the " + s.Name + " in " + s.File
	case s.Env != "":
		return "check the " + s.Name + " in the variable " + s.Env
	}
	return "no " + s.Name + " is configured"
}

// TLS is the client's side. The zero value is plain text.
type TLS struct {
	On         bool
	CA         string // PEM file; empty for the system's
	Cert, Key  string // PEM files of the client's own
	ServerName string // in the server's certificate, where it is not the host's
}

// Validate says which value is wrong and what would be right.
func (t TLS) Validate() error {
	var errs []error
	if (t.Cert == "") != (t.Key == "") {
		errs = append(errs, errors.New("cert, key: give both or none"))
	}
	if !t.On && (t.CA != "" || t.Cert != "" || t.ServerName != "") {
		errs = append(errs, errors.New("tls: is off, and ca, cert or serverName are given: set tls: true"))
	}
	return errors.Join(errs...)
}

// Config reads the files; nil for plain text.
func (t TLS) Config() (*tls.Config, error) {
	if !t.On {
		return nil, nil
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CA != "" {
		pem, err := limitfile.Read(t.CA, maxFile)
		if err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s holds no certificate in PEM", t.CA)
		}
	}
	if t.Cert != "" {
		pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
		if err != nil {
			return nil, fmt.Errorf("cert %s, key %s: %w", t.Cert, t.Key, err)
		}
		if pair.Leaf != nil && time.Now().After(pair.Leaf.NotAfter) {
			return nil, fmt.Errorf("cert %s expired at %s: renew it, it is read at each connect", t.Cert, pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
		}
		tc.Certificates = []tls.Certificate{pair}
	}
	return tc, nil
}
