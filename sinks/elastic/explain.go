package elastic

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
)

// errBlocked marks an index that takes no writes.
const errBlocked = "cluster_block_exception"

// explain adds to an error what to do about it.
func (c *Config) explain(err error) error {
	if err == nil {
		return nil
	}
	status, typ := statusOf(err)
	switch {
	case typ == errBlocked:
		return fmt.Errorf("index %s takes no writes: where a disk is full, make room (the block goes by itself below the high watermark); where someone set the block, take it away with PUT /%s/_settings {\"index.blocks.read_only_allow_delete\":null,\"index.blocks.write\":null}: %w", c.Index, c.Index, err)
	case status == http.StatusUnauthorized && c.apiKey().Given():
		return fmt.Errorf("the server refuses the API key: %s: %w", c.apiKey().Advice(), err)
	case status == http.StatusUnauthorized && c.Username == "":
		return fmt.Errorf("the server wants credentials: give apiKeyFile, or username and passwordFile: %w", err)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("the server refuses user %q: %s: %w", c.Username, c.password().Advice(), err)
	case status == http.StatusForbidden:
		return fmt.Errorf("the server knows who asks and does not allow it: grant the cluster privileges monitor and manage_index_templates and, on %s, auto_configure, create_doc, read, view_index_metadata, manage and delete; or set schema: check and let an administrator make the templates: %w", c.Index, err)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("the server has more to do than it can, records wait in the spool: %w", err)
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		if unknown := (x509.UnknownAuthorityError{}); errors.As(bad, &unknown) {
			return fmt.Errorf("the server's certificate is of a CA that is not trusted here: name its file in ca: %w", err)
		}
		return fmt.Errorf("the server's certificate is not good: %w", err)
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer in time from %v: is it Elasticsearch's HTTP port, and does the server live? %w", c.Hosts, err)
	}
	return err
}
