package ipfix

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"time"

	"github.com/weirnet/weir/api/ipfix"
)

// Config is one re-export to one collector.
type Config struct {
	Name     string // of the sink
	Address  string // host:port of the collector
	Protocol string // tcp, tls or udp
	Format   string // ipfix, or json: one object a line, as go-ipfix writes it
	Template string // antrea-aggregator, antrea-proxy, iana or weir
	Proxy    bool   // proxy mode: the template antrea-proxy, with the original exporter and the direction

	DomainID        uint32        // observation domain; 0 takes the FNV-1 hash of Cluster, as Antrea does
	Cluster         string        // id of the cluster
	TemplateRefresh time.Duration // over UDP templates are sent again this often
	MaxMessage      int           // bytes of a message; 0 takes 65535, over UDP what an MTU of 1500 leaves
	DialTimeout     time.Duration
	AckTimeout      time.Duration // over TCP and TLS: how long the collector's kernel may take to acknowledge a batch

	CAFile, CertFile, KeyFile string // PEM, read at each connect, so that a renewed file is taken up
	ServerName                string // in the collector's certificate, where it is not the host of Address
}

// DefaultConfig gives the values for everything but Address.
func DefaultConfig() Config {
	return Config{
		Name: "ipfix", Protocol: "tcp", Format: "ipfix", Template: "antrea-aggregator",
		TemplateRefresh: 10 * time.Minute, DialTimeout: 5 * time.Second, AckTimeout: 10 * time.Second,
	}
}

// udpMessage is what fits into a packet on a path with an MTU of 1500: IPv6 and UDP
// headers take 48 bytes.
const udpMessage = 1500 - 48

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	if c.Name == "" {
		return errors.New("name: is empty")
	}
	if host, port, err := net.SplitHostPort(c.Address); err != nil || host == "" || port == "" {
		return fmt.Errorf("address: %q is not host:port, as in collector.example:4739", c.Address)
	}
	switch c.Protocol {
	case "tcp", "tls", "udp":
	default:
		return fmt.Errorf("protocol: %q is none of tcp, tls, udp", c.Protocol)
	}
	if c.Format != "ipfix" && c.Format != "json" {
		return fmt.Errorf("format: %q is neither ipfix nor json", c.Format)
	}
	if _, err := c.set(); err != nil {
		return err
	}
	if c.MaxMessage != 0 && (c.MaxMessage < 512 || c.MaxMessage > 65535) {
		return fmt.Errorf("maxMessage: %d is not in 512..65535", c.MaxMessage)
	}
	if c.TemplateRefresh <= 0 || c.DialTimeout <= 0 || c.AckTimeout <= 0 {
		return errors.New("templateRefresh, dialTimeout, ackTimeout: must be above zero")
	}
	if (c.CertFile == "") != (c.KeyFile == "") {
		return errors.New("certFile, keyFile: give both or none")
	}
	return nil
}

func (c *Config) set() (ipfix.Set, error) {
	if c.Proxy {
		return ipfix.AntreaProxy(), nil
	}
	switch c.Template {
	case "antrea-aggregator", "antrea":
		return ipfix.AntreaAggregator(), nil
	case "antrea-proxy":
		return ipfix.AntreaProxy(), nil
	case "iana":
		return ipfix.IANA(), nil
	case "weir":
		return ipfix.WeirAggregated(), nil
	}
	return ipfix.Set{}, fmt.Errorf("template: %q is none of antrea-aggregator, antrea-proxy, iana, weir", c.Template)
}

func (c *Config) proxy() bool { return c.Proxy || c.Template == "antrea-proxy" }

func (c *Config) domain() uint32 {
	if c.DomainID != 0 {
		return c.DomainID
	}
	h := fnv.New32()
	h.Write([]byte(c.Cluster))
	return h.Sum32()
}

func (c *Config) maxMessage() int {
	switch {
	case c.MaxMessage != 0:
		return c.MaxMessage
	case c.Protocol == "udp":
		return udpMessage
	}
	return 65535
}
