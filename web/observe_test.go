package web_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/rpc/rpctest"
	"rowcall/web"
)

func logged(t *testing.T) (*server, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	return serve(t, rpctest.New(t), func(cfg *web.Config) { cfg.Log = zap.New(core) }), logs
}

func TestLogLine(t *testing.T) {
	t.Parallel()
	s, logs := logged(t)
	g := s.login("demo1")
	logs.TakeAll()
	for body, want := range map[string]map[string]any{
		list: {"method": "list_tasks", "rpc_id": "1", "kind": "OK", "status": int64(200), "rows": int64(0)},
		`{"id":"x","method":"get_task","params":{"id":1}}`:       {"method": "get_task", "rpc_id": `"x"`, "kind": "NOT_FOUND", "status": int64(200)},
		`[{"id":1,"method":"list_users"},{"method":"nonsense"}]`: {"batch": int64(2), "rows": int64(3), "status": int64(200)},
		`{`: {"kind": "PARSE_ERROR", "status": int64(400)},
	} {
		a := s.post("/api/rpc", body, bearer(g.Token)...)
		lines := logs.TakeAll()
		if len(lines) != 1 || lines[0].Message != "request" {
			t.Fatalf("%s: logged %v", body, lines)
		}
		fields := lines[0].ContextMap()
		for _, name := range []string{"took", "db", "statements", "address"} {
			if fields[name] == nil {
				t.Errorf("%s: no %s in %v", body, name, fields)
			}
		}
		if fields["request_id"] != a.header.Get("X-Request-Id") || fields["tenant"] != "demo" || fields["user"] != g.User.ID || fields["path"] != "/api/rpc" {
			t.Errorf("%s: %v", body, fields)
		}
		for name, value := range want {
			if fields[name] != value {
				t.Errorf("%s: %s is %v, want %v", body, name, fields[name], value)
			}
		}
	}
}

func TestNoSecretIsLogged(t *testing.T) {
	t.Parallel()
	s, logs := logged(t)
	g := s.login("demo1")
	key := result[struct {
		Data struct {
			Key string `json:"key"`
		} `json:"data"`
	}](t, s.post("/api/rpc", `{"id":1,"method":"create_api_key","params":{"data":{"name":"x","scopes":["read"]}}}`, bearer(g.Token)...)).Data.Key
	secrets := []string{g.Token, g.RefreshToken, key, "welcome", "a wrong password"}
	s.post("/api/rpc", list, bearer(key)...)
	s.post("/api/rpc", list, "X-Api-Key", key)
	s.post("/api/rpc", list, "Cookie", "auth-token="+g.Token)
	s.post("/api/rpc", list, bearer(g.Token+"x")...)
	s.post("/api/login", `{"username":"demo1","pwd":"a wrong password"}`)
	s.post("/api/login", `{"username":"demo1","pwd":"a wrong password"`)
	s.post("/api/rpc", `{"id":1,"method":"change_password","params":{"pwd":"a wrong password","new_pwd":"welcome"}}`, bearer(g.Token)...)
	s.post("/api/refresh", `{"refresh_token":"`+g.RefreshToken+`"}`)
	s.post("/api/refresh", `{"refresh_token":"`+g.RefreshToken+`"}`)
	s.post("/api/logoff", `{"logoff":true}`, bearer(g.Token)...)
	lines := logs.All()
	if len(lines) < 11 {
		t.Fatalf("%d lines", len(lines))
	}
	for _, line := range lines {
		text := fmt.Sprint(line.Message, line.ContextMap())
		for _, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("a secret is logged: %s", text)
			}
		}
	}
}

func TestServerTiming(t *testing.T) {
	t.Parallel()
	api := rpctest.New(t)
	told, untold := serve(t, api, func(cfg *web.Config) { cfg.ServerTiming = true }), serve(t, api)
	token := bearer(told.login("demo1").Token)
	pattern := regexp.MustCompile(`^auth;dur=(\d+\.\d\d), db;dur=(\d+\.\d\d);desc="(\d+) statements", total;dur=(\d+\.\d\d)$`)
	for body, statements := range map[string]float64{
		list:                          1,
		"[" + list + "," + list + "]": 2,
		`{"method":"list_tasks"}`:     1, // there is no answer to say it in but the header
		`{`:                           0,
	} {
		if a := untold.post("/api/rpc", body, token...); a.header.Get("Server-Timing") != "" {
			t.Errorf("%s: it is not for everyone: %s", body, a.header.Get("Server-Timing"))
		}
		text := told.post("/api/rpc", body, token...).header.Get("Server-Timing")
		found := pattern.FindStringSubmatch(text)
		if found == nil {
			t.Fatalf("%s: Server-Timing is %q", body, text)
		}
		var n [5]float64 // auth, db, statements, total
		for i := 1; i < len(n); i++ {
			n[i], _ = strconv.ParseFloat(found[i], 64)
		}
		// The look at what has changed since, which authentication takes, may be another request's.
		if n[3] < statements || n[3] > statements+1 || n[4] < n[1] || n[4] < n[2] || n[4] <= 0 || statements > 0 && n[2] <= 0 {
			t.Errorf("%s: %s", body, text)
		}
	}
}

func TestMetricsAndProfilesAreNotPublic(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, path := range []string{"/metrics", "/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/api/metrics"} {
		if a := s.send("GET", path, ""); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}
