package rpcclient

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"rowcall/modules/apperr"
)

const (
	repetitions = 4                      // at the most
	firstWait   = 100 * time.Millisecond // before the first; it doubles
	longestWait = 10 * time.Second       // a server that asks for a longer one gets no further attempt
)

// repeat runs an exchange, and once more as often as is safe and of use. safe says that to run twice changes no more than once.
func (c *Client) repeat(ctx context.Context, safe bool, exchange func() error) error {
	for attempt := 0; ; attempt++ {
		err := exchange()
		asked := askedWait(err)
		if err == nil || ctx.Err() != nil || attempt == repetitions || asked > longestWait || !repeatable(err, safe) {
			return err
		}
		if !wait(ctx, attempt, asked) {
			return context.Cause(ctx)
		}
	}
}

// wait waits before an attempt is repeated, and returns false if ctx ends.
func wait(ctx context.Context, attempt int, asked time.Duration) bool {
	// Half of the wait is chance, so that clients that failed together do not come back together.
	d := min(firstWait<<min(attempt, 10), longestWait)
	t := time.NewTimer(max(asked, d/2+rand.N(d/2)))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// repeatable tells whether a request that failed may be sent again: because nothing of it ran, or because it is safe to run twice.
func repeatable(err error, safe bool) bool {
	var refused *Error
	var other *HTTPError
	switch {
	case errors.As(err, &refused):
		// The server begins nothing of what it refuses as a whole or for coming too often.
		return refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusServiceUnavailable ||
			refused.Data.Kind == apperr.RateLimited || safe && refused.Data.Kind == apperr.Unavailable
	case errors.As(err, &other):
		return safe && (other.Status == http.StatusTooManyRequests || other.Status >= http.StatusInternalServerError)
	default:
		return safe && isNetwork(err)
	}
}

// isNetwork tells whether the error is of the connection, and not, for example, of decoding a result.
func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF)
}
