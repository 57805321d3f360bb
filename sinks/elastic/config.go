package elastic

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/api/flow"
	"github.com/weirnet/weir/sinks/elastic/mapping"
	"github.com/weirnet/weir/sinks/remote"
)

// Formats of documents.
const (
	FormatFlows   = "flows"      // a document a record
	FormatMinutes = "minutes"    // sums by minute
	FormatELK     = "antrea-elk" // the indices and names of Antrea 1.0's ELK flow collector
)

// defaultIndex is where a format goes when nothing else is said.
var defaultIndex = map[string]string{FormatFlows: "weir-flows", FormatMinutes: "weir-minutes", FormatELK: "flow"}

// Config is one data stream of one cluster.
type Config struct {
	Name  string   // of the sink
	Hosts []string // URLs of nodes of one cluster, tried in turn

	Username                  string
	PasswordFile, PasswordEnv string // where the password is, read at each write
	APIKeyFile, APIKeyEnv     string // where an API key is, as base64 of id:key

	CAFile, CertFile, KeyFile string // PEM, read again when they change
	ServerName                string // in the server's certificate, where it is not the host's

	Format string // FormatFlows, FormatMinutes or FormatELK
	Index  string // name of the data stream; of FormatELK, what stands before the day; empty for the format's own

	Schema           string        // manage: make templates and renew them; check: refuse to write where they do not fit
	Retention        time.Duration // documents go this long after the rollover of their backing index; 0 keeps them
	RetentionBy      string        // auto, lifecycle, ilm or none
	Shards, Replicas int

	RequestBytes   int           // most bytes of a request before it is compressed
	RequestTimeout time.Duration // for one host to answer one request
	DialTimeout    time.Duration // of one host, the handshake included

	Minutes Minutes
	Dir     string // where FormatMinutes notes which records its next sums are of; required for it
	Version string // of Weir, noted in the templates
}

// Minutes is what FormatMinutes adds up.
type Minutes struct {
	By        []string      // fields that tell sums apart
	MaxGroups int           // sums held in memory; then they are written
	Every     time.Duration // and at least this often
}

// DefaultConfig gives the values for everything but Hosts.
func DefaultConfig() Config {
	return Config{
		Name: "elasticsearch", Format: FormatFlows, Schema: "manage", Retention: 30 * 24 * time.Hour, RetentionBy: "auto",
		Shards: 1, Replicas: 1, RequestBytes: 8 << 20, RequestTimeout: 20 * time.Second, DialTimeout: 5 * time.Second,
		Minutes: Minutes{By: defaultBy(), MaxGroups: 50_000, Every: time.Minute},
	}
}

func defaultBy() []string {
	ids := []flow.FieldID{
		flow.FClusterID, flow.FSrcNS, flow.FSrcWorkload, flow.FSrcKind, flow.FSrcNode, flow.FDstNS, flow.FDstWorkload, flow.FDstKind, flow.FDstNode, flow.FDstName,
		flow.FSvcPortName, flow.FDstPort, flow.FProto, flow.FScope, flow.FOutcome,
		flow.FIngressPolicyNS, flow.FIngressPolicy, flow.FIngressRule, flow.FIngressAction,
		flow.FEgressPolicyNS, flow.FEgressPolicy, flow.FEgressRule, flow.FEgressAction,
	}
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, id.String())
	}
	return names
}

// indexForm is what names may be (org.elasticsearch.cluster.metadata.Metadata), without
// the characters that patterns and data streams use.
var indexForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}$`)

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Name == "" {
		fail("name: is empty")
	}
	secure := len(c.Hosts) > 0
	if !secure {
		fail("hosts: missing: name at least one as a URL, as in https://elasticsearch.example:9200")
	}
	for i, h := range c.Hosts {
		u, err := url.Parse(h)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.RawQuery != "" || u.Fragment != "" {
			fail("hosts[%d]: %q is not a URL, as in https://elasticsearch.example:9200", i, h)
			continue
		}
		if u.User != nil {
			fail("hosts[%d]: a password never stands in the configuration: give username and passwordFile", i)
		}
		secure = secure && u.Scheme == "https"
	}
	tls := c.tls()
	tls.On = secure
	if err := tls.Validate(); err != nil {
		fail("%s", strings.ReplaceAll(err.Error(), "set tls: true", "give hosts as https://"))
	}
	errs = append(errs, c.password().Validate(), c.apiKey().Validate())
	if c.apiKey().Given() && (c.Username != "" || c.password().Given()) {
		fail("apiKeyFile, username: give an API key or a user, not both")
	}
	if c.password().Given() != (c.Username != "") {
		fail("username: a user and a password go together: give both or none")
	}
	if !secure && (c.apiKey().Given() || c.password().Given()) && !c.loopback() {
		fail("hosts: a password or an API key over http:// can be read on the way: give https://")
	}
	if c.Index != "" && !indexForm.MatchString(c.Index) {
		fail("index: %q is no name: use lower case letters, digits, dashes and dots", c.Index)
	}
	return errors.Join(append(errs, c.validateRest())...)
}

func (c *Config) validateRest() error {
	var errs []error
	oneOf := func(key, value string, words ...string) {
		if slices.Contains(words, value) {
			return
		}
		errs = append(errs, fmt.Errorf("%s: %q is none of %s", key, value, strings.Join(words, ", ")))
	}
	oneOf("format", c.Format, FormatFlows, FormatMinutes, FormatELK)
	oneOf("schema", c.Schema, "manage", "check")
	oneOf("retentionBy", c.RetentionBy, "auto", mapping.ByLifecycle, mapping.ByILM, mapping.ByNothing)
	between := func(key string, v, low, high int) {
		if v < low || v > high {
			errs = append(errs, fmt.Errorf("%s: %d is not in %d to %d", key, v, low, high))
		}
	}
	between("shards", c.Shards, 1, 1024)
	between("replicas", c.Replicas, 0, 10)
	between("requestBytes", c.RequestBytes, minRequest, 100<<20)
	if c.Retention != 0 && c.Retention < time.Hour {
		errs = append(errs, fmt.Errorf("retention: %v is below 1h: give 0 to keep everything", c.Retention))
	}
	if c.RequestTimeout <= 0 || c.DialTimeout <= 0 {
		errs = append(errs, errors.New("requestTimeout, dialTimeout: must be above zero"))
	}
	if c.Format == FormatMinutes {
		between("minutes.maxGroups", c.Minutes.MaxGroups, 1, 10_000_000)
		if c.Minutes.Every < time.Second {
			errs = append(errs, fmt.Errorf("minutes.every: %v is below 1s", c.Minutes.Every))
		}
		if _, err := groupFields(c.Minutes.By); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// loopback says whether all hosts are on this machine.
func (c *Config) loopback() bool {
	for _, h := range c.Hosts {
		u, err := url.Parse(h)
		if err != nil {
			return false
		}
		if n := u.Hostname(); n != "127.0.0.1" && n != "::1" && n != "localhost" {
			return false
		}
	}
	return true
}

func (c *Config) password() remote.Secret {
	return remote.Secret{Name: "password", File: c.PasswordFile, Env: c.PasswordEnv}
}

func (c *Config) apiKey() remote.Secret {
	return remote.Secret{Name: "apiKey", File: c.APIKeyFile, Env: c.APIKeyEnv}
}

func (c *Config) tls() remote.TLS {
	return remote.TLS{On: true, CA: c.CAFile, Cert: c.CertFile, Key: c.KeyFile, ServerName: c.ServerName}
}

// layout is what is made on a server that has this way to let old documents go.
func (c *Config) layout(way string, custom bool) mapping.Layout {
	return mapping.Layout{
		Index: c.Index, Shards: c.Shards, Replicas: c.Replicas, Retention: c.Retention, Way: way, Custom: custom, Version: c.Version,
	}
}
