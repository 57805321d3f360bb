package config

import (
	"fmt"
	"time"

	"github.com/weirnet/weir/sinks/remote"
	"github.com/weirnet/weir/sinks/s3"
)

// S3Sink writes objects to a bucket.
type S3Sink struct {
	Endpoint  string `json:"endpoint" doc:"https://HOST[:PORT] of the endpoint; http:// for plain text"`
	Region    string `json:"region" doc:"region of the bucket"`
	Bucket    string `json:"bucket" doc:"bucket; it has to be there"`
	Prefix    string `json:"prefix" doc:"what the names of objects begin with; may be empty"`
	PathStyle bool   `json:"pathStyle" doc:"the bucket is in the path, not in the host's name, as with MinIO, Ceph and others of one's own"`

	AccessKeyFile string `json:"accessKeyFile" doc:"file with the access key, read for each request; without keys, those of the platform are taken: AWS_ variables, ~/.aws/credentials, the role of the pod or machine"`
	AccessKeyEnv  string `json:"accessKeyEnv" doc:"or the variable of the environment that holds it"`
	SecretKeyFile string `json:"secretKeyFile" doc:"file with the secret key, read for each request; a key never stands in the configuration"`
	SecretKeyEnv  string `json:"secretKeyEnv" doc:"or the variable of the environment that holds it"`

	CA         string `json:"ca" doc:"PEM file of the CA of the endpoint; empty for those of the system"`
	Cert       string `json:"cert" doc:"PEM client certificate"`
	Key        string `json:"key" doc:"PEM key of the client certificate"`
	ServerName string `json:"serverName" doc:"name in the endpoint's certificate, where it is not the host's"`

	Format     string        `json:"format" doc:"parquet (as the built-in history), antrea-csv (the order of Antrea's uploader) or jsonl"`
	Compress   bool          `json:"compress" doc:"gzip of antrea-csv and jsonl; Parquet has a compression of its own"`
	Partition  string        `json:"partition" doc:"by the end of the records, in UTC: hour (dt=2026-01-31/hour=23/), day (dt=2026-01-31/) or none"`
	Interval   time.Duration `json:"interval" doc:"an upload has the records of this long"`
	MaxRecords int           `json:"maxRecords" doc:"or so many"`
	PartBytes  int64         `json:"partBytes" doc:"a larger object is sent in parts of this size"`
	Timeout    time.Duration `json:"timeout" doc:"for the endpoint to connect, and for it to begin its answer"`
}

// SetDefaults fills what an item leaves out.
func (c *S3Sink) SetDefaults() {
	d := s3.DefaultConfig()
	c.Region, c.Prefix, c.Format, c.Compress, c.Partition = d.Region, d.Prefix, d.Format, d.Compress, d.Partition
	c.Interval, c.MaxRecords, c.PartBytes, c.Timeout = d.Interval, d.MaxRecords, d.PartBytes, d.Timeout
}

// Sink gives the sink's own form; stateFile is where it notes its uploads.
func (c *S3Sink) Sink(name, stateFile string) s3.Config {
	return s3.Config{
		Name: name, Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket, Prefix: c.Prefix, PathStyle: c.PathStyle,
		AccessKey: remote.Secret{Name: "accessKey", File: c.AccessKeyFile, Env: c.AccessKeyEnv},
		SecretKey: remote.Secret{Name: "secretKey", File: c.SecretKeyFile, Env: c.SecretKeyEnv},
		TLS:       remote.TLS{CA: c.CA, Cert: c.Cert, Key: c.Key, ServerName: c.ServerName},
		Format:    c.Format, Compress: c.Compress, Partition: c.Partition, Interval: c.Interval, MaxRecords: c.MaxRecords,
		PartBytes: c.PartBytes, Timeout: c.Timeout, StateFile: stateFile,
	}
}

func (c *S3Sink) check(name string) error {
	s := c.Sink(name, "upload.json")
	if err := s.Validate(); err != nil {
		return fmt.Errorf("s3.%w", err)
	}
	return nil
}
