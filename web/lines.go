package web

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

const ndjson = "application/x-ndjson"

// answerLines answers with lines, part by part, as fast as the client reads and its limits allow. Each part is read for what the caller
// is then, in turn with the tenant's requests and within requestTimeout; the client must have read it within writeTimeout. What fails
// is the last line.
func (s *Server) answerLines(c *gin.Context, parts jsonrpc.Streamer) {
	o := observed(c)
	ctx, cancel := context.WithCancelCause(c.MustGet(wholeKey).(context.Context))
	defer cancel(nil)
	control := http.NewResponseController(c.Writer)
	stopped := make(chan struct{})
	stop := context.AfterFunc(s.running.stopping, func() { // also while a part is written
		defer close(stopped)
		cancel(errStopping)
		_ = control.SetWriteDeadline(time.Now().Add(lastAnswers)) // the next write sees what fails here
	})
	defer func() {
		if !stop() {
			<-stopped
		}
	}()
	if err := control.SetReadDeadline(time.Time{}); err != nil { // it was the body's, and would end the request
		refuseAs(c, err)
		return
	}
	c.Header("Content-Type", ndjson)
	c.Status(http.StatusOK)
	part, last, err := parts.Part(ctx)
	for {
		if err != nil {
			part, last = s.lastLine(ctx, o, err), true
		}
		if err := writePart(ctx, c.Writer, control, part); err != nil {
			o.err = err
			return
		}
		if last {
			return
		}
		part, last, err = s.nextPart(ctx, c, parts)
	}
}

// nextPart returns the next part when the caller's limits admit it.
func (s *Server) nextPart(ctx context.Context, c *gin.Context, parts jsonrpc.Streamer) (part []byte, last bool, err error) {
	for {
		part, last, err = s.admittedPart(ctx, c, parts)
		e := apperr.From(err)
		if e == nil || e.Kind != apperr.RateLimited {
			return part, last, err
		}
		pause, _ := e.Data["retry_after_ms"].(int64)
		select {
		case <-time.After(time.Duration(pause) * time.Millisecond):
		case <-ctx.Done():
			return nil, false, ctx.Err()
		}
	}
}

func (s *Server) admittedPart(ctx context.Context, c *gin.Context, parts jsonrpc.Streamer) ([]byte, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	actor, err := s.authenticate(c) //nolint:contextcheck // it takes the request's
	if err != nil {
		return nil, false, err
	}
	observed(c).request.Actor = actor
	ctx, leave, err := s.Limits.Enter(ctx)
	if err != nil {
		return nil, false, err
	}
	defer leave()
	return parts.Part(ctx)
}

func (s *Server) lastLine(ctx context.Context, o *observation, err error) []byte {
	if errors.Is(context.Cause(ctx), errStopping) {
		err = errStopping
	}
	o.err = err
	if apperr.From(err).Kind == apperr.Internal {
		s.Log.Error("a stream failed", zap.String("request_id", o.request.ID), zap.Error(err))
	}
	return append(append([]byte(`{"error":`), jsonrpc.ErrorObject(err, o.request.ID)...), "}\n"...)
}

func writePart(ctx context.Context, w http.ResponseWriter, control *http.ResponseController, part []byte) error {
	err := control.SetWriteDeadline(time.Now().Add(writeTimeout))
	if ctx.Err() != nil { // the stop, if it is one, may have set its own before
		err = control.SetWriteDeadline(time.Now().Add(lastAnswers))
	}
	if err == nil {
		_, err = w.Write(part)
	}
	if err == nil {
		err = control.Flush()
	}
	return err
}
