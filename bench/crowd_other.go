//go:build !linux

package main

import (
	"context"
	"errors"
)

// crowd needs Linux.
type crowd struct {
	greeted  int
	members  map[int32]*member
	received []received
}

type (
	received struct{ position, at int64 }
	member   struct{ position int64 }
)

func newCrowd(string) (*crowd, error) {
	return nil, errors.New("subscribers are simulated with Linux's epoll only")
}

func mostSockets() int { return 0 }

func (*crowd) close()                                           {}
func (*crowd) join(string, int64, bool) error                   { return nil }
func (*crowd) joinAll(context.Context, int, string, bool) error { return nil }
func (*crowd) read(context.Context, func() bool) error          { return nil }
