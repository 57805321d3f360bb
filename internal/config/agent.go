package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/exporter/sockets"
	"github.com/weirnet/weir/internal/obs"
)

// AgentKind is the kind of weir-agent's file.
const AgentKind = "AgentConfig"

// Agent is the file of weir-agent.
type Agent struct {
	NodeName    string         `json:"nodeName" flag:"node-name" doc:"name of this node in records and in the cluster; empty for the host's name"`
	ObserveOnly bool           `json:"observeOnly" flag:"observe-only" doc:"observe and change nothing on the node; works on any Linux host and beside any CNI"`
	Replay      string         `json:"replay" flag:"replay" doc:"recorded conntrack stream to read instead of the kernel, at its own pace; needs no root"`
	StopTimeout time.Duration  `json:"stopTimeout" doc:"how long a stop may drain"`
	Conntrack   Conntrack      `json:"conntrack" doc:"what is read, and how often"`
	Track       Track          `json:"track" doc:"when a connection is exported"`
	Names       Names          `json:"names" doc:"where names come from"`
	DNS         DNS            `json:"dns" doc:"names and DNS answers from packets on port 53"`
	Sockets     sockets.Config `json:"sockets" doc:"what the kernel knows of the pods' sockets"`
	NFLOG       NFLOG          `json:"nflog" doc:"denials that the node's own rules log"`
	ICMP        ICMP           `json:"icmp" doc:"ICMP errors, with the connections that they quote"`
	Resets      Resets         `json:"resets" doc:"who reset a connection"`
	Probe       Probe          `json:"probe" doc:"canary connections that show whether every hop works"`
	Send        Send           `json:"send" doc:"where records go"`
	Metrics     obs.Config     `json:"metrics" doc:"where the agent can be watched"`
	Log         obs.LogConfig  `json:"log" doc:"how the agent logs"`
}

// Conntrack says what the agent reads.
type Conntrack struct {
	PollInterval     time.Duration `json:"pollInterval" flag:"poll-interval" doc:"time between two walks of the table; ends are told by events in between"`
	Zones            []uint16      `json:"zones" flag:"zones" doc:"conntrack zones to read; empty for all"`
	Netns            string        `json:"netns" flag:"netns" doc:"path of the network namespace to read (/run/netns/node-1); empty for the agent's own"`
	EnableAccounting bool          `json:"enableAccounting" flag:"enable-accounting" doc:"switch nf_conntrack_acct and nf_conntrack_timestamp on, and back at the stop; connections older than that never get counters"`
	OVSSocket        string        `json:"ovsSocket" flag:"ovs-socket" doc:"unixctl socket of ovs-vswitchd, to read its userspace conntrack instead of the kernel's"`
	EventBuffer      int           `json:"eventBuffer" doc:"bytes of the socket buffer for DESTROY events"`
}

// Track says when a connection is exported.
type Track struct {
	ActiveTimeout  time.Duration `json:"activeTimeout" flag:"active-timeout" doc:"a connection with traffic is exported this often"`
	IdleTimeout    time.Duration `json:"idleTimeout" flag:"idle-timeout" doc:"a connection without traffic is exported after this"`
	ToldFile       string        `json:"toldFile" doc:"file that remembers what was told of each connection beyond a kill of the agent, 56 bytes each, on a file system that outlives the process, as /run/weir/told; empty for none: then what a killed agent told counts twice where the aggregator was killed too"`
	MaxConnections int           `json:"maxConnections" doc:"connections held at once; beyond that the longest idle one is given up and counted"`
}

// Names says who gives addresses their names.
type Names struct {
	Source     string `json:"source" flag:"names-from" doc:"kubernetes, manifests, none, or auto: manifests where a directory is given, kubernetes where a kubeconfig is given or the agent runs in a pod, else none"`
	Kubeconfig string `json:"kubeconfig" flag:"kubeconfig" doc:"kubeconfig file; empty for the pod's service account"`
	Manifests  string `json:"manifests" flag:"manifests" doc:"directory of Kubernetes YAML that stands for the API server, read again when it changes"`
	CIDRs      string `json:"cidrs" flag:"names-file" doc:"file with one 'CIDR name' a line that names external addresses"`
	Labels     bool   `json:"labels" doc:"send pod labels with each record"`
}

// Send says where records go.
type Send struct {
	Aggregators []string      `json:"aggregators" flag:"aggregators" doc:"host:port of every aggregator; both ends of a connection meet at the same one"`
	Transport   string        `json:"transport" flag:"transport" doc:"tls, tcp or udp"`
	CA          string        `json:"caFile" flag:"ca-file" doc:"certificates that may have signed an aggregator's"`
	Cert        string        `json:"certFile" flag:"cert-file" doc:"certificate of this agent"`
	Key         string        `json:"keyFile" flag:"key-file" doc:"private key of this agent"`
	ServerName  string        `json:"serverName" doc:"name that the aggregator's certificate must hold; empty for the host of its address"`
	Queue       int           `json:"queue" doc:"records that wait for an aggregator before the oldest are given up and counted"`
	Template    time.Duration `json:"templateInterval" doc:"time between two sendings of the templates over UDP"`
	Domain      uint32        `json:"observationDomain" doc:"IPFIX observation domain; 0 for a hash of the node's name"`
}

// DefaultAgent gives the values of keys that the file leaves out.
func DefaultAgent() *Agent {
	return &Agent{
		StopTimeout: 15 * time.Second,
		Conntrack:   Conntrack{PollInterval: 5 * time.Second, EventBuffer: 8 << 20},
		Track:       Track{ActiveTimeout: 5 * time.Second, IdleTimeout: 15 * time.Second, MaxConnections: 1 << 20},
		Names:       Names{Source: "auto"},
		DNS:         DNS{MaxNames: 65536, MaxFlows: 32768, Grace: 5 * time.Minute},
		Sockets:     sockets.DefaultConfig(),
		Probe:       Probe{Wait: 30 * time.Second, Listen: true},
		Send:        Send{Transport: "tls", Queue: 1 << 16, Template: 10 * time.Minute},
		Metrics:     obs.Config{Listen: "127.0.0.1:9641"},
		Log:         obs.DefaultLogConfig(),
	}
}

// Validate checks what no single part can see.
func (a *Agent) Validate() error {
	var errs []error
	if !a.ObserveOnly && a.Replay == "" {
		errs = append(errs, errors.New("observeOnly: this version has no datapath of its own: set observeOnly: true or --observe-only"))
	}
	if a.Replay != "" && a.Conntrack.OVSSocket != "" {
		errs = append(errs, errors.New("replay: a replay and conntrack.ovsSocket exclude each other: remove one"))
	}
	if a.Probe.Interval > 0 && (a.Replay != "" || a.Conntrack.OVSSocket != "") {
		errs = append(errs, errors.New("probe.interval: canaries pass the kernel's conntrack, and the agent reads a replay or Open vSwitch: set probe.interval: 0"))
	}
	errs = append(errs, positive("stopTimeout", a.StopTimeout))
	return errors.Join(errs...)
}

// Validate checks the times.
func (c *Conntrack) Validate() error {
	errs := []error{positive("pollInterval", c.PollInterval)}
	if c.EventBuffer < 64<<10 {
		errs = append(errs, fmt.Errorf("eventBuffer: %d bytes hold too few events: give at least 65536", c.EventBuffer))
	}
	if c.OVSSocket != "" && !filepath.IsAbs(c.OVSSocket) {
		errs = append(errs, fmt.Errorf("ovsSocket: %q is no absolute path: name the socket, as in /var/run/openvswitch/ovs-vswitchd.123.ctl", c.OVSSocket))
	}
	return errors.Join(errs...)
}

// Validate checks the times.
func (c *Track) Validate() error {
	errs := []error{positive("activeTimeout", c.ActiveTimeout), positive("idleTimeout", c.IdleTimeout)}
	if c.ToldFile != "" && !filepath.IsAbs(c.ToldFile) {
		errs = append(errs, fmt.Errorf("toldFile: %q is no absolute path: write it like /run/weir/told", c.ToldFile))
	}
	if c.MaxConnections < 1 {
		errs = append(errs, fmt.Errorf("maxConnections: %d holds nothing: give at least 1", c.MaxConnections))
	}
	return errors.Join(errs...)
}

// Validate checks that the source has what it needs.
func (c *Names) Validate() error {
	switch c.Source {
	case "auto", "kubernetes", "none":
		if c.Source == "none" && c.Manifests != "" {
			return errors.New("manifests: the source is none, so nothing would read it: set source: manifests")
		}
	case "manifests":
		if c.Manifests == "" {
			return errors.New("manifests: the source is manifests, so a directory is needed: set it or --manifests")
		}
	default:
		return fmt.Errorf("source: %q is unknown: use auto, kubernetes, manifests or none", c.Source)
	}
	if c.Manifests != "" && c.Kubeconfig != "" {
		return errors.New("kubeconfig: kubeconfig and manifests exclude each other: remove one")
	}
	return nil
}

// Resolve turns auto into the source that is meant; inPod says whether the
// process runs with a service account.
func (c *Names) Resolve(inPod bool) string {
	switch {
	case c.Source != "auto":
		return c.Source
	case c.Manifests != "":
		return "manifests"
	case c.Kubeconfig != "" || inPod:
		return "kubernetes"
	}
	return "none"
}

// Validate checks addresses and which files the transport needs.
func (c *Send) Validate() error {
	var errs []error
	if len(c.Aggregators) == 0 {
		errs = append(errs, errors.New("aggregators: none is given: set host:port of at least one, or --aggregators"))
	}
	for i, a := range c.Aggregators {
		errs = append(errs, hostPort(fmt.Sprintf("aggregators[%d]", i), a))
		if first := slices.Index(c.Aggregators, a); first < i {
			errs = append(errs, fmt.Errorf("aggregators[%d]: %s is aggregators[%d] already: name each once", i, a, first))
		}
	}
	switch c.Transport {
	case "tls":
		for _, f := range []struct{ key, value, what string }{{"caFile", c.CA, "the CA"}, {"certFile", c.Cert, "the agent's certificate"}, {"keyFile", c.Key, "its key"}} {
			if f.value == "" {
				errs = append(errs, fmt.Errorf("%s: transport tls needs %s: set it, or set transport: tcp on a network that you trust", f.key, f.what))
			}
		}
	case "tcp", "udp":
		if c.CA != "" || c.Cert != "" || c.Key != "" {
			errs = append(errs, fmt.Errorf("transport: %s does not use the certificates that are given: set transport: tls", c.Transport))
		}
	default:
		errs = append(errs, fmt.Errorf("transport: %q is unknown: use tls, tcp or udp", c.Transport))
	}
	if c.Queue < 1 {
		errs = append(errs, fmt.Errorf("queue: %d holds nothing: give at least 1", c.Queue))
	}
	return errors.Join(append(errs, positive("templateInterval", c.Template))...)
}

func positive(key string, d time.Duration) error {
	if d <= 0 {
		return fmt.Errorf("%s: %q is no time to wait: write a duration above 0, like 5s", key, d)
	}
	return nil
}

func hostPort(key, s string) error {
	if strings.Contains(s, "://") {
		if u, err := url.Parse(s); err == nil {
			return fmt.Errorf("%s: %q is a URL: write %s", key, s, u.Host)
		}
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil || port == "" {
		return fmt.Errorf("%s: %q is no host:port: write it like weir-aggregator:4740", key, s)
	}
	_ = host // an empty host is every address of the machine
	return nil
}
