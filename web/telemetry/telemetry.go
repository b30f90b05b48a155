// Package telemetry watches a server from outside its path: Prometheus metrics, always; OpenTelemetry traces, if the OTEL_
// variables ask for them; and slow statements in the log. Nothing that it keeps or sends holds a value that a client sent,
// besides the names and ids that the log line of a request has.
package telemetry

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// Config is what a Telemetry works with.
type Config struct {
	Log           *zap.Logger
	Traces        *sdk.TracerProvider // nil for none; [Traces] makes one
	SlowStatement time.Duration       // statements that take as long are logged; 0 for none
	SlowPlan      bool                // with their plans
}

// Telemetry watches a server. Make one with New. A nil *Telemetry watches nothing.
type Telemetry struct {
	Config
	*metrics
	tracer     trace.Tracer // nil: there are no traces
	planning   sync.Mutex
	background sync.WaitGroup
}

// New returns a Telemetry. It owns the provider of the traces.
func New(cfg Config) *Telemetry {
	t := &Telemetry{Config: cfg, metrics: newMetrics()}
	if cfg.Traces != nil {
		t.tracer = cfg.Traces.Tracer("rowcall")
	}
	return t
}

// closeTimeout bounds the sending of the last spans.
const closeTimeout = 5 * time.Second

// Close sends the spans that are left. Nothing that is watched may go on. That a collector cannot be reached is logged and no
// error: it is no reason for a server to fail.
func (t *Telemetry) Close(ctx context.Context) {
	t.background.Wait()
	if t.Traces == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := t.Traces.Shutdown(ctx); err != nil {
		t.Log.Warn("the last spans could not be sent", zap.Error(err))
	}
}

// Request begins to watch an HTTP request. ctx is what it is served with so far, and route the pattern that its path matches,
// "" for none. It returns the context to go on with, and what is told of the end.
func (t *Telemetry) Request(ctx context.Context, r *http.Request, route string) (context.Context, func(status int)) {
	if t == nil {
		return ctx, func(int) {}
	}
	counted := func(status int) { t.request(route, status) }
	if t.tracer == nil || route == "/healthz" || route == "/readyz" {
		return ctx, counted
	}
	ctx, span := t.startRequest(ctx, r, route)
	return ctx, func(status int) {
		endRequest(span, status)
		counted(status)
	}
}

type callKey struct{}

// Call watches calls, as [jsonrpc.Options.Observe].
func (t *Telemetry) Call(ctx context.Context, method string) (context.Context, func(jsonrpc.Call)) {
	m := t.method(method)
	ctx = context.WithValue(ctx, callKey{}, m)
	if t.tracer == nil {
		return ctx, m.called
	}
	ctx, span := t.startCall(ctx, method)
	return ctx, func(call jsonrpc.Call) {
		endCall(span, call)
		m.called(call)
	}
}

// Statement watches statements, as [store.Config.Observe].
func (t *Telemetry) Statement(ctx context.Context, s store.Statement) {
	t.statements[s.Login].Observe(s.Duration.Seconds())
	if t.tracer != nil {
		t.traceStatement(ctx, s)
	}
	if t.SlowStatement > 0 && s.Duration >= t.SlowStatement {
		t.slowStatement(ctx, s)
	}
}

// Register adds what another part of the program counts to the metrics. It panics on a name that is taken.
func (t *Telemetry) Register(collectors ...prometheus.Collector) {
	t.registry.MustRegister(collectors...)
}

const (
	planTimeout = 2 * time.Second
	maxText     = 4 << 10 // bytes of a statement's text in a log line or span
)

// slowStatement logs a statement. If its plan is wanted the line is written when there is an answer, which no call waits for,
// and one plan is asked for at a time: a database that is slow for everyone is not asked much more.
func (t *Telemetry) slowStatement(ctx context.Context, s store.Statement) {
	request := auth.RequestFrom(ctx)
	fields := []zap.Field{
		zap.String("request_id", request.ID), zap.Duration("took", s.Duration), zap.Int64("rows", s.Rows),
		zap.String("login", s.Login), zap.String("statement", cut(s.Text, maxText)),
	}
	if m, ok := ctx.Value(callKey{}).(*method); ok {
		fields = append(fields, zap.String("method", m.name))
	}
	if request.Actor != nil {
		fields = append(fields, zap.String("tenant", request.Actor.TenantSlug))
	}
	if id := TraceID(ctx); id != "" {
		fields = append(fields, zap.String("trace_id", id))
	}
	if s.Failure != "" {
		fields = append(fields, zap.String("failure", s.Failure))
	}
	if !t.SlowPlan || !t.planning.TryLock() {
		t.Log.Warn("slow statement", fields...)
		return
	}
	t.background.Go(func() {
		defer t.planning.Unlock()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), planTimeout)
		defer cancel()
		plan, err := s.Plan(ctx)
		if err == nil {
			fields = append(fields, zap.String("plan", plan))
		} else if !errors.Is(err, store.ErrNoPlan) {
			fields = append(fields, zap.NamedError("plan_error", err))
		}
		t.Log.Warn("slow statement", fields...)
	})
}

// cut returns the text with at most n bytes of it left.
func cut(text string, n int) string {
	if len(text) > n {
		return text[:n] + "…"
	}
	return text
}
