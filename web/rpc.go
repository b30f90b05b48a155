package web

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

// rpc is the one endpoint.
func (s *Server) rpc(c *gin.Context) {
	if !isJSON(c.GetHeader("Content-Type")) {
		refuse(c, http.StatusUnsupportedMediaType, errContentType)
		return
	}
	serve := s.Mux.Serve
	var stream jsonrpc.Streamer
	if accepts(c.Request, ndjson) {
		serve = func(ctx context.Context, requestID string, body []byte) (reply jsonrpc.Reply) {
			reply, stream = s.Mux.ServeStream(ctx, requestID, body)
			return reply
		}
	}
	switch atomic := c.Request.Header.Values("Rowcall-Atomic"); {
	case len(atomic) == 0 || slices.Equal(atomic, []string{"false"}):
	case slices.Equal(atomic, []string{"true"}):
		serve = s.Mux.ServeAtomic
	default: // running such a batch as if the header were not there could keep half of it
		refuse(c, http.StatusBadRequest, apperr.New(apperr.InvalidRequest, "Rowcall-Atomic must be true or false"))
		return
	}
	// The body first: whoever sends it slowly must not be served by what they were when they began.
	body, ok := readBody(c)
	if !ok {
		return
	}
	o := observed(c)
	start := time.Now()
	actor, err := s.authenticate(c)
	o.auth = time.Since(start)
	if err != nil {
		refuseAs(c, err)
		return
	}
	o.request.Actor = actor
	reply, err := s.run(c.Request.Context(), o.request.ID, body, serve)
	if err != nil {
		refuseAs(c, err)
		return
	}
	o.calls = reply.Calls
	switch {
	case stream != nil:
		s.answerLines(c, stream)
	case reply.Err != nil:
		o.err = reply.Err
		answer(c, http.StatusBadRequest, reply.Body)
	case reply.Body == nil:
		o.serverTiming(c.Writer.Header())
		c.Status(http.StatusNoContent)
	default:
		answer(c, http.StatusOK, reply.Body)
	}
}

// serving is [jsonrpc.Mux.Serve] or [jsonrpc.Mux.ServeAtomic].
type serving func(ctx context.Context, requestID string, body []byte) jsonrpc.Reply

// run runs the calls of a body, when its caller may and it is its tenant's turn. The turn does not last until a slow client
// has read the answer.
func (s *Server) run(ctx context.Context, requestID string, body []byte, serve serving) (jsonrpc.Reply, error) {
	ctx, leave, err := s.Limits.Enter(ctx)
	if err != nil {
		return jsonrpc.Reply{}, err
	}
	defer leave()
	return serve(ctx, requestID, body), nil
}

var errContentType = apperr.New(apperr.InvalidRequest, "The Content-Type must be application/json")

func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == "application/json"
}

// maxDrained is how much more than maxBody is read of a body that is too large. A client that is still sending when the
// connection is closed does not get to see the answer.
const maxDrained = 32 << 20

// readBody reads a request's body; when it cannot, it has answered and returns false.
func readBody(c *gin.Context) ([]byte, bool) {
	r := c.Request
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case err != nil:
		refuse(c, http.StatusBadRequest, apperr.Wrap(apperr.InvalidRequest, "The body could not be read", err))
	case len(body) > maxBody:
		if r.Header.Get("Expect") == "" {
			_, _ = io.CopyN(io.Discard, r.Body, maxDrained) // what becomes of the rest does not matter
		}
		c.Header("Connection", "close")
		refuse(c, http.StatusRequestEntityTooLarge, apperr.New(apperr.InvalidRequest, "The body is larger than 1 MiB"))
	default:
		return body, true
	}
	return nil, false
}

// answer writes a JSON body. A client that reads it too slowly is cut off.
func answer(c *gin.Context, status int, body []byte) {
	if err := http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		observed(c).err = err
	}
	observed(c).serverTiming(c.Writer.Header())
	c.Data(status, "application/json", body)
}
