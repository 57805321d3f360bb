package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// maxBuffered is more than a batch of the Runner has, so that a Produce never waits: what
// is in memory is bounded by the one batch that the sink takes at a time.
const maxBuffered = 1 << 22

func (c *Config) client(log kgo.Logger) (*kgo.Client, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("weir"), kgo.SoftwareNameAndVersion("weir", softwareVersion(c.Version)),
		kgo.DefaultProduceTopic(c.Topic), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil)),
		kgo.ProducerBatchCompression(codecs[c.Compression]), kgo.ProducerBatchMaxBytes(int32(c.BatchBytes)),
		kgo.MaxBufferedRecords(maxBuffered), kgo.ManualFlushing(),
		kgo.ProduceRequestTimeout(c.Timeout), kgo.RequestTimeoutOverhead(c.Timeout), kgo.RetryTimeout(c.Timeout),
		kgo.MetadataMinAge(c.Timeout / 20), kgo.Dialer(c.dial), kgo.WithLogger(log),
	}
	if c.Acks == "leader" {
		// A producer is idempotent only where all replicas in sync answer.
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	}
	if c.SASL != "" {
		opts = append(opts, kgo.SASL(c.mechanism()))
	}
	return kgo.NewClient(opts...)
}

// softwareVersion keeps what KIP-511 allows in a version.
func softwareVersion(v string) string {
	b := []byte(v)
	for i, x := range b {
		if (x < '0' || x > '9') && (x < 'a' || x > 'z') && (x < 'A' || x > 'Z') {
			b[i] = '.'
			if i == 0 || i == len(b)-1 {
				b[i] = '0'
			}
		}
	}
	if len(b) == 0 {
		return "0"
	}
	return string(b)
}

func (c *Config) mechanism() sasl.Mechanism {
	switch c.SASL {
	case "plain":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := c.Password.Read()
			return plain.Auth{User: c.Username, Pass: pass}, err
		})
	default:
		read := func(context.Context) (scram.Auth, error) {
			pass, err := c.Password.Read()
			return scram.Auth{User: c.Username, Pass: pass}, err
		}
		if c.SASL == "scram-sha-256" {
			return scram.Sha256(read)
		}
		return scram.Sha512(read)
	}
}

// dial connects to a broker, with what the files say now.
func (c *Config) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	tc, err := c.TLS.Config()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if tc == nil {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}
	if tc.ServerName == "" {
		if tc.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, err
		}
	}
	return (&tls.Dialer{Config: tc}).DialContext(ctx, network, addr)
}

// check asks for the topic: whether the brokers answer, let the user in and have it.
func (c *Config) check(ctx context.Context, cl *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, 2*c.Timeout)
	defer cancel()
	req := kmsg.NewPtrMetadataRequest()
	t := kmsg.NewMetadataRequestTopic()
	t.Topic = new(c.Topic)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for i := range resp.Topics {
		if err := kerr.ErrorForCode(resp.Topics[i].ErrorCode); err != nil {
			return err
		}
	}
	return nil
}

// explain says what to do about errors that people make.
func (c *Config) explain(err error) error {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("the cluster has no topic %q: make it, as with `kafka-topics.sh --create --topic %s --partitions 12`: %w", c.Topic, c.Topic, err)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Errorf("the broker refuses user %q by %s: %s: %w", c.Username, c.SASL, c.Password.Advice(), err)
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return fmt.Errorf("the broker does not take sasl: %s: %w", c.SASL, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return fmt.Errorf("user %q may not write to topic %q: grant it Describe and Write there: %w", c.Username, c.Topic, err)
	case errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("user %q may not write idempotently: grant it IdempotentWrite on the cluster (brokers before 3.0 ask for it): %w", c.Username, err)
	case errors.Is(err, kerr.NotEnoughReplicas) || errors.Is(err, kerr.NotEnoughReplicasAfterAppend):
		return fmt.Errorf("too few replicas of topic %q are in sync for its min.insync.replicas: %w", c.Topic, err)
	}
	if _, ok := errors.AsType[*kgo.ErrFirstReadEOF](err); ok || errors.Is(err, io.EOF) && c.SASL == "" {
		return fmt.Errorf("the broker hangs up at the first request: is the port one for %s? %w", c.speaks(), err)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time from the brokers (%v): do they live, and do their advertised.listeners lead here? %w", c.Brokers, err)
	}
	return err
}

func (c *Config) speaks() string {
	switch {
	case c.TLS.On && c.SASL != "":
		return "SASL_SSL"
	case c.TLS.On:
		return "SSL"
	case c.SASL != "":
		return "SASL_PLAINTEXT"
	}
	return "PLAINTEXT"
}
