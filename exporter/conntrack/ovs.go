package conntrack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/weirnet/weir/exporter/track"
)

const (
	ovsTimeout  = 20 * time.Second
	maxOVSReply = 1 << 30 // about 4 M entries
)

// OVS is the userspace conntrack of an ovs-vswitchd as a Source, through its unixctl
// socket (ovs-appctl dpctl/dump-conntrack). It gives no counters, no timestamps, no
// ids and no events: a connection shorter than a poll is not seen, and outcomes that
// need them stay unknown.
type OVS struct {
	path   string
	filter Filter
	last   int
}

// NewOVS checks that the socket answers. The path is that of ovs-vswitchd, as in
// /var/run/openvswitch/ovs-vswitchd.123.ctl.
func NewOVS(path string, f Filter) (*OVS, error) {
	o := &OVS{path: path, filter: f}
	ctx, cancel := context.WithTimeout(context.Background(), ovsTimeout)
	defer cancel()
	if _, err := o.Dump(ctx, func(*track.Conn) {}); err != nil {
		return nil, err
	}
	return o, nil
}

// unixctl calls a command of the daemon: JSON-RPC 1.0 over the socket (lib/unixctl.c).
func unixctl(ctx context.Context, path, method string, params ...string) (string, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return "", fmt.Errorf("reach ovs-vswitchd: %w: name its .ctl socket", err)
	}
	defer func() { _ = conn.Close() }()
	if t, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(t); err != nil {
			return "", err
		}
	}
	if params == nil {
		params = []string{}
	}
	if err := json.NewEncoder(conn).Encode(map[string]any{"id": 0, "method": method, "params": params}); err != nil {
		return "", fmt.Errorf("ask ovs-vswitchd for %s: %w", method, err)
	}
	var reply struct {
		Result *string `json:"result"`
		Error  any     `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(conn, maxOVSReply)).Decode(&reply); err != nil {
		return "", fmt.Errorf("answer of ovs-vswitchd to %s: %w", method, err)
	}
	if reply.Error != nil || reply.Result == nil {
		return "", fmt.Errorf("ovs-vswitchd refuses %s: %v", method, reply.Error)
	}
	return *reply.Result, nil
}

// Dump gives all entries that the filter wants.
func (o *OVS) Dump(ctx context.Context, fn func(*track.Conn)) (DumpStats, error) {
	var st DumpStats
	begun := time.Now()
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, ovsTimeout)
		defer cancel()
	}
	text, err := unixctl(ctx, o.path, "dpctl/dump-conntrack", "-m", "-s")
	if err != nil {
		return st, err
	}
	var c track.Conn
	for line, rest := nextLine(text); line != "" || rest != ""; line, rest = nextLine(rest) {
		if line == "" {
			continue
		}
		switch {
		case parseOVS(line, &c) != nil:
			st.Malformed++
		case !o.filter.Match(&c):
			st.Outside++
		default:
			fn(&c)
			st.Entries++
		}
	}
	o.last = st.Entries
	st.Took = time.Since(begun)
	return st, nil
}

// Events gives none: the userspace datapath tells nobody.
func (o *OVS) Events() <-chan *Batch { return nil }

// Recycle has nothing to take back.
func (o *OVS) Recycle(*Batch) {}

// Stop has nothing to stop.
func (o *OVS) Stop() {}

// Close has nothing to free: each dump has its own connection.
func (o *OVS) Close() error { return nil }

// Vitals knows the entries of the last dump.
func (o *OVS) Vitals() Vitals { return Vitals{Count: uint64(o.last)} }

var errOVSText = errors.New("not an entry of dump-conntrack")
