package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// Traces returns the provider that the process's OTEL_ variables ask for, nil if they ask for none: traces are on if
// OTEL_TRACES_EXPORTER or an OTLP endpoint is set. All variables of the specification count that the SDK knows.
// https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
func Traces(ctx context.Context, log *zap.Logger) (*sdk.TracerProvider, error) {
	exporters := os.Getenv("OTEL_TRACES_EXPORTER")
	if exporters == "" && (os.Getenv("OTEL_EXPORTER_OTLP_ENDPOINT") != "" || os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") != "") {
		exporters = "otlp"
	}
	if exporters == "" || exporters == "none" || strings.EqualFold(os.Getenv("OTEL_SDK_DISABLED"), "true") {
		return nil, nil
	}
	var opts []sdk.TracerProviderOption
	for name := range strings.SplitSeq(exporters, ",") {
		exporter, err := newExporter(ctx, strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		opts = append(opts, sdk.WithBatcher(exporter))
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName("rowcall")), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	// The SDK has one way to say that spans cannot be sent.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("traces cannot be sent", zap.Error(err)) }))
	return sdk.NewTracerProvider(append(opts, sdk.WithResource(about))...), nil
}

// newExporter returns an exporter by its name in OTEL_TRACES_EXPORTER. It does not connect yet.
func newExporter(ctx context.Context, name string) (sdk.SpanExporter, error) {
	switch name {
	case "console":
		return stdouttrace.New()
	case "otlp":
	default:
		return nil, fmt.Errorf("OTEL_TRACES_EXPORTER must be otlp, console or none, not %q", name)
	}
	protocol := os.Getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = os.Getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "http/protobuf":
		return otlptracehttp.New(ctx)
	case "grpc":
		return otlptracegrpc.New(ctx)
	}
	return nil, fmt.Errorf("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf or grpc, not %q", protocol)
}

// TraceID returns the id of the trace that the context belongs to, "" if there is none.
func TraceID(ctx context.Context) string {
	if s := trace.SpanContextFromContext(ctx); s.HasTraceID() {
		return s.TraceID().String()
	}
	return ""
}

// httpMethods are those that a span may name.
var httpMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	http.MethodConnect, http.MethodOptions, http.MethodTrace,
}

const maxAttribute = 256 // bytes of what a client sent

func (t *Telemetry) startRequest(ctx context.Context, r *http.Request, route string) (context.Context, trace.Span) {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
	method := r.Method
	if !slices.Contains(httpMethods, method) {
		method = "_OTHER"
	}
	name := method
	if route != "" {
		name += " " + route
	}
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
	if !span.IsRecording() {
		return ctx, span // most requests, where samples are taken: the attributes are what costs
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	request := auth.RequestFrom(ctx)
	attributes := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(method), semconv.URLScheme(scheme), semconv.URLPath(cut(r.URL.Path, maxAttribute)),
		semconv.ClientAddress(request.Address), attribute.String("rowcall.request_id", request.ID),
	}
	if agent := r.UserAgent(); agent != "" {
		attributes = append(attributes, semconv.UserAgentOriginal(cut(agent, maxAttribute)))
	}
	if route != "" {
		attributes = append(attributes, semconv.HTTPRoute(route))
	}
	span.SetAttributes(attributes...)
	return ctx, span
}

func endRequest(span trace.Span, status int) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
	}
	span.End()
}

func (t *Telemetry) startCall(ctx context.Context, method string) (context.Context, trace.Span) {
	if method == "" {
		method = "_OTHER"
	}
	ctx, span := t.tracer.Start(ctx, method)
	if span.IsRecording() {
		span.SetAttributes(semconv.RPCSystemNameJSONRPC, semconv.RPCMethod(method))
		if actor := auth.RequestFrom(ctx).Actor; actor != nil {
			span.SetAttributes(attribute.String("rowcall.tenant", actor.TenantSlug))
		}
	}
	return ctx, span
}

// endCall ends a call's span, when the call ended: what came of it may be known later. As with HTTP, what the client did wrong is not the status Error.
func endCall(span trace.Span, call jsonrpc.Call) {
	if !span.IsRecording() {
		return
	}
	kind := "OK"
	if call.Kind != "" {
		kind = string(call.Kind)
		span.SetAttributes(semconv.ErrorTypeKey.String(kind), semconv.RPCResponseStatusCode(strconv.Itoa(call.Kind.Code())))
	}
	span.SetAttributes(attribute.String("rowcall.kind", kind))
	switch call.Kind {
	case apperr.Internal, apperr.Unavailable, apperr.Timeout:
		span.SetStatus(codes.Error, "")
	default:
	}
	span.End(trace.WithTimestamp(call.Start.Add(call.Duration))) // the zero time is now
}

// traceStatement makes a statement's span, afterwards. A statement that no traced call waits for has none.
func (t *Telemetry) traceStatement(ctx context.Context, s store.Statement) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(s.Text), " ")
	_, span := t.tracer.Start(ctx, cut(verb, 16), trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(s.Start), trace.WithAttributes(
		semconv.DBSystemNamePostgreSQL, semconv.DBOperationName(cut(verb, 16)), semconv.DBQueryText(cut(s.Text, maxText)),
		semconv.DBResponseReturnedRows(int(s.Rows)), attribute.String("rowcall.login", s.Login),
	))
	if s.Failure != "" {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(semconv.ErrorTypeKey.String(s.Failure), semconv.DBResponseStatusCode(s.Failure))
	}
	span.End(trace.WithTimestamp(s.Start.Add(s.Duration)))
}
