package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/api/query"
	"github.com/weirnet/weir/internal/obs"
)

// AggregatorKind is the kind of weir-aggregator's file.
const AggregatorKind = "AggregatorConfig"

// Aggregator is the file of weir-aggregator.
type Aggregator struct {
	DataDir     string        `json:"dataDir" flag:"data-dir" doc:"directory of the spools and of the books"`
	StopTimeout time.Duration `json:"stopTimeout" doc:"how long a stop may drain: collect, then correlate, then sinks, then API"`
	Collect     Collect       `json:"collect" doc:"where records come in"`
	Correlate   Correlate     `json:"correlate" doc:"how the two ends of a connection are joined"`
	History     History       `json:"history" doc:"built-in history: what queries answer from"`
	Cluster     Cluster       `json:"cluster" doc:"whose changes are kept beside the flows: rollouts, policies, endpoints, nodes"`
	Sinks       []Sink        `json:"sinks" doc:"where correlated records go; each has its own spool"`
	API         API           `json:"api" doc:"HTTP API that weirctl uses"`
	Metrics     obs.Config    `json:"metrics" doc:"where the aggregator can be watched"`
	Log         obs.LogConfig `json:"log" doc:"how the aggregator logs"`
}

// Collect says where the aggregator listens.
type Collect struct {
	TCP         string `json:"tcp" flag:"listen-tcp" doc:"address for IPFIX over TCP; empty for none"`
	TLS         string `json:"tls" flag:"listen-tls" doc:"address for IPFIX over mutual TLS; empty for none"`
	UDP         string `json:"udp" flag:"listen-udp" doc:"address for IPFIX over UDP; empty for none"`
	Cert        string `json:"certFile" flag:"cert-file" doc:"certificate of the aggregator; read again when it changes"`
	Key         string `json:"keyFile" flag:"key-file" doc:"private key of the aggregator"`
	ClientCA    string `json:"clientCAFile" flag:"client-ca-file" doc:"certificates that may have signed an agent's"`
	MaxSessions int    `json:"maxSessions" doc:"sessions at once; one more is refused and counted"`
}

// Correlate says how long the correlator waits.
type Correlate struct {
	ActiveTimeout   time.Duration `json:"activeTimeout" flag:"active-timeout" doc:"a live connection is exported this often"`
	InactiveTimeout time.Duration `json:"inactiveTimeout" flag:"inactive-timeout" doc:"a connection that nobody reports any more is exported and forgotten after this"`
	HalfTimeout     time.Duration `json:"halfTimeout" doc:"how long one end waits for the other before it is exported alone and marked so"`
	Shards          int           `json:"shards" doc:"goroutines that share the connections; 0 for one a core"`
	MaxConnections  int           `json:"maxConnections" doc:"connections held at once over all shards; beyond that the oldest is exported and forgotten"`
}

// History is the flow records of the last days on the aggregator's own disk.
type History struct {
	Enabled  bool          `json:"enabled" flag:"history" doc:"keep a history under dataDir"`
	Memory   int64         `json:"memory" flag:"history-memory" doc:"bytes for recent rows and for columns that queries read"`
	MaxBytes int64         `json:"maxBytes" flag:"history-max-bytes" doc:"disk that its segments may take; the oldest go first"`
	MaxAge   time.Duration `json:"maxAge" flag:"history-max-age" doc:"how long records are kept"`
	Longer   string        `json:"longer" doc:"name of the sink of kind clickhouse that answers for what is older than this history; auto for the first one without a filter, none for none"`
}

// Cluster says where the aggregator sees the cluster's objects. Names of flows come
// with the flows; this is for what changed, and for questions about policies.
type Cluster struct {
	Source     string `json:"source" flag:"cluster-from" doc:"kubernetes, manifests, none, or auto: manifests where a directory is given, kubernetes where a kubeconfig is given or the aggregator runs in a pod, else none"`
	Kubeconfig string `json:"kubeconfig" flag:"kubeconfig" doc:"kubeconfig file; empty for the pod's service account"`
	Manifests  string `json:"manifests" flag:"manifests" doc:"directory of Kubernetes YAML that stands for the API server, read again when it changes"`
}

func (c *Cluster) names() *Names {
	return &Names{Source: c.Source, Kubeconfig: c.Kubeconfig, Manifests: c.Manifests}
}

// Validate checks that the source has what it needs.
func (c *Cluster) Validate() error { return c.names().Validate() }

// Resolve turns auto into the source that is meant; inPod says whether the process
// runs with a service account.
func (c *Cluster) Resolve(inPod bool) string { return c.names().Resolve(inPod) }

// Sink is one destination.
type Sink struct {
	Name   string    `json:"name" doc:"name in metrics, in the ledger and of the spool's directory"`
	Kind   string    `json:"kind" doc:"jsonl, ipfix, prom, clickhouse, kafka, s3 or elasticsearch"`
	Filter Filter    `json:"filter" doc:"which records it gets; everything that is set must hold"`
	Spool  Spool     `json:"spool" doc:"what waits on disk while the destination is slow or down"`
	JSONL  JSONLSink `json:"jsonl" doc:"for kind jsonl"`
	IPFIX  IPFIXSink `json:"ipfix" doc:"for kind ipfix"`
	Prom   PromSink  `json:"prom" doc:"for kind prom"`

	ClickHouse ClickHouseSink `json:"clickhouse" doc:"for kind clickhouse"`
	Kafka      KafkaSink      `json:"kafka" doc:"for kind kafka"`
	S3         S3Sink         `json:"s3" doc:"for kind s3"`
	Elastic    ElasticSink    `json:"elasticsearch" doc:"for kind elasticsearch: Elasticsearch, or OpenSearch"`
}

// Filter picks records for a sink. `filter: "outcome != ok"` is short for its key query.
type Filter struct {
	Query      string   `json:"query" doc:"condition of the query language (docs/query.md), as in \"outcome != ok or dst.scope = external\"; may stand in place of the mapping: filter: \"...\""`
	Namespaces []string `json:"namespaces" doc:"either end is in one of them"`
	Outcomes   []string `json:"outcomes" doc:"one of these outcomes"`
	Scopes     []string `json:"scopes" doc:"one of these scopes"`
	Protocols  []string `json:"protocols" doc:"tcp, udp, icmp, ... or numbers"`
	CIDRs      []string `json:"cidrs" doc:"either end is in one of them"`
	Not        bool     `json:"not" doc:"take the records that do not fit instead"`
}

// Shorthand says that a filter may be written as its query alone.
func (Filter) Shorthand() string { return "query" }

// Spool is the durable queue of a sink.
type Spool struct {
	MaxBytes   int64         `json:"maxBytes" doc:"disk that the spool may take"`
	WhenFull   string        `json:"whenFull" doc:"drop_oldest or drop_newest; what is dropped is counted"`
	FsyncEvery time.Duration `json:"fsyncEvery" doc:"the spool is synced this often: so much can be lost with the power, nothing with the process"`
	BatchSize  int           `json:"batchSize" doc:"records in one write; 0 for 5000, of kind clickhouse 50000"`
	BatchAge   time.Duration `json:"batchAge" doc:"how long a record waits for its batch to fill; 0 for 1s, of kind clickhouse 3s"`
	RetryMin   time.Duration `json:"retryMin" doc:"first wait after a write that failed; doubled at each further one"`
	RetryMax   time.Duration `json:"retryMax" doc:"longest wait between two tries"`
}

// JSONLSink writes lines to files.
type JSONLSink struct {
	Path     string        `json:"path" doc:"file to write"`
	Format   string        `json:"format" doc:"jsonl, csv (Weir's columns), antrea-csv or antrea-flowlog (the orders of Antrea's uploader and of its logger)"`
	MaxBytes int64         `json:"maxBytes" doc:"size at which the file is rotated"`
	MaxAge   time.Duration `json:"maxAge" doc:"age at which the file is rotated; 0 for never"`
	Keep     int           `json:"keep" doc:"rotated files to keep; 0 for all"`
	Compress bool          `json:"compress" doc:"gzip rotated files"`
}

// IPFIXSink re-exports to a collector.
type IPFIXSink struct {
	Address   string `json:"address" doc:"host:port of the collector"`
	Transport string `json:"transport" doc:"tcp, tls or udp"`
	Template  string `json:"template" doc:"antrea (the elements of Antrea's aggregator), antrea-proxy (its proxy mode), iana (plain ones only), or weir (all)"`
	Format    string `json:"format" doc:"ipfix or json"`
	CA        string `json:"caFile" doc:"certificates that may have signed the collector's"`
	Cert      string `json:"certFile" doc:"certificate to show to the collector"`
	Key       string `json:"keyFile" doc:"its private key"`
	Server    string `json:"serverName" doc:"name that the collector's certificate must hold; empty for the host of address"`
	Domain    uint32 `json:"observationDomain" doc:"IPFIX observation domain; 0 for a hash of the cluster's id"`
}

// API is where people and pages ask.
type API struct {
	Listen    string `json:"listen" flag:"api-listen" doc:"address of the HTTP API; empty for none"`
	Auth      string `json:"auth" flag:"api-auth" doc:"token, mtls, any of both, or none (loopback only)"`
	TokenFile string `json:"tokenFile" flag:"api-token-file" doc:"file with one bearer token a line; read again when it changes"`
	Cert      string `json:"certFile" flag:"api-cert-file" doc:"certificate of the API; empty for plain HTTP (loopback only)"`
	Key       string `json:"keyFile" flag:"api-key-file" doc:"private key of the API"`
	ClientCA  string `json:"clientCAFile" flag:"api-client-ca-file" doc:"certificates that may have signed a client's (auth mtls or any)"`
	Backlog   int    `json:"backlog" doc:"records (1.3 KB each) that the API keeps in memory for observe --last and for slow clients"`
	Clients   int    `json:"maxClients" doc:"live streams at once"`

	Queries       int           `json:"maxQueries" doc:"queries that run at once; one more is refused"`
	QueryTimeout  time.Duration `json:"queryTimeout" doc:"how long a query may take"`
	Exports       int           `json:"maxExports" doc:"lists of more than 10,000 rows that are sent at once, each while it is searched for; one more is refused"`
	ExportTimeout time.Duration `json:"exportTimeout" doc:"how long such a list may take, waiting for its reader included"`
	Live          int           `json:"liveConnections" doc:"connections (1.4 KB each) that queries find before the correlator tells them"`
	Peers         []string      `json:"peers" doc:"the APIs of the other aggregators of the same agents, as HOST:PORT; a query asks them all"`
	PeerCA        string        `json:"peerCAFile" doc:"certificates that may have signed the peers'; they are shown certFile"`
	PeerTokenFile string        `json:"peerTokenFile" doc:"file with the bearer token for the peers; read for each query"`

	TokenReview   bool `json:"tokenReview" flag:"api-token-review" doc:"take tokens of Kubernetes too: a caller sees the namespaces in which he may get flows.weir.dev"`
	CallerQueries int  `json:"callerQueries" doc:"queries of one caller that run at once"`
	CallerStreams int  `json:"callerStreams" doc:"live streams of one caller at once"`
	CallerRate    int  `json:"callerRate" doc:"requests of one caller a second; three times as many at once"`
}

// DefaultAggregator gives the values of keys that the file leaves out.
func DefaultAggregator() *Aggregator {
	return &Aggregator{
		DataDir:     "/var/lib/weir",
		StopTimeout: 30 * time.Second,
		Collect:     Collect{TLS: ":4740", MaxSessions: 10000},
		Correlate: Correlate{
			ActiveTimeout: 60 * time.Second, InactiveTimeout: 90 * time.Second, HalfTimeout: 20 * time.Second, MaxConnections: 4 << 20,
		},
		History: History{Enabled: true, Memory: 512 << 20, MaxBytes: 20 << 30, MaxAge: 7 * 24 * time.Hour, Longer: "auto"},
		Cluster: Cluster{Source: "auto"},
		API:     API{Listen: "127.0.0.1:8443", Auth: "token", Backlog: 1 << 14, Clients: 100, Queries: 4, QueryTimeout: 30 * time.Second, Exports: 2, ExportTimeout: 10 * time.Minute, Live: 1 << 15, CallerQueries: 4, CallerStreams: 20, CallerRate: 20},
		Metrics: obs.Config{Listen: "127.0.0.1:9642"},
		Log:     obs.DefaultLogConfig(),
	}
}

// SetDefaults fills what an item of sinks leaves out.
func (s *Sink) SetDefaults() {
	s.Spool = Spool{
		MaxBytes: 1 << 30, WhenFull: "drop_oldest", FsyncEvery: time.Second,
		RetryMin: 250 * time.Millisecond, RetryMax: 30 * time.Second,
	}
	s.JSONL = JSONLSink{Format: "jsonl", MaxBytes: 100 << 20, Keep: 10, Compress: true}
	s.IPFIX = IPFIXSink{Transport: "tls", Template: "antrea", Format: "ipfix", Domain: 1}
	s.ClickHouse.SetDefaults()
	s.Kafka.SetDefaults()
	s.S3.SetDefaults()
	s.Elastic.SetDefaults()
}

// Validate checks what no single part can see.
func (a *Aggregator) Validate() error {
	errs := []error{positive("stopTimeout", a.StopTimeout)}
	if a.DataDir == "" || !filepath.IsAbs(a.DataDir) && len(a.Sinks) > 0 && a.DataDir[0] != '.' {
		errs = append(errs, fmt.Errorf("dataDir: %q is no path: name a directory that the aggregator may write, as in /var/lib/weir", a.DataDir))
	}
	names := map[string]int{}
	for i, s := range a.Sinks {
		if at, twice := names[s.Name]; twice {
			errs = append(errs, fmt.Errorf("sinks[%d].name: %q is the name of sinks[%d] too: give each sink its own", i, s.Name, at))
		}
		names[s.Name] = i
		if s.Name == "history" {
			errs = append(errs, fmt.Errorf("sinks[%d].name: history is the name of the built-in history: take another", i))
		}
	}
	if l := a.History.Longer; l != "auto" && l != "none" && a.LongHistory() == nil {
		errs = append(errs, fmt.Errorf("history.longer: %q is no sink of kind clickhouse without a filter: name one, or auto or none", l))
	}
	return errors.Join(errs...)
}

// LongHistory is the sink whose database answers for what is older than the built-in
// history; nil for none. One that has a filter does not know all flows.
func (a *Aggregator) LongHistory() *Sink {
	for i := range a.Sinks {
		s := &a.Sinks[i]
		if s.Kind == "clickhouse" && !s.Filter.Set() && (a.History.Longer == "auto" || a.History.Longer == s.Name) {
			return s
		}
	}
	return nil
}

// Set reports whether the filter leaves anything out.
func (f *Filter) Set() bool {
	return f.Query != "" || f.Not || len(f.Namespaces)+len(f.Outcomes)+len(f.Scopes)+len(f.Protocols)+len(f.CIDRs) > 0
}

// Validate checks the limits.
func (h *History) Validate() error {
	if !h.Enabled {
		return nil
	}
	var errs []error
	if h.Memory < 16<<20 {
		errs = append(errs, fmt.Errorf("memory: %d is too small for recent rows: give at least 16777216 (16 MiB), or set enabled: false", h.Memory))
	}
	if h.MaxBytes < 64<<20 {
		errs = append(errs, fmt.Errorf("maxBytes: %d is too small for a history: give at least 67108864 (64 MiB), or set enabled: false", h.MaxBytes))
	}
	if h.MaxAge < time.Minute {
		errs = append(errs, fmt.Errorf("maxAge: %s keeps nothing: give at least 1m, or set enabled: false", h.MaxAge))
	}
	return errors.Join(errs...)
}

// Validate checks addresses and that TLS has its files.
func (c *Collect) Validate() error {
	var errs []error
	if c.TCP == "" && c.TLS == "" && c.UDP == "" {
		errs = append(errs, errors.New("tls: nothing would listen: set tls, tcp or udp to an address, as in :4740"))
	}
	for _, l := range []struct{ key, addr string }{{"tcp", c.TCP}, {"tls", c.TLS}, {"udp", c.UDP}} {
		if l.addr != "" {
			errs = append(errs, hostPort(l.key, l.addr))
		}
	}
	if c.TLS != "" {
		for _, f := range []struct{ key, value string }{{"certFile", c.Cert}, {"keyFile", c.Key}, {"clientCAFile", c.ClientCA}} {
			if f.value == "" {
				errs = append(errs, fmt.Errorf("%s: collect.tls needs it: name the file, or set tls: \"\" and tcp: 127.0.0.1:4739 on a network that you trust", f.key))
			}
		}
	}
	if c.MaxSessions < 1 {
		errs = append(errs, fmt.Errorf("maxSessions: %d admits nobody: give at least 1", c.MaxSessions))
	}
	return errors.Join(errs...)
}

// Validate checks the times.
func (c *Correlate) Validate() error {
	errs := []error{positive("activeTimeout", c.ActiveTimeout), positive("inactiveTimeout", c.InactiveTimeout), positive("halfTimeout", c.HalfTimeout)}
	if c.Shards < 0 || c.Shards > 1024 {
		errs = append(errs, fmt.Errorf("shards: %d is out of range: give 0 for one a core, at most 1024", c.Shards))
	}
	if c.MaxConnections < 1 {
		errs = append(errs, fmt.Errorf("maxConnections: %d holds nothing: give at least 1", c.MaxConnections))
	}
	return errors.Join(errs...)
}

func oneOf(key, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	last := len(words) - 1
	return fmt.Errorf("%s: %q is unknown: use %s or %s", key, value, strings.Join(words[:last], ", "), words[last])
}

// Validate checks the sink's own part.
func (s *Sink) Validate() error {
	var errs []error
	if s.Name == "" || s.Name != filepath.Base(s.Name) || s.Name[0] == '.' {
		errs = append(errs, fmt.Errorf("name: %q cannot name a directory: use letters, digits and dashes", s.Name))
	}
	if _, err := query.ParseExpr(s.Filter.Query); err != nil {
		errs = append(errs, fmt.Errorf("filter.query: %w", err))
	}
	switch s.Kind {
	case "jsonl":
		if s.JSONL.Path == "" {
			errs = append(errs, errors.New("jsonl.path: missing: name the file to write"))
		}
		errs = append(errs, oneOf("jsonl.format", s.JSONL.Format, "jsonl", "csv", "antrea-csv", "antrea-flowlog"))
	case "ipfix":
		errs = append(
			errs, hostPort("ipfix.address", s.IPFIX.Address), oneOf("ipfix.transport", s.IPFIX.Transport, "tcp", "tls", "udp"),
			oneOf("ipfix.template", s.IPFIX.Template, "antrea", "antrea-proxy", "iana", "weir"), oneOf("ipfix.format", s.IPFIX.Format, "ipfix", "json"),
		)
	case "prom":
		errs = append(errs, s.Prom.check(s.Name))
	case "clickhouse":
		errs = append(errs, s.ClickHouse.check(s.Name))
	case "kafka":
		errs = append(errs, s.Kafka.check(s.Name))
	case "s3":
		errs = append(errs, s.S3.check(s.Name))
	case "elasticsearch":
		errs = append(errs, s.Elastic.check(s.Name))
	default:
		errs = append(errs, oneOf("kind", s.Kind, "jsonl", "ipfix", "prom", "clickhouse", "kafka", "s3", "elasticsearch"))
	}
	return errors.Join(errs...)
}

// Validate checks the limits.
func (s *Spool) Validate() error {
	errs := []error{
		oneOf("whenFull", s.WhenFull, "drop_oldest", "drop_newest"), positive("fsyncEvery", s.FsyncEvery),
		positive("retryMin", s.RetryMin), positive("retryMax", s.RetryMax),
	}
	if s.MaxBytes < 1<<20 {
		errs = append(errs, fmt.Errorf("maxBytes: %d is too small for a segment: give at least 1048576", s.MaxBytes))
	}
	if s.BatchSize < 0 || s.BatchSize > 1_000_000 {
		errs = append(errs, fmt.Errorf("batchSize: %d is out of range: give 1 to 1000000, or 0 for what suits the kind", s.BatchSize))
	}
	if s.BatchAge < 0 {
		errs = append(errs, fmt.Errorf("batchAge: %v is below zero: give 0 for what suits the kind", s.BatchAge))
	}
	if s.RetryMax < s.RetryMin {
		errs = append(errs, fmt.Errorf("retryMax: %s is below retryMin (%s): raise it", s.RetryMax, s.RetryMin))
	}
	return errors.Join(errs...)
}

// Validate refuses an API that strangers could read.
func (a *API) Validate() error {
	if a.Listen == "" {
		return nil
	}
	var errs []error
	loopback := isLoopback(a.Listen)
	errs = append(errs, hostPort("listen", a.Listen), oneOf("auth", a.Auth, "token", "mtls", "any", "none"))
	if a.Auth == "none" && !loopback {
		errs = append(errs, fmt.Errorf("auth: none is for loopback only and listen is %s: set auth: token with tokenFile, or listen: 127.0.0.1:8443", a.Listen))
	}
	if (a.Auth == "token" || a.Auth == "any") && a.TokenFile == "" && !a.TokenReview {
		errs = append(errs, errors.New("tokenFile: auth token needs a file with a token: make one with `head -c 32 /dev/urandom | base64 > FILE`, or set auth: none on loopback"))
	}
	if (a.Cert == "") != (a.Key == "") {
		errs = append(errs, errors.New("certFile: certFile and keyFile go together: set both or none"))
	}
	if a.Cert == "" && !loopback {
		errs = append(errs, fmt.Errorf("certFile: plain HTTP is for loopback only and listen is %s: set certFile and keyFile", a.Listen))
	}
	if (a.Auth == "mtls" || a.Auth == "any") && (a.ClientCA == "" || a.Cert == "") {
		errs = append(errs, fmt.Errorf("clientCAFile: auth %s needs certFile, keyFile and clientCAFile: set them", a.Auth))
	}
	if a.Queries < 1 || a.QueryTimeout < time.Second || a.Live < 1 {
		errs = append(errs, errors.New("maxQueries: maxQueries and liveConnections hold at least 1 each, and queryTimeout is at least 1s: raise the one that is lower"))
	}
	if a.Exports < 1 || a.ExportTimeout < time.Second {
		errs = append(errs, errors.New("maxExports: it holds at least 1, and exportTimeout is at least 1s: raise the one that is lower"))
	}
	for i, p := range a.Peers {
		errs = append(errs, hostPort(fmt.Sprintf("peers[%d]", i), p))
	}
	if a.PeerCA == "" && slices.ContainsFunc(a.Peers, func(p string) bool { return !isLoopback(p) }) {
		errs = append(errs, errors.New("peerCAFile: peers beyond loopback are asked over TLS: name the file with the CA of their certificates"))
	}
	if a.CallerQueries < 1 || a.CallerStreams < 1 || a.CallerRate < 1 {
		errs = append(errs, errors.New("callerQueries: callerQueries, callerStreams and callerRate hold at least 1 each: raise the one that is lower"))
	}
	if a.Backlog < 1 || a.Clients < 1 {
		errs = append(errs, errors.New("backlog: backlog and maxClients hold at least 1 each: raise the one that is lower"))
	}
	return errors.Join(errs...)
}

func isLoopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback()
}
