package sinktest

import (
	"os"
	"testing"
	"time"

	"github.com/weirnet/weir/internal/testenv"
	"github.com/weirnet/weir/sinks/remote"
)

// certificates: the client's certificate is renewed while the sink works, then replaced by
// that of a stranger, then by one that has expired, then by a good one: the next connection
// shows what the files hold, errors say what is wrong, and each record arrives.
func (k *Kind) certificates(t *testing.T) {
	front := testenv.StartFront(t)
	dir := t.TempDir()
	client := remote.TLS{On: true, CA: front.CA.File}
	// issue replaces the files as Kubernetes does with those of a Secret.
	issue := func(ca *testenv.CA, name string, until time.Time) {
		t.Helper()
		cert, key := ca.Issue(t, t.TempDir(), name, until)
		client.Cert, client.Key = dir+"/tls.crt", dir+"/tls.key"
		for from, to := range map[string]string{cert: client.Cert, key: client.Key} {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	good := time.Now().Add(time.Hour)
	issue(front.CA, "first", good)
	g, sink := k.Mutual(t, front, client)
	o := StartOutage(t, sink)
	const some = 2000
	more := func(client string) {
		t.Helper()
		o.Offer(t, some)
		o.Drain(t)
		if got := front.Client(); got != client {
			t.Errorf("the connection is that of %q, want %q", got, client)
		}
	}
	more("first")

	issue(front.CA, "renewed", good)
	front.Drop()
	more("renewed")

	for _, c := range []struct {
		ca    *testenv.CA
		until time.Time
		says  string
	}{
		{testenv.NewCA(t), good, "certificate"},
		{front.CA, time.Now().Add(-time.Minute), client.Cert + " expired at "},
	} {
		issue(c.ca, "bad", c.until)
		front.Drop()
		o.Offer(t, some)
		o.Says(t, c.says)
		if n := o.Held().Records; n == 0 {
			t.Errorf("nothing is held while the server refuses the client, who said %q", c.says)
		}
		issue(front.CA, "mended", good)
		o.Drain(t)
		more("mended")
	}
	o.End(t)
	again := 0
	if k.AgainAfterFailure {
		again = o.Total
	}
	g.has(t, all, o.Total, again)
}
