package clickhouse

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"time"

	"github.com/weirnet/weir/sinks/clickhouse/ddl"
	"github.com/weirnet/weir/sinks/remote"
)

// Config is one database of one ClickHouse.
type Config struct {
	Name     string   // of the sink
	Hosts    []string // host:port of the native protocol: one server, or replicas of one shard, tried in turn
	Database string

	Username     string
	PasswordFile string // a file that holds the password, read at each connect
	PasswordEnv  string // or the variable of the environment that does

	TLS                       bool
	CAFile, CertFile, KeyFile string // PEM, read at each connect, so that a renewed file is taken up
	ServerName                string // in the server's certificate, where it is not the host's name

	Compression string        // lz4, zstd or none
	Schema      string        // manage: make and migrate the tables; check: refuse to write where they do not fit
	Retention   time.Duration // rows go this long after they came; 0 keeps them
	Cluster     string        // name of a cluster: tables are Replicated and Distributed
	DialTimeout time.Duration // of one host, the handshake included
	Version     string        // of Weir, noted with each migration
}

// DefaultConfig gives the values for everything but Hosts.
func DefaultConfig() Config {
	return Config{
		Name: "clickhouse", Database: "weir", Username: "default", Compression: "lz4", Schema: "manage",
		Retention: 30 * 24 * time.Hour, DialTimeout: 5 * time.Second,
	}
}

// maxRetention is ten years. A DateTime ends in 2106, and a time beyond that is one long
// past: ClickHouse would drop every row at once.
const maxRetention = 10 * 365 * 24 * time.Hour

var nameForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("name: is empty"))
	}
	if len(c.Hosts) == 0 {
		errs = append(errs, errors.New("hosts: missing: name at least one as host:port, as in clickhouse.example:9000"))
	}
	for i, h := range c.Hosts {
		if host, port, err := net.SplitHostPort(h); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("hosts[%d]: %q is not host:port, as in clickhouse.example:9000 (9440 with TLS; 8123 is HTTP and not this protocol)", i, h))
		}
	}
	if !nameForm.MatchString(c.Database) {
		errs = append(errs, fmt.Errorf("database: %q is no name: use letters, digits and _", c.Database))
	}
	if c.Cluster != "" && !nameForm.MatchString(c.Cluster) {
		errs = append(errs, fmt.Errorf("cluster: %q is no name: use letters, digits and _", c.Cluster))
	}
	errs = append(errs, c.password().Validate(), c.tls().Validate())
	switch c.Compression {
	case "lz4", "zstd", "none":
	default:
		errs = append(errs, fmt.Errorf("compression: %q is none of lz4, zstd, none", c.Compression))
	}
	if c.Schema != "manage" && c.Schema != "check" {
		errs = append(errs, fmt.Errorf("schema: %q is neither manage nor check", c.Schema))
	}
	if c.Retention != 0 && (c.Retention < time.Hour || c.Retention > maxRetention) {
		errs = append(errs, fmt.Errorf("retention: %v is not in 1h to %v: give 0 to keep everything", c.Retention, maxRetention))
	}
	if c.DialTimeout <= 0 {
		errs = append(errs, errors.New("dialTimeout: must be above zero"))
	}
	return errors.Join(errs...)
}

// Layout is where the tables stand.
func (c *Config) Layout() ddl.Layout {
	return ddl.Layout{Database: c.Database, Retention: c.Retention, Cluster: c.Cluster}
}

func (c *Config) password() remote.Secret {
	return remote.Secret{Name: "password", File: c.PasswordFile, Env: c.PasswordEnv}
}

func (c *Config) tls() remote.TLS {
	return remote.TLS{On: c.TLS, CA: c.CAFile, Cert: c.CertFile, Key: c.KeyFile, ServerName: c.ServerName}
}
