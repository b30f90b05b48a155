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

// repeat runs an exchange, and once more as often as is safe and of use. reads says that it changes nothing.
func (c *Client) repeat(ctx context.Context, reads bool, exchange func() error) error {
	for attempt := 0; ; attempt++ {
		err := exchange()
		asked := askedWait(err)
		if err == nil || ctx.Err() != nil || attempt == repetitions || asked > longestWait || !repeatable(err, reads) {
			return err
		}
		// Half of the wait is chance, so that clients that failed together do not come back together.
		wait := firstWait << attempt
		wait = max(asked, wait/2+rand.N(wait/2))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// repeatable tells whether a request that failed may be sent again: because nothing of it ran, or because it only reads.
func repeatable(err error, reads bool) bool {
	var refused *Error
	var other *HTTPError
	switch {
	case errors.As(err, &refused):
		// The server begins nothing of what it refuses as a whole or for coming too often.
		return refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusServiceUnavailable ||
			refused.Data.Kind == apperr.RateLimited || reads && refused.Data.Kind == apperr.Unavailable
	case errors.As(err, &other):
		return reads && (other.Status == http.StatusTooManyRequests || other.Status >= http.StatusInternalServerError)
	default:
		return reads && isNetwork(err)
	}
}

// isNetwork tells whether the error is of the connection, and not, for example, of decoding a result.
func isNetwork(err error) bool {
	var n net.Error
	return errors.As(err, &n) || errors.Is(err, io.ErrUnexpectedEOF)
}
