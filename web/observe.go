package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/web/telemetry"
)

// observation is what is noted of a request for its log line.
type observation struct {
	request auth.Request
	calls   []jsonrpc.Call
	err     error // of a request that was refused as a whole
	start   time.Time
	auth    time.Duration // that finding out who calls took
	timed   bool          // whether the client is told
}

const observationKey = "rowcall.observation"

func observed(c *gin.Context) *observation {
	return c.MustGet(observationKey).(*observation)
}

// observe gives the request its id, puts what is known of it into its context, and logs it when it is done. A panic
// becomes a 500 and is logged with its stack.
func (s *Server) observe(c *gin.Context) {
	o := &observation{
		request: auth.Request{ID: uuid.NewString(), Address: c.ClientIP(), Now: time.Now},
		start:   time.Now(), timed: s.ServerTiming,
	}
	c.Set(observationKey, o)
	c.Header("X-Request-Id", o.request.ID)
	ctx, ended := s.Telemetry.Request(auth.WithRequest(c.Request.Context(), &o.request), c.Request, c.FullPath())
	c.Request = c.Request.WithContext(ctx)
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			s.Log.Error("panic", zap.String("request_id", o.request.ID), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			refuse(c, http.StatusInternalServerError, apperr.Wrap(apperr.Internal, "Internal error", fmt.Errorf("panic: %v", p)))
		}
		ended(c.Writer.Status())
		s.logRequest(c, o)
	}()
	c.Next()
}

// maxLogged bounds the calls of a batch that the log line names, and the length of what a client sent.
const (
	maxLoggedCalls = 10
	maxLoggedText  = 64
)

// logRequest writes the one log line of a request. Of what the client sent, it has method names and ids only.
func (s *Server) logRequest(c *gin.Context, o *observation) {
	status := c.Writer.Status()
	level := zapcore.InfoLevel
	switch {
	case c.FullPath() == "/healthz" || c.FullPath() == "/readyz":
		level = zapcore.DebugLevel
	case errors.Is(o.err, context.Canceled): // the client went away
	case status >= http.StatusInternalServerError:
		level = zapcore.ErrorLevel
	}
	s.log(c.Request.Context(), level, "request", o, zap.String("path", cut(c.Request.URL.Path)), zap.Int("status", status))
}

// logFrame writes the log line of a WebSocket's frame, with the status that POST would have answered with.
func (s *Server) logFrame(ctx context.Context, o *observation, status int) {
	level := zapcore.InfoLevel
	if status >= http.StatusInternalServerError {
		level = zapcore.ErrorLevel
	}
	s.log(ctx, level, "frame", o, zap.Int("status", status))
}

func (s *Server) log(ctx context.Context, level zapcore.Level, message string, o *observation, first ...zap.Field) {
	entry := s.Log.Check(level, message)
	if entry == nil {
		return
	}
	fields := append([]zap.Field{zap.String("request_id", o.request.ID)}, first...)
	fields = append(fields,
		zap.Duration("took", time.Since(o.start)),
		zap.String("address", o.request.Address),
		zap.Int("rows", o.request.Stats.Rows),
		zap.Int("statements", o.request.Stats.Statements),
		zap.Duration("db", o.request.Stats.Database),
	)
	if id := telemetry.TraceID(ctx); id != "" {
		fields = append(fields, zap.String("trace_id", id))
	}
	if a := o.request.Actor; a != nil {
		fields = append(fields, zap.String("tenant", a.TenantSlug), zap.Int64("user", a.User))
	}
	switch len(o.calls) {
	case 0:
	case 1:
		call := o.calls[0]
		fields = append(fields, zap.String("method", cut(call.Method)), zap.String("rpc_id", cut(string(call.ID))), zap.String("kind", kindOf(call)))
	default:
		fields = append(fields, zap.Int("batch", len(o.calls)), zap.Array("calls", loggedCalls(o.calls)))
	}
	if o.err != nil {
		fields = append(fields, zap.String("kind", string(apperr.From(o.err).Kind)), zap.NamedError("error", o.err))
	}
	entry.Write(fields...)
}

// serverTiming tells the client what took how long so far (https://www.w3.org/TR/server-timing/), where it is to be told.
func (o *observation) serverTiming(h http.Header) {
	if !o.timed {
		return
	}
	ms := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	stats := o.request.Stats
	h.Set("Server-Timing", fmt.Sprintf(`auth;dur=%.2f, db;dur=%.2f;desc="%d statements", total;dur=%.2f`,
		ms(o.auth), ms(stats.Database), stats.Statements, ms(time.Since(o.start))))
}

func kindOf(call jsonrpc.Call) string {
	if call.Kind == "" {
		return "OK"
	}
	return string(call.Kind)
}

func cut(s string) string {
	if len(s) > maxLoggedText {
		return s[:maxLoggedText] + "…"
	}
	return s
}

type loggedCalls []jsonrpc.Call

// MarshalLogArray implements zapcore.ArrayMarshaler.
func (calls loggedCalls) MarshalLogArray(enc zapcore.ArrayEncoder) error {
	for _, call := range calls[:min(len(calls), maxLoggedCalls)] {
		enc.AppendString(cut(call.Method) + " " + cut(string(call.ID)) + " " + kindOf(call))
	}
	return nil
}

// statuses is the one table from kind to HTTP status, for requests that are refused as a whole.
var statuses = map[apperr.Kind]int{
	apperr.ParseError:       http.StatusBadRequest,
	apperr.InvalidRequest:   http.StatusBadRequest,
	apperr.InvalidParams:    http.StatusBadRequest,
	apperr.ValidationFailed: http.StatusBadRequest,
	apperr.Unauthenticated:  http.StatusUnauthorized,
	apperr.Forbidden:        http.StatusForbidden,
	apperr.NotFound:         http.StatusNotFound,
	apperr.Aborted:          http.StatusServiceUnavailable,
	apperr.RateLimited:      http.StatusTooManyRequests,
	apperr.Unavailable:      http.StatusServiceUnavailable,
	apperr.Timeout:          http.StatusServiceUnavailable,
}

// refuseAs answers a request that was refused as a whole with the status of the error's kind.
func refuseAs(c *gin.Context, err error) { refuse(c, statusOf(err), err) }

func statusOf(err error) int {
	if status, ok := statuses[apperr.From(err).Kind]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// refuse answers with a JSON-RPC error without an id.
func refuse(c *gin.Context, status int, err error) {
	o := observed(c)
	o.err = err
	switch status {
	case http.StatusUnauthorized:
		c.Header("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests:
		if ms, ok := apperr.From(err).Data["retry_after_ms"].(int64); ok {
			c.Header("Retry-After", strconv.FormatInt((ms+999)/1000, 10))
		}
	}
	answer(c, status, jsonrpc.ErrorBody(err, o.request.ID))
	c.Abort()
}
