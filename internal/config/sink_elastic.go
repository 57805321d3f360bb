package config

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/sinks/elastic"
)

// ElasticSink writes to Elasticsearch or OpenSearch.
type ElasticSink struct {
	Hosts    []string `json:"hosts" doc:"URLs of nodes of one cluster, as in https://elasticsearch.example:9200, tried in turn; http only where no credentials are given, or on loopback"`
	Username string   `json:"username" doc:"user, for basic authentication"`

	PasswordFile string `json:"passwordFile" doc:"file with the user's password, read at each request; a password never stands in the configuration"`
	PasswordEnv  string `json:"passwordEnv" doc:"or the variable of the environment that holds it"`
	APIKeyFile   string `json:"apiKeyFile" doc:"file with an API key, instead of a user: base64 of id:key, which Elasticsearch calls encoded; read at each request"`
	APIKeyEnv    string `json:"apiKeyEnv" doc:"or the variable of the environment that holds it"`

	CA         string `json:"ca" doc:"PEM file of the CA of the server; empty for those of the system"`
	Cert       string `json:"cert" doc:"PEM client certificate"`
	Key        string `json:"key" doc:"PEM key of the client certificate"`
	ServerName string `json:"serverName" doc:"name in the server's certificate, where it is not the host's"`

	Format      string        `json:"format" doc:"flows: a document a record; minutes: sums by minute; antrea-elk: the daily indices and names of Antrea 1.0's ELK flow collector"`
	Index       string        `json:"index" doc:"name of the data stream; of antrea-elk, what stands before the day; empty for weir-flows, weir-minutes or flow, by format"`
	Schema      string        `json:"schema" doc:"manage makes and renews the templates; check refuses to write where they do not fit"`
	Retention   time.Duration `json:"retention" doc:"documents go this long after the rollover of their backing index; 0 keeps them"`
	RetentionBy string        `json:"retentionBy" doc:"what lets them go: lifecycle (of data streams, Elasticsearch 8.11 and newer), ilm, none, or auto for the first that the server has"`
	Shards      int           `json:"shards" doc:"primary shards of a backing index"`
	Replicas    int           `json:"replicas" doc:"copies of each shard"`

	RequestBytes   int           `json:"requestBytes" doc:"most bytes of a _bulk request before it is compressed; halved while the server has no room for it"`
	RequestTimeout time.Duration `json:"requestTimeout" doc:"for one host to answer one request"`
	DialTimeout    time.Duration `json:"dialTimeout" doc:"for one host to take a connection"`
	Minutes        ElasticSums   `json:"minutes" doc:"for format minutes"`
}

// ElasticSums is what format minutes adds up.
type ElasticSums struct {
	By        []string      `json:"by" doc:"fields that tell sums apart"`
	MaxGroups int           `json:"maxGroups" doc:"sums held in memory; when there are so many they are written"`
	Every     time.Duration `json:"every" doc:"they are written at least this often"`
}

// SetDefaults fills what an item leaves out.
func (c *ElasticSink) SetDefaults() {
	d := elastic.DefaultConfig()
	c.Format, c.Schema, c.Retention, c.RetentionBy, c.Shards, c.Replicas = d.Format, d.Schema, d.Retention, d.RetentionBy, d.Shards, d.Replicas
	c.RequestBytes, c.RequestTimeout, c.DialTimeout = d.RequestBytes, d.RequestTimeout, d.DialTimeout
	c.Minutes = ElasticSums{By: d.Minutes.By, MaxGroups: d.Minutes.MaxGroups, Every: d.Minutes.Every}
}

// Sink gives the sink's own form; dir is for what it notes, version is Weir's.
func (c *ElasticSink) Sink(name, dir, version string) elastic.Config {
	return elastic.Config{
		Name: name, Hosts: c.Hosts, Username: c.Username, PasswordFile: c.PasswordFile, PasswordEnv: c.PasswordEnv,
		APIKeyFile: c.APIKeyFile, APIKeyEnv: c.APIKeyEnv, CAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, ServerName: c.ServerName,
		Format: c.Format, Index: c.Index, Schema: c.Schema, Retention: c.Retention, RetentionBy: c.RetentionBy, Shards: c.Shards, Replicas: c.Replicas,
		RequestBytes: c.RequestBytes, RequestTimeout: c.RequestTimeout, DialTimeout: c.DialTimeout,
		Minutes: elastic.Minutes{By: c.Minutes.By, MaxGroups: c.Minutes.MaxGroups, Every: c.Minutes.Every}, Dir: dir, Version: version,
	}
}

func (c *ElasticSink) check(name string) error {
	s := c.Sink(name, "", "")
	if err := s.Validate(); err != nil {
		return fmt.Errorf("elasticsearch.%w", err)
	}
	return nil
}
