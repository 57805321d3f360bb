package config

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/sinks/clickhouse"
)

// ClickHouseSink writes to a ClickHouse database.
type ClickHouseSink struct {
	Hosts    []string `json:"hosts" doc:"host:port of the native protocol (9000, with TLS 9440): one server, or the replicas of one shard, tried in turn"`
	Database string   `json:"database" doc:"database of the tables; made where it is missing"`
	Username string   `json:"username" doc:"user"`

	PasswordFile string `json:"passwordFile" doc:"file with the password, read at each connect; a password never stands in the configuration"`
	PasswordEnv  string `json:"passwordEnv" doc:"or the variable of the environment that holds it"`

	TLS        bool   `json:"tls" doc:"speak TLS"`
	CA         string `json:"ca" doc:"PEM file of the CA of the server; empty for those of the system"`
	Cert       string `json:"cert" doc:"PEM client certificate"`
	Key        string `json:"key" doc:"PEM key of the client certificate"`
	ServerName string `json:"serverName" doc:"name in the server's certificate, where it is not the host's"`

	Compression string        `json:"compression" doc:"of what is sent: lz4, zstd or none"`
	Schema      string        `json:"schema" doc:"manage makes and migrates the tables; check refuses to write where they do not fit"`
	Retention   time.Duration `json:"retention" doc:"rows go this long after they came; 0 keeps them"`
	Cluster     string        `json:"cluster" doc:"name of a ClickHouse cluster: tables are Replicated, and Distributed over it"`
	DialTimeout time.Duration `json:"dialTimeout" doc:"for one host to answer"`
}

// SetDefaults fills what an item leaves out.
func (c *ClickHouseSink) SetDefaults() {
	d := clickhouse.DefaultConfig()
	c.Database, c.Username, c.Compression, c.Schema, c.Retention, c.DialTimeout = d.Database, d.Username, d.Compression, d.Schema, d.Retention, d.DialTimeout
}

// Sink gives the sink's own form; version is Weir's.
func (c *ClickHouseSink) Sink(name, version string) clickhouse.Config {
	return clickhouse.Config{
		Name: name, Hosts: c.Hosts, Database: c.Database, Username: c.Username, PasswordFile: c.PasswordFile, PasswordEnv: c.PasswordEnv,
		TLS: c.TLS, CAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, ServerName: c.ServerName,
		Compression: c.Compression, Schema: c.Schema, Retention: c.Retention, Cluster: c.Cluster, DialTimeout: c.DialTimeout, Version: version,
	}
}

func (c *ClickHouseSink) check(name string) error {
	s := c.Sink(name, "")
	if err := s.Validate(); err != nil {
		return fmt.Errorf("clickhouse.%w", err)
	}
	return nil
}

// Batch gives how many records a write of the sink has, and how long they wait for it:
// as the spool's part says, or what suits the kind. Each insert of ClickHouse makes a
// part that it has to merge, so there are to be few and large ones.
func (s *Sink) Batch() (records int, age time.Duration) {
	records, age = 5000, time.Second
	if s.Kind == "clickhouse" {
		records, age = 50_000, 3*time.Second
	}
	if s.Spool.BatchSize > 0 {
		records = s.Spool.BatchSize
	}
	if s.Spool.BatchAge > 0 {
		age = s.Spool.BatchAge
	}
	return records, age
}
