package s3

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/minio/minio-go/v7/pkg/credentials"
)

// platformVariables are all that decide what a platform gives.
var platformVariables = []string{
	"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_ROLE_ARN", "AWS_ROLE_SESSION_NAME",
	"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
}

// cloud stands in for the addresses by which a platform gives credentials, which no test
// machine has: a token service, a task's and a machine's metadata.
type cloud struct {
	asked []string
}

// RoundTrip implements http.RoundTripper.
func (c *cloud) RoundTrip(r *http.Request) (*http.Response, error) {
	c.asked = append(c.asked, r.Method+" "+r.URL.Host+r.URL.Path)
	answer := func(status int, body string) (*http.Response, error) {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
	}
	keys := func(name string) string {
		b, _ := json.Marshal(map[string]any{"AccessKeyId": name, "SecretAccessKey": "secret-of-" + name, "Token": "session-of-" + name, "Expiration": time.Now().Add(time.Hour), "Code": "Success"})
		return string(b)
	}
	switch r.URL.Host + r.URL.Path {
	case "sts.eu-central-1.amazonaws.com", "sts.eu-central-1.amazonaws.com/":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		form := string(body) + r.URL.RawQuery
		if !strings.Contains(form, "AssumeRoleWithWebIdentity") || !strings.Contains(form, "arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fweir") || !strings.Contains(form, "token-of-the-pod") {
			return answer(http.StatusForbidden, "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>Not authorized to perform sts:AssumeRoleWithWebIdentity</Message></Error></ErrorResponse>")
		}
		return answer(http.StatusOK, fmt.Sprintf(`<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>pod</AccessKeyId><SecretAccessKey>secret-of-pod</SecretAccessKey><SessionToken>session-of-pod</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	case "169.254.170.2/task":
		return answer(http.StatusOK, keys("task"))
	case "127.0.0.1/pod-identity":
		if r.Header.Get("Authorization") != "token-of-the-pod" {
			return answer(http.StatusForbidden, "")
		}
		return answer(http.StatusOK, keys("identity"))
	case "169.254.169.254/latest/api/token":
		if r.Method != http.MethodPut || r.Header.Get("X-aws-ec2-metadata-token-ttl-seconds") == "" {
			return answer(http.StatusForbidden, "")
		}
		return answer(http.StatusOK, "imds")
	case "169.254.169.254/latest/meta-data/iam/security-credentials/":
		return answer(http.StatusOK, "node")
	case "169.254.169.254/latest/meta-data/iam/security-credentials/node":
		if r.Header.Get("X-aws-ec2-metadata-token") != "imds" {
			return answer(http.StatusUnauthorized, "")
		}
		return answer(http.StatusOK, keys("node"))
	}
	return answer(http.StatusNotFound, "")
}

// TestPlatformCredentials: without keys in the configuration the platform's are taken, the
// nearest first: the environment's, a file's, a pod's by web identity or by its agent, a
// task's, a machine's.
func TestPlatformCredentials(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := file("token", "token-of-the-pod")
	shared := file("credentials", "[default]\naws_access_key_id = file\naws_secret_access_key = secret-of-file\n[weir]\naws_access_key_id = profile\naws_secret_access_key = secret-of-profile\n")
	irsa := map[string]string{"AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": "arn:aws:iam::1:role/weir", "AWS_REGION": "eu-central-1"}
	for _, c := range []struct {
		name  string
		env   map[string]string
		want  string
		asked int // of the platform
	}{
		{"environment", map[string]string{"AWS_ACCESS_KEY_ID": "environment", "AWS_SECRET_ACCESS_KEY": "secret-of-environment"}, "environment", 0},
		{"file", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": shared}, "file", 0},
		{"profile", map[string]string{"AWS_SHARED_CREDENTIALS_FILE": shared, "AWS_PROFILE": "weir"}, "profile", 0},
		{"web identity", irsa, "pod", 1},
		{"environment before web identity", map[string]string{"AWS_ACCESS_KEY_ID": "environment", "AWS_SECRET_ACCESS_KEY": "secret-of-environment", "AWS_WEB_IDENTITY_TOKEN_FILE": token}, "environment", 0},
		{"pod identity", map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1/pod-identity", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token}, "identity", 1},
		{"task", map[string]string{"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/task"}, "task", 1},
		{"machine", nil, "node", 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, name := range platformVariables {
				t.Setenv(name, "")
			}
			t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			sky := &cloud{}
			cfg := DefaultConfig()
			v, err := cfg.credentials().GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: sky}})
			if err != nil {
				t.Fatalf("%v, asked %v", err, sky.asked)
			}
			if v.AccessKeyID != c.want || v.SecretAccessKey != "secret-of-"+c.want {
				t.Errorf("the key is %q, want %q; asked %v", v.AccessKeyID, c.want, sky.asked)
			}
			if (v.SessionToken == "session-of-"+c.want) != (c.asked > 0) {
				t.Errorf("the session's token is %q", v.SessionToken)
			}
			if len(sky.asked) != c.asked {
				t.Errorf("the platform was asked %v, want %d times", sky.asked, c.asked)
			}
		})
	}
}

// TestNoPlatformCredentials: where the platform has none, or refuses, the error says what
// was tried, and no request goes unsigned.
func TestNoPlatformCredentials(t *testing.T) {
	for _, name := range platformVariables {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "none"))
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("token-of-another"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/weir")
	t.Setenv("AWS_REGION", "eu-central-1")
	cfg := DefaultConfig()
	v, err := cfg.credentials().GetWithContext(&credentials.CredContext{Client: &http.Client{Transport: &cloud{}}})
	if err == nil || v.AccessKeyID != "" {
		t.Fatalf("the key is %q, error %v", v.AccessKeyID, err)
	}
	for _, want := range []string{"accessKeyFile", "AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "Not authorized to perform sts:AssumeRoleWithWebIdentity", filepath.Join(dir, "none")} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in: %v", want, err)
		}
	}
}
