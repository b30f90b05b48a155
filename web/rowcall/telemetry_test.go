package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"rowcall/modules/auth"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

// deployed is the environment of a server on a test's database.
func deployed(t *testing.T) []string {
	t.Helper()
	return deployedOn(storetest.New(t, sqlscripts.Migrations()))
}

func deployedOn(db *storetest.Database) []string {
	return []string{
		"DATABASE_URL=" + db.OwnerURL, "ROWCALL_TOKEN_KEY=" + auth.NewKey(), "ROWCALL_PASSWORD_KEY=" + auth.NewKey(),
		"ROWCALL_TENANT_DATABASE_URL=" + db.TenantURL, "ROWCALL_PLATFORM_DATABASE_URL=" + db.PlatformURL,
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // of a test
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAdminListener(t *testing.T) {
	t.Parallel()
	environ := deployed(t)
	url, stderr, stop := startServer(t, "serve", append(environ, "ROWCALL_ADMIN_ADDR=127.0.0.1:0")...)
	found := regexp.MustCompile(`"serving metrics and profiles","address":"([^"]+)"`).FindStringSubmatch(stderr.String())
	if found == nil {
		t.Fatalf("the address is not logged:\n%s", stderr)
	}
	admin := "http://" + found[1]
	post(t, url+"/api/rpc", `{"id":1,"method":"list_tasks"}`)
	status, metrics := get(t, admin+"/metrics")
	for _, want := range []string{
		`rowcall_calls_total{kind="UNAUTHENTICATED",method="list_tasks"} 1`, `rowcall_http_requests_total{path="/api/rpc",status="200"} 1`,
		`rowcall_db_connections_max{login="tenant"} 10`, `rowcall_limit_running 0`, `rowcall_db_statement_duration_seconds_count{login="platform"}`,
		`rowcall_bus_messages_total{what="lost"} 0`, `rowcall_document_commits_total 0`,
	} {
		if status != http.StatusOK || !strings.Contains(metrics, want) {
			t.Errorf("%d, and the metrics lack %s:\n%s", status, want, metrics)
		}
	}
	if status, body := get(t, admin+"/debug/pprof/goroutine?debug=1"); status != http.StatusOK || !strings.Contains(body, "goroutine profile") {
		t.Errorf("goroutines: %d %s", status, body)
	}
	for _, path := range []string{"/metrics", "/debug/pprof/"} {
		if status, _ := get(t, url+path); status != http.StatusNotFound {
			t.Errorf("%s is public: %d", path, status)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if resp, err := http.Get(admin + "/metrics"); err == nil {
		_ = resp.Body.Close()
		t.Error("the admin listener is still open")
	}
	_, stderr, _ = startServer(t, "serve", environ...)
	if strings.Contains(stderr.String(), "profiles") {
		t.Errorf("there is an admin listener that nobody asked for:\n%s", stderr)
	}
	taken := httptest.NewServer(http.NotFoundHandler())
	defer taken.Close()
	environ = append(environ, "ROWCALL_ADDR=127.0.0.1:0", "ROWCALL_ADMIN_ADDR="+taken.Listener.Addr().String())
	if err := run(t.Context(), []string{"serve"}, environ, io.Discard, io.Discard, nil); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("it serves without the admin listener that it was told to have: %v", err)
	}
}

// Traces go to the collector that the standard variables name, to the last span.
func TestTracesAreSent(t *testing.T) {
	spans := make(chan string, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		spans <- r.URL.Path + " " + r.Header.Get("X-Team") + " " + string(body)
	}))
	t.Cleanup(collector.Close)
	environ := deployed(t)
	call := func(variables map[string]string) (sent string, logged string) {
		for name, value := range variables {
			t.Setenv(name, value)
		}
		url, stderr, stop := startServer(t, "serve", environ...)
		post(t, url+"/api/rpc", `{"id":1,"method":"list_tasks"}`)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case s := <-spans:
				sent += s
			default:
				return sent, stderr.String()
			}
		}
	}
	if sent, logged := call(nil); sent != "" || strings.Contains(logged, "trace_id") {
		t.Errorf("traced without being asked: %q\n%s", sent, logged)
	}
	sent, logged := call(map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-team=blue", "OTEL_SERVICE_NAME": "tasks-of-blue",
	})
	for _, want := range []string{"/v1/traces", " blue ", "POST /api/rpc", "list_tasks", "UNAUTHENTICATED", "tasks-of-blue"} {
		if !strings.Contains(sent, want) {
			t.Errorf("the collector did not get %s: %q", want, sent)
		}
	}
	if !strings.Contains(logged, `"trace_id":"`) {
		t.Errorf("the log lacks the trace's id:\n%s", logged)
	}
	if sent, _ := call(map[string]string{"OTEL_SDK_DISABLED": "true"}); sent != "" {
		t.Errorf("traced while it is disabled: %q", sent)
	}
	collector.Close()
	start := time.Now()
	if _, logged := call(map[string]string{"OTEL_SDK_DISABLED": "", "OTEL_EXPORTER_OTLP_TIMEOUT": "200"}); !strings.Contains(logged, "cannot be sent") {
		t.Errorf("a collector that is gone is not in the log:\n%s", logged)
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("a collector that is gone held the server up: %v", took)
	}
	for _, variable := range []string{"OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_PROTOCOL"} {
		t.Setenv(variable, "pigeon")
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := run(ctx, []string{"serve"}, environ, io.Discard, io.Discard, nil); err == nil || !strings.Contains(err.Error(), variable) {
			t.Errorf("%s: %v", variable, err)
		}
		t.Setenv(variable, "")
	}
}

func TestServerTimingIsForDevelopment(t *testing.T) {
	t.Parallel()
	url, _, _ := startServer(t, "serve", deployed(t)...)
	resp, err := http.Post(url+"/api/rpc", "application/json", strings.NewReader(`{"id":1,"method":"list_tasks"}`))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if text := resp.Header.Get("Server-Timing"); text != "" {
		t.Errorf("production tells %q", text)
	}
}
