package web_test

import (
	"net/http"
	"strings"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc/jsonrpctest"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

func TestStatuses(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := bearer(s.login("demo1").Token)
	with := func(more ...string) []string { return append(more, token...) }
	for name, c := range map[string]struct {
		method, path, body string
		headers            []string
		status             int
		kind               apperr.Kind
	}{
		"a call":                  {"POST", "/api/rpc", list, token, 200, ""},
		"a charset":               {"POST", "/api/rpc", list, with("Content-Type", "application/json; charset=utf-8"), 200, ""},
		"a notification":          {"POST", "/api/rpc", `{"method":"list_tasks"}`, token, 204, ""},
		"notifications":           {"POST", "/api/rpc", `[{"method":"list_tasks"},{"method":"nonsense"}]`, token, 204, ""},
		"an error":                {"POST", "/api/rpc", `{"id":1,"method":"nonsense"}`, token, 200, apperr.MethodNotFound},
		"anonymous":               {"POST", "/api/rpc", list, nil, 200, apperr.Unauthenticated},
		"an empty batch":          {"POST", "/api/rpc", `[]`, token, 200, apperr.InvalidRequest},
		"no JSON":                 {"POST", "/api/rpc", `{`, token, 400, apperr.ParseError},
		"no body":                 {"POST", "/api/rpc", ``, token, 400, apperr.ParseError},
		"trailing data":           {"POST", "/api/rpc", list + `x`, token, 400, apperr.ParseError},
		"a duplicate key":         {"POST", "/api/rpc", `{"id":1,"method":"list_tasks","params":{"filters":{"id":1,"id":2}}}`, token, 400, apperr.ParseError},
		"invalid UTF-8":           {"POST", "/api/rpc", "{\"id\":\"\xff\",\"method\":\"x\"}", token, 400, apperr.ParseError},
		"a wrong token":           {"POST", "/api/rpc", list, bearer("nonsense"), 401, apperr.Unauthenticated},
		"an empty token":          {"POST", "/api/rpc", list, bearer(""), 401, apperr.Unauthenticated},
		"another scheme":          {"POST", "/api/rpc", list, []string{"Authorization", "Basic ZGVtbzE6d2VsY29tZQ=="}, 401, apperr.Unauthenticated},
		"a wrong key":             {"POST", "/api/rpc", list, []string{"X-Api-Key", "rck_nonsense"}, 401, apperr.Unauthenticated},
		"a wrong cookie":          {"POST", "/api/rpc", list, []string{"Cookie", "auth-token=nonsense"}, 401, apperr.Unauthenticated},
		"a token before a cookie": {"POST", "/api/rpc", list, with("Cookie", "auth-token=nonsense"), 200, ""},
		"a key after a token":     {"POST", "/api/rpc", list, with("X-Api-Key", "nonsense"), 200, ""},
		"another method":          {"GET", "/api/rpc", ``, token, 405, apperr.InvalidRequest},
		"another method of login": {"GET", "/api/login", ``, nil, 405, apperr.InvalidRequest},
		"another content type":    {"POST", "/api/rpc", list, with("Content-Type", "text/plain"), 415, apperr.InvalidRequest},
		"no content type":         {"POST", "/api/rpc", list, with("Content-Type", ""), 415, apperr.InvalidRequest},
		"a large body":            {"POST", "/api/rpc", `"` + strings.Repeat("x", 1<<20) + `"`, token, 413, apperr.InvalidRequest},
		"atomic":                  {"POST", "/api/rpc", list, with("Rowcall-Atomic", "true"), 200, ""},
		"atomic, no JSON":         {"POST", "/api/rpc", `{`, with("Rowcall-Atomic", "true"), 400, apperr.ParseError},
		"atomic, an empty batch":  {"POST", "/api/rpc", `[]`, with("Rowcall-Atomic", "true"), 200, apperr.InvalidRequest},
		"not atomic":              {"POST", "/api/rpc", list, with("Rowcall-Atomic", "false"), 200, ""},
		"neither":                 {"POST", "/api/rpc", list, with("Rowcall-Atomic", "yes"), 400, apperr.InvalidRequest},
		"neither, but empty":      {"POST", "/api/rpc", list, with("Rowcall-Atomic", ""), 400, apperr.InvalidRequest},
		"a very large body":       {"POST", "/api/rpc", `"` + strings.Repeat("x", 16<<20) + `"`, token, 413, apperr.InvalidRequest},
		"a trailing slash":        {"POST", "/api/rpc/", list, token, 404, apperr.NotFound},
		"another path":            {"POST", "/api/nonsense", list, token, 404, apperr.NotFound},
	} {
		a := s.send(c.method, c.path, c.body, c.headers...)
		if a.status != c.status {
			t.Errorf("%s: %d %s, want %d", name, a.status, a.body, c.status)
			continue
		}
		id := a.header.Get("X-Request-Id")
		switch {
		case id == "":
			t.Errorf("%s: no X-Request-Id", name)
		case c.status == http.StatusNoContent:
			if a.body != "" {
				t.Errorf("%s: a body %q", name, a.body)
			}
		case !strings.HasPrefix(a.header.Get("Content-Type"), "application/json"):
			t.Errorf("%s: content type %q", name, a.header.Get("Content-Type"))
		case a.kind() != c.kind:
			t.Errorf("%s: %s, want %q", name, a.body, c.kind)
		case c.kind != "" && !strings.Contains(a.body, `"request_id":"`+id+`"`):
			t.Errorf("%s: the id %s is not in %s", name, id, a.body)
		case c.status != http.StatusOK && c.path == "/api/rpc" && !strings.Contains(a.body, `"id":null`):
			t.Errorf("%s: no null id in %s", name, a.body)
		}
	}
}

func TestSpecification(t *testing.T) {
	t.Parallel()
	s := serve(t, rpctest.New(t), func(cfg *web.Config) { cfg.Mux = jsonrpctest.New() })
	jsonrpctest.Run(t, func(t *testing.T, body []byte) []byte {
		a := s.post("/api/rpc", string(body))
		status := http.StatusOK
		switch {
		case a.body == "":
			status = http.StatusNoContent
		case a.kind() == apperr.ParseError:
			status = http.StatusBadRequest
		}
		if a.status != status {
			t.Errorf("%d %s, want %d", a.status, a.body, status)
		}
		return []byte(a.body)
	})
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := s.send("GET", path, ""); a.status != http.StatusOK {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	if err := s.DB.Close(); err != nil {
		t.Fatal(err)
	}
	if a := s.send("GET", "/healthz", ""); a.status != http.StatusOK {
		t.Errorf("healthz without a database: %d", a.status)
	}
	if a := s.send("GET", "/readyz", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz without a database: %d %s", a.status, a.body)
	}
}
