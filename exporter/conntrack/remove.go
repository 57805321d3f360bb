package conntrack

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weirnet/weir/api/flow"
)

// Remove ends the entry whose original direction is t, in a zone; listeners get its
// DESTROY event. That it is gone already is no error. It needs CAP_NET_ADMIN.
func Remove(ctx context.Context, o Options, t flow.Tuple, zone uint16) (err error) {
	o.Receive = maxReply
	s, err := dial(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	_, err = s.exchange(ctx, tupleRequest(msgDelete, t, zone), make([]byte, maxReply), func([]byte, header, []byte) error { return nil })
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("end the connection's entry: %w", err)
	}
	return nil
}
