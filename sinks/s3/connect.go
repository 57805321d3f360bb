package s3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// keys reads the references at each request, so that what was rotated counts at once.
type keys struct{ cfg *Config }

// Retrieve implements credentials.Provider.
func (k keys) Retrieve() (v credentials.Value, err error) {
	if v.AccessKeyID, err = k.cfg.AccessKey.Read(); err != nil {
		return v, err
	}
	if v.SecretAccessKey, err = k.cfg.SecretKey.Read(); err != nil {
		return v, err
	}
	v.SignerType = credentials.SignatureV4
	return v, nil
}

// RetrieveWithCredContext implements credentials.Provider.
func (k keys) RetrieveWithCredContext(*credentials.CredContext) (credentials.Value, error) {
	return k.Retrieve()
}

// IsExpired implements credentials.Provider.
func (keys) IsExpired() bool { return true }

func (c *Config) credentials() *credentials.Credentials {
	if c.AccessKey.Given() {
		return credentials.New(keys{c})
	}
	return credentials.New(&platform{})
}

// platform takes the nearest credentials that there are. It is not minio's chain, which
// without any goes on unsigned and says nothing of what was tried.
type platform struct{ from credentials.Provider }

// Retrieve implements credentials.Provider.
func (p *platform) Retrieve() (credentials.Value, error) { return p.RetrieveWithCredContext(nil) }

// RetrieveWithCredContext implements credentials.Provider.
func (p *platform) RetrieveWithCredContext(cc *credentials.CredContext) (credentials.Value, error) {
	var errs []error
	for _, next := range []credentials.Provider{
		&credentials.EnvAWS{}, &credentials.FileAWSCredentials{},
		&credentials.IAM{}, // the roles of a pod, a task or a machine
	} {
		v, err := next.RetrieveWithCredContext(cc)
		if err == nil && v.AccessKeyID != "" && v.SecretAccessKey != "" {
			p.from = next
			return v, nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	p.from = nil
	return credentials.Value{}, fmt.Errorf("the platform gives no credentials: name accessKeyFile and secretKeyFile, or see to AWS_ACCESS_KEY_ID, ~/.aws/credentials, AWS_WEB_IDENTITY_TOKEN_FILE with AWS_ROLE_ARN, or the machine's role: %w", errors.Join(errs...))
}

// IsExpired implements credentials.Provider.
func (p *platform) IsExpired() bool { return p.from == nil || p.from.IsExpired() }

func (c *Config) client(t *http.Transport) (*minio.Core, error) {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if c.PathStyle {
		lookup = minio.BucketLookupPath
	}
	return minio.NewCore(u.Host, &minio.Options{
		Creds: c.credentials(), Secure: u.Scheme == "https", Region: c.Region, BucketLookup: lookup,
		Transport:  bounded{t},
		MaxRetries: 1, // the Runner tries again
	})
}

// maxAnswer bounds what is read of an answer: no object is ever asked for, and a list of
// uploads has a thousand of them at most.
const maxAnswer = 16 << 20

// bounded ends an answer that is longer.
type bounded struct{ *http.Transport }

// RoundTrip implements http.RoundTripper.
func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.Transport.RoundTrip(r)
	if err == nil {
		res.Body = &boundedBody{res.Body, maxAnswer}
	}
	return res, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

// Read implements io.Reader.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the endpoint answers more than %d MiB: is it an S3 endpoint, and nothing else at that address?", maxAnswer>>20)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

func (c *Config) transport() *http.Transport {
	dialer := &net.Dialer{Timeout: c.Timeout}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, DialTLSContext: c.dialTLS,
		ResponseHeaderTimeout: c.Timeout, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 8,
		DisableCompression: true, // the bytes of an object are its own
	}
}

// dialTLS connects with what the files say now.
func (c *Config) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	t := c.TLS
	t.On = true
	tc, err := t.Config()
	if err != nil {
		return nil, err
	}
	if tc.ServerName == "" {
		if tc.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return (&tls.Dialer{Config: tc}).DialContext(ctx, network, addr)
}

// codeOf gives the error code of S3 (API reference, "List of error codes"), "" for others.
func codeOf(err error) string {
	if e, ok := errors.AsType[minio.ErrorResponse](err); ok {
		return e.Code
	}
	return ""
}

// explain says what to do about errors that people make.
func (c *Config) explain(err error) error {
	if err == nil {
		return nil
	}
	switch codeOf(err) {
	case "InvalidAccessKeyId", "XAdminUserNotFound":
		return fmt.Errorf("the endpoint does not know the access key: %s: %w", c.AccessKey.Advice(), err)
	case "SignatureDoesNotMatch":
		return fmt.Errorf("the endpoint refuses the signature: %s: %w", c.SecretKey.Advice(), err)
	case "AccessDenied":
		return fmt.Errorf("access denied: %s, and grant s3:PutObject, s3:AbortMultipartUpload and s3:ListBucketMultipartUploads on bucket %s: %w", c.AccessKey.Advice(), c.Bucket, err)
	case "NoSuchBucket":
		return fmt.Errorf("there is no bucket %q: make it, Weir makes none: %w", c.Bucket, err)
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException":
		return fmt.Errorf("the bucket is not in region %q of this endpoint: set region and endpoint to those of the bucket: %w", c.Region, err)
	case "RequestTimeTooSkewed":
		return fmt.Errorf("the clocks of this machine and of the endpoint differ: set this one right: %w", err)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time from %s: is it an S3 endpoint, and does it live? %w", c.Endpoint, err)
	}
	return err
}
