package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/weirnet/weir/internal/kube"
	"github.com/weirnet/weir/internal/limitfile"
)

// client asks the aggregator.
type client struct {
	env                              *Env
	server, tokenFile, ca, cert, key string
	serverName                       string
	timeout                          time.Duration
	http                             *http.Client
	base                             *url.URL
	token                            string
	flag, program                    string // that names it, and what it is; empty for the aggregator

	forward bool // to the aggregator's pod, through the API server of to.Kubeconfig
	to      kube.ForwardTo
	way     *kube.Forward
}

// close ends what open opened.
func (c *client) close() {
	if c.way != nil {
		c.way.Close()
	}
}

// named is the flag that says where to ask, and the program that should answer there.
func (c *client) named() (flag, program string) {
	if c.flag == "" {
		return "server", "weir-aggregator"
	}
	return c.flag, c.program
}

const (
	defaultServer = "127.0.0.1:8443"
	defaultAgent  = "127.0.0.1:9641"
)

func (c *client) bind(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&c.server, "server", "", "aggregator's API as HOST:PORT or URL (WEIR_SERVER; default "+defaultServer+")")
	f.StringVar(&c.tokenFile, "token-file", "", "file with the bearer token (WEIR_TOKEN_FILE)")
	f.StringVar(&c.ca, "ca-file", "", "certificates that may have signed the server's (WEIR_CA_FILE)")
	f.StringVar(&c.cert, "cert-file", "", "client certificate")
	f.StringVar(&c.key, "key-file", "", "key of the client certificate")
	f.StringVar(&c.serverName, "server-name", "", "name that the server's certificate must hold")
	f.BoolVarP(&c.forward, "port-forward", "P", false, "ask through the cluster's API server, as kubectl port-forward does")
	f.StringVar(&c.to.Kubeconfig, "kubeconfig", "", "kubeconfig of --port-forward (default KUBECONFIG or ~/.kube/config)")
	f.StringVar(&c.to.Context, "context", "", "context of the kubeconfig (default its current one)")
	f.StringVar(&c.to.Namespace, "weir-namespace", "weir", "namespace in which --port-forward finds weir-aggregator")
	f.StringVar(&c.to.Port, "forward-port", "api", "name or number of the pod's port")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for the server's first answer")
}

func flagNames(cmd *cobra.Command) []string {
	var names []string
	add := func(f *pflag.Flag) { names = append(names, f.Name) }
	cmd.Flags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return names
}

// aggregator is what weir's manifests call the StatefulSet and the Service.
const aggregator = "weir-aggregator"

// open reads the flags and the environment; a flag beats the environment.
func (c *client) open(ctx context.Context) error {
	if c.http != nil {
		return nil
	}
	if c.forward {
		if c.server != "" {
			return usagef("--port-forward and --server exclude each other")
		}
		c.to.Selector = "app.kubernetes.io/name=" + aggregator
		way, err := kube.OpenForward(ctx, c.to)
		if err != nil {
			return err
		}
		c.way, c.server = way, "https://"+way.Addr
		if c.serverName == "" { // as the certificate of the manifests has it
			c.serverName = way.Pod + "." + aggregator + "." + way.Namespace + ".svc"
		}
	}
	pick := func(flag, env, dflt string) string {
		if flag != "" {
			return flag
		}
		if v := c.env.Getenv(env); v != "" {
			return v
		}
		return dflt
	}
	switch {
	case c.timeout <= 0:
		return usagef("--timeout: %v is no time to wait: write it like 10s", c.timeout)
	case (c.cert == "") != (c.key == ""):
		return usagef("a client certificate and its key belong together: give both --cert-file and --key-file")
	}
	server := pick(c.server, "WEIR_SERVER", defaultServer)
	ca := pick(c.ca, "WEIR_CA_FILE", "")
	tokenFile := pick(c.tokenFile, "WEIR_TOKEN_FILE", "")
	var err error
	if c.base, err = c.serverURL(server, ca != "" || c.cert != ""); err != nil {
		return err
	}
	if tokenFile != "" {
		b, err := limitfile.Read(tokenFile, 1<<20)
		if err != nil {
			return fmt.Errorf("read the token: %w", err)
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				c.token = line
				break
			}
		}
		if c.token == "" {
			return fmt.Errorf("read the token: %s holds none", tokenFile)
		}
		if host := c.base.Hostname(); c.base.Scheme == "http" && !isLoopback(host) {
			return usagef("a token would be sent to %s in the clear: use https://", host)
		}
	}
	tc := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.serverName}
	if ca != "" {
		pem, err := limitfile.Read(ca, 4<<20)
		if err != nil {
			return fmt.Errorf("read the CA: %w", err)
		}
		tc.RootCAs = x509.NewCertPool()
		if !tc.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("read the CA: %s holds no PEM certificate", ca)
		}
	}
	if c.cert != "" || c.key != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return fmt.Errorf("read the client certificate and its key: %w", err)
		}
		tc.Certificates = []tls.Certificate{pair}
	}
	c.http = &http.Client{Transport: &http.Transport{
		TLSClientConfig: tc, ResponseHeaderTimeout: c.timeout, TLSHandshakeTimeout: c.timeout,
		DialContext: (&net.Dialer{Timeout: c.timeout}).DialContext, Proxy: http.ProxyFromEnvironment,
	}}
	return nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// serverURL takes HOST:PORT as https, and as http on loopback where no certificate
// is given.
func (c *client) serverURL(s string, secure bool) (*url.URL, error) {
	flag, _ := c.named()
	if !strings.Contains(s, "://") {
		host, _, err := net.SplitHostPort(s)
		if err != nil || host == "" {
			like := defaultServer
			if flag == "agent" {
				like = defaultAgent
			}
			return nil, usagef("--%s: %q is no HOST:PORT: write it like %s", flag, s, like)
		}
		if isLoopback(host) && !secure {
			s = "http://" + s
		} else {
			s = "https://" + s
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usagef("--%s: %q is no http or https URL", flag, s)
	}
	return u, nil
}

// statusError is an answer that is no success.
type statusError struct {
	code int
	host string
	text string
}

func (e *statusError) Error() string { return e.host + ": " + e.text }

// get asks for path; the caller closes the body.
func (c *client) get(ctx context.Context, path string, q url.Values) (io.ReadCloser, error) {
	return c.send(ctx, path, q, nil)
}

// postQuery asks a query with a form, for what may be too long for a URL.
func (c *client) postQuery(ctx context.Context, form url.Values) (io.ReadCloser, error) {
	return c.send(ctx, "/api/v1/query", nil, &content{"application/x-www-form-urlencoded", strings.NewReader(form.Encode())})
}

// content is the body of a request.
type content struct {
	media string
	text  io.Reader
}

// send asks for path, with a body if there is one.
func (c *client) send(ctx context.Context, path string, q url.Values, x *content) (io.ReadCloser, error) {
	if err := c.open(ctx); err != nil {
		return nil, err
	}
	u := *c.base
	u.Path = strings.TrimSuffix(u.Path, "/") + path
	u.RawQuery = q.Encode()
	method := http.MethodGet
	var body io.Reader
	if x != nil {
		method, body = http.MethodPost, x.text
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", c.base.Host, err)
	}
	if x != nil {
		req.Header.Set("Content-Type", x.media)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	var f struct {
		Error string `json:"error"`
	}
	b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<16)) // what came of it is enough
	if json.Unmarshal(b, &f) != nil || f.Error == "" {
		_, program := c.named()
		f.Error = fmt.Sprintf("%s at %s, which is no answer of %s: is that its address?", res.Status, u.Path, program)
	}
	if bytes.Contains(b, []byte("HTTP request to an HTTPS server")) {
		return nil, fmt.Errorf("%s: speaks TLS: give the CA of its certificate with --ca-file, or write --server https://%s", c.base.Host, c.base.Host)
	}
	if res.StatusCode == http.StatusBadRequest {
		return nil, usagef("%s: %s", c.base.Host, f.Error)
	}
	return nil, &statusError{res.StatusCode, c.base.Host, f.Error}
}

// explain adds the remedy to what commonly goes wrong.
func (c *client) explain(err error) error {
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	var unknown x509.UnknownAuthorityError
	var record tls.RecordHeaderError
	var invalid x509.CertificateInvalidError
	var name x509.HostnameError
	var op *net.OpError
	var late net.Error
	flag, program := c.named()
	prefix := strings.TrimSuffix(flag, "server")
	if prefix != "" {
		prefix += "-"
	}
	switch {
	case c.way != nil && c.way.Failure() != "":
		return fmt.Errorf("pod %s/%s: %s: is --forward-port right?", c.way.Namespace, c.way.Pod, strings.TrimSpace(c.way.Failure()))
	case errors.As(err, &unknown):
		return fmt.Errorf("%s: %w: give the CA that signed its certificate with --%sca-file", c.base.Host, err, prefix)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("%s: %w: renew its certificate, or set the clock of this machine right", c.base.Host, err)
	case errors.As(err, &name):
		return fmt.Errorf("%s: %w: name one that it is for with --%sserver-name", c.base.Host, err, prefix)
	case strings.Contains(err.Error(), "remote error: tls: certificate required") && c.cert != "":
		return fmt.Errorf("%s: it wants a client certificate of a CA that it knows, and %s is of none", c.base.Host, c.cert)
	case strings.Contains(err.Error(), "remote error: tls: certificate required"):
		return fmt.Errorf("%s: it wants a client certificate: give --%scert-file and --%[2]skey-file", c.base.Host, prefix)
	case strings.Contains(err.Error(), "remote error: tls: "):
		return fmt.Errorf("%s: it refuses the client certificate: %w: has it expired, or was it signed by another CA?", c.base.Host, err)
	case errors.As(err, &record), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Errorf("%s: speaks plain HTTP: write --%s http://%s", c.base.Host, flag, c.base.Host)
	case errors.As(err, &op) && op.Op == "dial":
		if c.flag != "" {
			return fmt.Errorf("%w: is %s running there? Name it with --%s", err, program, flag)
		}
		return fmt.Errorf("%w: is %s running there? Name it with --server or WEIR_SERVER", err, program)
	case errors.As(err, &late) && late.Timeout():
		return fmt.Errorf("%s: no answer within %v: take a shorter range or a narrower condition, or raise --timeout", c.base.Host, c.timeout)
	}
	return fmt.Errorf("%s: %w", c.base.Host, err)
}

// getJSON asks for path and decodes the answer.
func (c *client) getJSON(ctx context.Context, path string, q url.Values, into any) error {
	return c.askJSON(ctx, path, q, nil, into)
}

// askJSON asks with a body and decodes the answer.
func (c *client) askJSON(ctx context.Context, path string, q url.Values, x *content, into any) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	body, err := c.send(ctx, path, q, x)
	if err != nil {
		return err
	}
	defer body.Close()
	if err := json.NewDecoder(io.LimitReader(body, 64<<20)).Decode(into); err != nil {
		return c.unreadable(err)
	}
	return nil
}

// unreadable explains an answer that cannot be read.
func (c *client) unreadable(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: the answer broke off: the server stopped or the network did", c.base.Host)
	}
	if _, ok := errors.AsType[*json.SyntaxError](err); ok || errors.Is(err, io.EOF) {
		_, program := c.named()
		return fmt.Errorf("%s: what answers is no %s: is that its address?", c.base.Host, program)
	}
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		return c.explain(err)
	}
	return fmt.Errorf("%s: %w", c.base.Host, err)
}
