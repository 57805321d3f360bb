package kafka

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"time"

	"github.com/weirnet/weir/sinks/remote"
)

// Config is one topic of one cluster.
type Config struct {
	Name    string   // of the sink
	Brokers []string // host:port of some brokers; the others are asked from them
	Topic   string

	Format      string            // protobuf (flow.proto) or json
	Compression string            // none, gzip, snappy, lz4 or zstd
	Acks        string            // all: the replicas in sync have it; leader: one broker has it
	BatchBytes  int               // most bytes of a batch for a partition, below the topic's max.message.bytes
	Headers     map[string]string // put on each record beside those of the sink

	SASL     string // "", plain, scram-sha-256 or scram-sha-512
	Username string
	Password remote.Secret // read at each connect

	TLS     remote.TLS    // files are read at each connect
	Timeout time.Duration // for a broker to connect, and for it to answer
	Version string        // of Weir, told to the brokers
}

// DefaultConfig gives the values for everything but Brokers.
func DefaultConfig() Config {
	return Config{
		Name: "kafka", Topic: "weir.flows", Format: "protobuf", Compression: "zstd", Acks: "all", BatchBytes: 1_000_000,
		Timeout: 10 * time.Second, Password: remote.Secret{Name: "password"},
	}
}

// topicForm is what Kafka takes as a topic's name (org.apache.kafka.common.internals.Topic).
var topicForm = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

const (
	minBatchBytes = 16 << 10
	maxBatchBytes = 100 << 20
)

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("name: is empty"))
	}
	if len(c.Brokers) == 0 {
		errs = append(errs, errors.New("brokers: missing: name at least one as host:port, as in kafka.example:9093"))
	}
	for i, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			errs = append(errs, fmt.Errorf("brokers[%d]: %q is not host:port, as in kafka.example:9093", i, b))
		}
	}
	if !topicForm.MatchString(c.Topic) || c.Topic == "." || c.Topic == ".." {
		errs = append(errs, fmt.Errorf("topic: %q is no name of a topic: use at most 249 letters, digits, dots, _ and -", c.Topic))
	}
	errs = append(errs, oneOf("format", c.Format, "protobuf", "json"), oneOf("acks", c.Acks, "all", "leader"))
	if _, ok := codecs[c.Compression]; !ok {
		errs = append(errs, fmt.Errorf("compression: %q is none of %v", c.Compression, slices.Sorted(maps.Keys(codecs))))
	}
	if c.BatchBytes < minBatchBytes || c.BatchBytes > maxBatchBytes {
		errs = append(errs, fmt.Errorf("batchBytes: %d is not in %d to %d", c.BatchBytes, minBatchBytes, maxBatchBytes))
	}
	for h := range c.Headers {
		if h == "" || h == headerID || h == headerType {
			errs = append(errs, fmt.Errorf("headers: %q is empty or the sink's own: take another name", h))
		}
	}
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("timeout: must be above zero"))
	}
	return errors.Join(append(errs, c.validateAuth(), c.TLS.Validate())...)
}

func (c *Config) validateAuth() error {
	if c.SASL == "" {
		if c.Username != "" || c.Password.Given() {
			return errors.New("sasl: is missing, and a user or password is given: set it to plain, scram-sha-256 or scram-sha-512")
		}
		return nil
	}
	errs := []error{oneOf("sasl", c.SASL, "plain", "scram-sha-256", "scram-sha-512"), c.Password.Validate()}
	if c.Username == "" {
		errs = append(errs, errors.New("username: missing: sasl needs it"))
	}
	if !c.Password.Given() {
		errs = append(errs, errors.New("passwordFile: missing: name the file with the password of the user, or passwordEnv"))
	}
	if c.SASL == "plain" && !c.TLS.On {
		errs = append(errs, errors.New("sasl: plain sends the password as it is: set tls: true, or use scram-sha-512"))
	}
	return errors.Join(errs...)
}

func oneOf(key, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is none of %v", key, value, words)
}
