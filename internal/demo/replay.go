package demo

import (
	"context"
	"errors"
	"io"
	"time"
)

func replay(context.Context, io.Writer, time.Duration) error { return errors.New("x") }
