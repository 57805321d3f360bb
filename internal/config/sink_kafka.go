package config

import (
	"fmt"
	"strings"
	"time"

	"github.com/weirnet/weir/sinks/kafka"
	"github.com/weirnet/weir/sinks/remote"
)

// KafkaSink writes to a topic of Kafka.
type KafkaSink struct {
	Brokers []string `json:"brokers" doc:"host:port of some brokers; the others are asked from them"`
	Topic   string   `json:"topic" doc:"topic to write; it has to be there"`

	Format      string   `json:"format" doc:"protobuf (api/flow/flow.proto) or json, one message a record"`
	Compression string   `json:"compression" doc:"of the batches: none, gzip, snappy, lz4 or zstd"`
	Acks        string   `json:"acks" doc:"all: the replicas in sync have it, and the producer is idempotent; leader: one broker has it, and it may come twice"`
	BatchBytes  int      `json:"batchBytes" doc:"most bytes of a batch for a partition; not above the topic's max.message.bytes"`
	Headers     []string `json:"headers" doc:"NAME=VALUE of headers that each message gets beside id and content-type"`

	SASL         string `json:"sasl" doc:"plain (with TLS), scram-sha-256 or scram-sha-512; empty for none"`
	Username     string `json:"username" doc:"user of SASL"`
	PasswordFile string `json:"passwordFile" doc:"file with the password, read at each connect; a password never stands in the configuration"`
	PasswordEnv  string `json:"passwordEnv" doc:"or the variable of the environment that holds it"`

	TLS        bool   `json:"tls" doc:"speak TLS"`
	CA         string `json:"ca" doc:"PEM file of the CA of the brokers; empty for those of the system"`
	Cert       string `json:"cert" doc:"PEM client certificate"`
	Key        string `json:"key" doc:"PEM key of the client certificate"`
	ServerName string `json:"serverName" doc:"name in the brokers' certificates, where it is not the host's"`

	Timeout time.Duration `json:"timeout" doc:"for a broker to connect, and for it to answer"`
}

// SetDefaults fills what an item leaves out.
func (c *KafkaSink) SetDefaults() {
	d := kafka.DefaultConfig()
	c.Topic, c.Format, c.Compression, c.Acks, c.BatchBytes, c.Timeout = d.Topic, d.Format, d.Compression, d.Acks, d.BatchBytes, d.Timeout
}

// Sink gives the sink's own form; version is Weir's.
func (c *KafkaSink) Sink(name, version string) kafka.Config {
	out := kafka.Config{
		Name: name, Brokers: c.Brokers, Topic: c.Topic, Format: c.Format, Compression: c.Compression, Acks: c.Acks, BatchBytes: c.BatchBytes,
		SASL: c.SASL, Username: c.Username, Password: remote.Secret{Name: "password", File: c.PasswordFile, Env: c.PasswordEnv},
		TLS:     remote.TLS{On: c.TLS, CA: c.CA, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName},
		Timeout: c.Timeout, Version: version, Headers: map[string]string{},
	}
	for _, h := range c.Headers {
		k, v, _ := strings.Cut(h, "=")
		out.Headers[k] = v
	}
	return out
}

func (c *KafkaSink) check(name string) error {
	for i, h := range c.Headers {
		if !strings.Contains(h, "=") {
			return fmt.Errorf("kafka.headers[%d]: %q is not NAME=VALUE, as in cluster=blue", i, h)
		}
	}
	s := c.Sink(name, "")
	if err := s.Validate(); err != nil {
		return fmt.Errorf("kafka.%w", err)
	}
	return nil
}
