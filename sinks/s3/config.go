package s3

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weirnet/weir/sinks/remote"
)

// Config is one prefix of one bucket.
type Config struct {
	Name      string // of the sink
	Endpoint  string // https://HOST[:PORT], or http:// for plain text
	Region    string
	Bucket    string
	Prefix    string // of the names of objects, without slashes around it
	PathStyle bool   // the bucket is in the path, not in the host's name

	AccessKey, SecretKey remote.Secret // read for each request; without them, as the AWS SDKs find theirs
	TLS                  remote.TLS    // On follows from the endpoint; files are read at each connect

	Format     string        // parquet, antrea-csv or jsonl
	Compress   bool          // gzip of the text formats; Parquet has its own
	Partition  string        // hour, day or none: how objects are laid out by the end of their records
	Interval   time.Duration // an upload has records of this long
	MaxRecords int           // or so many
	PartBytes  int64         // a larger object is sent in parts of this size
	Timeout    time.Duration // for the endpoint to connect, and for it to begin its answer
	StateFile  string        // says which upload is under way; in the spool's directory
}

// DefaultConfig gives the values for everything but Endpoint, Bucket and StateFile.
func DefaultConfig() Config {
	return Config{
		Name: "s3", Region: "us-east-1", Prefix: "weir", Format: "parquet", Compress: true, Partition: "hour",
		Interval: time.Minute, MaxRecords: 250_000, PartBytes: 16 << 20, Timeout: 10 * time.Second,
		AccessKey: remote.Secret{Name: "accessKey"}, SecretKey: remote.Secret{Name: "secretKey"},
	}
}

// bucketForm is what S3 takes as a bucket's name, the old rules included.
var bucketForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{1,253}[a-zA-Z0-9]$`)

const (
	minPart    = 5 << 20 // of S3 itself
	maxRecords = 5_000_000
)

// Validate says which value is wrong and what would be right.
func (c *Config) Validate() error {
	var errs []error
	if c.Name == "" {
		errs = append(errs, errors.New("name: is empty"))
	}
	u, err := url.Parse(c.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http":
		errs = append(errs, fmt.Errorf("endpoint: %q is no URL: give https://HOST, as in https://s3.eu-central-1.amazonaws.com", c.Endpoint))
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil:
		errs = append(errs, fmt.Errorf("endpoint: %q has more than a host and a port: bucket and prefix have keys of their own", c.Endpoint))
	case u.Scheme == "http" && (c.TLS.CA != "" || c.TLS.Cert != "" || c.TLS.ServerName != ""):
		errs = append(errs, errors.New("endpoint: is http, and ca, cert or serverName are given: use https"))
	}
	if !bucketForm.MatchString(c.Bucket) {
		errs = append(errs, fmt.Errorf("bucket: %q is no name of a bucket: use 3 to 255 letters, digits, dots and -", c.Bucket))
	}
	if c.Prefix != strings.Trim(c.Prefix, "/") || strings.Contains(c.Prefix, "//") || strings.ContainsAny(c.Prefix, "*?{}=") {
		errs = append(errs, fmt.Errorf("prefix: %q: leave out slashes around it, and * ? { } =, which readers take for more than names", c.Prefix))
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		errs = append(errs, errors.New("cert, key: give both or none"))
	}
	if c.AccessKey.Given() != c.SecretKey.Given() {
		errs = append(errs, errors.New("accessKeyFile, secretKeyFile: give both (or accessKeyEnv, secretKeyEnv), or none where the platform gives credentials"))
	}
	errs = append(errs, c.AccessKey.Validate(), c.SecretKey.Validate(),
		oneOf("format", c.Format, "parquet", "antrea-csv", "jsonl"), oneOf("partition", c.Partition, "hour", "day", "none"))
	if c.Interval < time.Second {
		errs = append(errs, fmt.Errorf("interval: %v: give at least 1s", c.Interval))
	}
	if c.MaxRecords < 1 || c.MaxRecords > maxRecords {
		errs = append(errs, fmt.Errorf("maxRecords: %d is not in 1 to %d", c.MaxRecords, maxRecords))
	}
	if c.PartBytes < minPart {
		errs = append(errs, fmt.Errorf("partBytes: %d is below %d, which S3 asks of a part", c.PartBytes, minPart))
	}
	if c.Timeout <= 0 {
		errs = append(errs, errors.New("timeout: must be above zero"))
	}
	return errors.Join(errs...)
}

func oneOf(key, value string, words ...string) error {
	if slices.Contains(words, value) {
		return nil
	}
	return fmt.Errorf("%s: %q is none of %v", key, value, words)
}
