package telemetry_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
	"rowcall/rpc"
	"rowcall/rpc/rpctest"
	"rowcall/web"
	"rowcall/web/telemetry"
)

func TestMain(m *testing.M) { rpctest.Main(m) }

// watched is a server put together as the program does it, over the demo data.
type watched struct {
	t       *testing.T
	handler http.Handler
	watch   *telemetry.Telemetry
	logs    *observer.ObservedLogs
	owner   *sql.DB
	token   string
}

// secret is a value that clients send and nobody else may see.
const secret = "a value that only its tenant may see"

type sleep struct {
	Seconds float64 `json:"seconds"`
	Note    string  `json:"note"`
}

func start(t *testing.T, cfg telemetry.Config) *watched {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	cfg.Log = zap.New(core)
	watch := telemetry.New(cfg)
	demo := rpctest.New(t)
	db, err := store.Open(t.Context(), store.Config{TenantURL: demo.DB.TenantURL, PlatformURL: demo.DB.PlatformURL, Observe: watch.Statement})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = db.Close()
		watch.Close(context.WithoutCancel(t.Context()))
	})
	watch.Register(telemetry.Database(db))
	key := auth.Key("a key for the tests of telemetry!")
	passwords, err := auth.NewPasswords(key, nil)
	if err != nil {
		t.Fatal(err)
	}
	tokens := auth.NewTokens(key, time.Hour)
	mux := jsonrpc.New(jsonrpc.Options{Observe: watch.Call})
	authn := model.NewAuthn(db, passwords, tokens, time.Hour)
	rpc.Register(mux, rpc.API{DB: db, Authn: authn})
	jsonrpc.Handle(mux, "sleep", func(ctx context.Context, p sleep) (int64, error) {
		tx, err := db.Session(ctx)
		if err != nil {
			return 0, err
		}
		return tx.Exec(`SELECT pg_sleep($1) FROM task WHERE title <> $2 UNION ALL SELECT pg_sleep($1)`, p.Seconds, p.Note)
	})
	server, err := web.New(web.Config{Mux: mux, Authn: authn, Ready: db.Ping, Log: cfg.Log, Telemetry: watch})
	if err != nil {
		t.Fatal(err)
	}
	actor := demo.As(t, "demo1").Actor
	token, _, err := tokens.Access(auth.AccessClaims{User: actor.User, Tenant: actor.Tenant, Session: actor.Session}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &watched{t, server, watch, logs, demo.DB.Owner(t), token}
}

func (w *watched) post(body string, headers ...string) *httptest.ResponseRecorder {
	w.t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/api/rpc", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.token)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	a := httptest.NewRecorder()
	w.handler.ServeHTTP(a, r)
	return a
}

func (w *watched) scrape() string {
	w.t.Helper()
	a := httptest.NewRecorder()
	w.watch.AdminHandler().ServeHTTP(a, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(a.Body)
	if err != nil || a.Code != http.StatusOK {
		w.t.Fatalf("%d %s (%v)", a.Code, body, err)
	}
	return string(body)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	w := start(t, telemetry.Config{})
	for range 3 {
		w.post(`{"id":1,"method":"list_tasks"}`)
	}
	w.post(`[{"id":1,"method":"get_task","params":{"id":1}},{"id":2,"method":"made_up_by_a_client"},{"id":3}]`)
	w.post(`{`)
	w.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/also/made_up", nil))
	text := w.scrape()
	for _, want := range []string{
		`rowcall_calls_total{kind="OK",method="list_tasks"} 3`,
		`rowcall_call_duration_seconds_count{kind="OK",method="list_tasks"} 3`,
		`rowcall_call_duration_seconds_bucket{kind="OK",method="list_tasks",le="10"} 3`,
		`rowcall_calls_total{kind="NOT_FOUND",method="get_task"} 1`,
		`rowcall_calls_total{kind="METHOD_NOT_FOUND",method="unknown"} 1`,
		`rowcall_calls_total{kind="INVALID_REQUEST",method="unknown"} 1`,
		`rowcall_http_requests_total{path="/api/rpc",status="200"} 4`,
		`rowcall_http_requests_total{path="/api/rpc",status="400"} 1`,
		`rowcall_http_requests_total{path="unknown",status="404"} 1`,
		`rowcall_db_statement_duration_seconds_count{login="tenant"} 5`,
		`rowcall_db_connections{login="tenant",state="idle"} 1`,
		`rowcall_db_connections_max{login="tenant"} 8`,
		`rowcall_db_waits_total{login="platform"} 0`,
		`rowcall_db_prepared_statements{login="tenant"}`,
		`rowcall_db_prepared_hits_total{login="tenant"}`,
		`rowcall_db_prepared_misses_total{login="tenant"}`,
		`rowcall_sql_text_hits_total`, `rowcall_sql_text_misses_total`, `rowcall_sql_texts `,
		`go_goroutines`, `process_cpu_seconds_total`, `go_build_info{`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(text, "made_up") {
		t.Error("clients make up labels")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func attributes(s tracetest.SpanStub) map[string]string {
	all := map[string]string{}
	for _, a := range s.Attributes {
		all[string(a.Key)] = a.Value.String()
	}
	return all
}

func TestTraces(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	w := start(t, telemetry.Config{Traces: sdk.NewTracerProvider(sdk.WithSyncer(spans))})
	spans.Reset()
	const traceID, parentID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	body := `[{"id":1,"method":"list_tasks","params":{"filters":{"title":"` + secret + `"}}},{"id":2,"method":"nonsense"},{"id":3,"method":"sleep","params":{"seconds":-1e400,"note":""}},` +
		`{"id":4,"method":"update_task","params":{"id":-5,"data":{"title":"` + secret + `"}}}]`
	a := w.post(body, "Traceparent", "00-"+traceID+"-"+parentID+"-01")
	w.handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/healthz", nil))
	var server, listed tracetest.SpanStub
	var names []string
	for _, s := range spans.GetSpans() {
		names = append(names, s.Name)
		if s.SpanContext.TraceID().String() != traceID {
			t.Errorf("%s is in the trace %s", s.Name, s.SpanContext.TraceID())
		}
		if strings.Contains(fmt.Sprint(s.Attributes, s.Events, s.Status), secret) {
			t.Errorf("%s has a value: %v", s.Name, s.Attributes)
		}
		switch s.Name {
		case "POST /api/rpc":
			server = s
		case "list_tasks":
			listed = s
		}
	}
	if server.Parent.SpanID().String() != parentID || !server.Parent.IsRemote() {
		t.Fatalf("the request's parent is %v; there are %v", server.Parent, names)
	}
	want := map[string]string{"http.request.method": "POST", "http.route": "/api/rpc", "url.path": "/api/rpc", "http.response.status_code": "200", "rowcall.request_id": a.Header().Get("X-Request-Id")}
	for k, v := range want {
		if got := attributes(server)[k]; got != v {
			t.Errorf("the request's %s is %q, want %q", k, got, v)
		}
	}
	calls := map[string]map[string]string{
		"list_tasks":  {"rpc.system.name": "jsonrpc", "rpc.method": "list_tasks", "rowcall.kind": "OK", "rowcall.tenant": "demo"},
		"_OTHER":      {"rowcall.kind": "METHOD_NOT_FOUND", "rpc.response.status_code": "-32601", "error.type": "METHOD_NOT_FOUND"},
		"update_task": {"rowcall.kind": "NOT_FOUND"},
		"sleep":       {"rowcall.kind": "INVALID_PARAMS"},
	}
	statements := 0
	for _, s := range spans.GetSpans() {
		for k, v := range calls[s.Name] {
			if got := attributes(s)[k]; got != v {
				t.Errorf("%s: %s is %q, want %q", s.Name, k, got, v)
			}
		}
		if calls[s.Name] != nil {
			delete(calls, s.Name)
			if s.Parent.SpanID() != server.SpanContext.SpanID() || s.Status.Code == codes.Error {
				t.Errorf("%s: parent %v, status %v", s.Name, s.Parent, s.Status)
			}
		}
		if s.Name == "SELECT" && s.Parent.SpanID() == listed.SpanContext.SpanID() {
			statements++
			all := attributes(s)
			if all["db.system.name"] != "postgresql" || !strings.Contains(all["db.query.text"], `"title" = $`) || all["db.response.returned_rows"] != "0" {
				t.Errorf("the statement: %v", all)
			}
			if s.StartTime.Before(listed.StartTime) || s.EndTime.After(listed.EndTime) || !s.EndTime.After(s.StartTime) {
				t.Errorf("the statement ran from %v to %v, its call from %v to %v", s.StartTime, s.EndTime, listed.StartTime, listed.EndTime)
			}
		}
	}
	if len(calls) > 0 || statements != 1 {
		t.Errorf("without spans: %v; %d statements of the list; there are %v", calls, statements, names)
	}
	if lines := w.logs.FilterField(zap.String("trace_id", traceID)).FilterMessage("request").Len(); lines != 1 {
		t.Errorf("%d log lines have the trace's id", lines)
	}
}

func TestUnsampledTraces(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewInMemoryExporter()
	w := start(t, telemetry.Config{Traces: sdk.NewTracerProvider(sdk.WithSyncer(spans))})
	spans.Reset()
	w.post(`{"id":1,"method":"list_tasks"}`, "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	if n := len(spans.GetSpans()); n != 0 {
		t.Errorf("%d spans of a trace that its caller does not sample", n)
	}
	w.post(`{"id":1,"method":"sleep","params":{"seconds":0,"note":"x"}}`, "Traceparent", "nonsense")
	for _, s := range spans.GetSpans() {
		if s.Name == "POST /api/rpc" && s.Parent.IsValid() {
			t.Errorf("nonsense is a parent: %v", s.Parent)
		}
		if s.Name == "SELECT" && !s.Parent.IsValid() {
			t.Errorf("a statement has no parent: %v", s.Attributes)
		}
	}
	if len(spans.GetSpans()) < 3 {
		t.Errorf("%d spans of a call", len(spans.GetSpans()))
	}
}

func TestSlowStatements(t *testing.T) {
	t.Parallel()
	for name, plan := range map[string]bool{"without plans": false, "with plans": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, telemetry.Config{SlowStatement: 800 * time.Millisecond, SlowPlan: plan})
			w.logs.TakeAll()
			w.post(`{"id":1,"method":"sleep","params":{"seconds":0,"note":"` + secret + `"}}`)
			a := w.post(`{"id":1,"method":"sleep","params":{"seconds":0.95,"note":"` + secret + `"}}`)
			w.watch.Close(t.Context())
			id := a.Header().Get("X-Request-Id")
			lines := w.logs.FilterMessage("slow statement").FilterField(zap.String("method", "sleep")).All()
			if len(lines) != 1 || lines[0].Level != zapcore.WarnLevel {
				t.Fatalf("logged %v", lines)
			}
			fields := lines[0].ContextMap()
			if fields["request_id"] != id || fields["tenant"] != "demo" || fields["rows"] != int64(1) || fields["login"] != "tenant" ||
				fields["took"].(time.Duration) < 950*time.Millisecond || !strings.Contains(fields["statement"].(string), "pg_sleep($1)") {
				t.Errorf("%v", fields)
			}
			text, _ := fields["plan"].(string)
			if planned := strings.Contains(text, "Scan on task") && strings.Contains(text, "$2"); planned != plan {
				t.Errorf("the plan is %q; %v", text, fields["plan_error"])
			}
			for _, line := range w.logs.All() {
				if all := fmt.Sprint(line.ContextMap()); strings.Contains(all, secret) || strings.Contains(all, "0.95") {
					t.Errorf("a value is logged: %s", all)
				}
			}
		})
	}
}

func TestCanceledStatementsAreLogged(t *testing.T) {
	t.Parallel()
	w := start(t, telemetry.Config{SlowStatement: 50 * time.Millisecond})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/api/rpc", strings.NewReader(`{"id":1,"method":"sleep","params":{"seconds":600,"note":""}}`))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+w.token)
	var served sync.WaitGroup
	served.Go(func() { w.handler.ServeHTTP(httptest.NewRecorder(), r) })
	for slow := false; !slow; time.Sleep(time.Millisecond) {
		err := w.owner.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
			AND state = 'active' AND query LIKE 'SELECT pg_sleep($1)%' AND query_start < clock_timestamp() - interval '50 ms')`).Scan(&slow)
		if err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	served.Wait()
	lines := w.logs.FilterMessage("slow statement").FilterField(zap.String("failure", "canceled")).All()
	if len(lines) != 1 {
		t.Errorf("logged %v", w.logs.All())
	}
}

func TestAdminHandler(t *testing.T) {
	t.Parallel()
	h := telemetry.New(telemetry.Config{Log: zap.NewNop()}).AdminHandler()
	for _, c := range []struct {
		method, path string
		status       int
	}{
		{http.MethodGet, "/metrics", 200},
		{http.MethodGet, "/debug/pprof/", 200},
		{http.MethodGet, "/debug/pprof/goroutine?debug=1", 200},
		{http.MethodGet, "/debug/pprof/heap", 200},
		{http.MethodGet, "/debug/pprof/cmdline", 200},
		{http.MethodPost, "/metrics", 405},
		{http.MethodGet, "/", 404},
		{http.MethodPost, "/api/rpc", 404},
		{http.MethodGet, "/healthz", 404},
	} {
		a := httptest.NewRecorder()
		h.ServeHTTP(a, httptest.NewRequest(c.method, c.path, nil))
		if a.Code != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, a.Code, c.status)
		}
	}
}

// What watching costs a request with one call and two statements.
func BenchmarkOverhead(b *testing.B) {
	provider := func(s sdk.Sampler) *sdk.TracerProvider {
		return sdk.NewTracerProvider(sdk.WithBatcher(tracetest.NewNoopExporter()), sdk.WithSampler(s))
	}
	for name, traces := range map[string]*sdk.TracerProvider{"no traces": nil, "not sampled": provider(sdk.NeverSample()), "sampled": provider(sdk.AlwaysSample())} {
		b.Run(name, func(b *testing.B) {
			watch := telemetry.New(telemetry.Config{Log: zap.NewNop(), Traces: traces, SlowStatement: time.Minute})
			defer watch.Close(b.Context())
			r := httptest.NewRequest(http.MethodPost, "/api/rpc", nil)
			request := auth.WithRequest(b.Context(), &auth.Request{ID: uuid.NewString(), Now: time.Now})
			s := store.Statement{Text: "SELECT 1", Login: store.TenantLogin, Duration: time.Millisecond, Rows: 20}
			b.ReportAllocs()
			for b.Loop() {
				ctx, ended := watch.Request(request, r, "/api/rpc")
				s.Start = time.Now()
				watch.Statement(ctx, s)
				call, called := watch.Call(ctx, "list_tasks")
				watch.Statement(call, s)
				called(jsonrpc.Call{Method: "list_tasks", Start: s.Start, Duration: 2 * time.Millisecond})
				ended(http.StatusOK)
			}
		})
	}
}

// An error's kind costs a look-up of labels.
func BenchmarkFailedCall(b *testing.B) {
	watch := telemetry.New(telemetry.Config{Log: zap.NewNop()})
	for b.Loop() {
		_, called := watch.Call(b.Context(), "get_task")
		called(jsonrpc.Call{Kind: apperr.NotFound, Duration: time.Millisecond})
	}
}
