package web_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

func TestMain(m *testing.M) { rpctest.Main(m) }

// server is a server on a port of its own.
type server struct {
	*rpctest.Server
	t    testing.TB
	hub  *changelog.Hub
	url  string
	addr string
	stop context.CancelFunc
	done chan error
}

func start(t testing.TB) *server { return serve(t, rpctest.New(t)) }

func serve(t testing.TB, api *rpctest.Server, change ...func(*web.Config)) *server {
	t.Helper()
	hub := changelog.NewHub(changelog.HubConfig{
		DB: api.DB.DB, Log: changelog.New(), Views: api.Views, Bus: api.Bus, Revoked: api.Authn.Look, Logger: zap.NewNop(),
	})
	api.DB.OnCommit(hub.Wake)
	hubCtx, stopHub := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { api.Bus.Run(hubCtx) })
	running.Go(func() { hub.Run(hubCtx) })
	t.Cleanup(func() {
		stopHub()
		running.Wait()
	})
	cfg := web.Config{Hub: hub, Documents: api.Documents, Mux: api.Mux, Authn: api.Authn, Ready: api.DB.Ping, Log: zap.NewNop(), StopTimeout: 5 * time.Second}
	for _, c := range change {
		c(&cfg)
	}
	w, err := web.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	s := &server{Server: api, t: t, hub: hub, url: "http://" + l.Addr().String(), addr: l.Addr().String(), stop: stop, done: make(chan error, 1)}
	go func() { s.done <- w.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s
}

// answer is an HTTP answer, read.
type answer struct {
	status int
	header http.Header
	body   string
}

// result decodes the member "result" of the answer.
func result[T any](t testing.TB, a answer) (v T) {
	t.Helper()
	var in struct {
		Result *T `json:"result"`
	}
	if err := json.Unmarshal([]byte(a.body), &in); err != nil || in.Result == nil {
		t.Fatalf("no result in %d %s (%v)", a.status, a.body, err)
	}
	return *in.Result
}

func (a answer) kind() apperr.Kind {
	var in struct {
		Error struct {
			Data struct {
				Kind apperr.Kind `json:"kind"`
			} `json:"data"`
		} `json:"error"`
	}
	if err := json.Unmarshal([]byte(a.body), &in); err != nil {
		return apperr.Kind("not JSON: " + a.body)
	}
	return in.Error.Data.Kind
}

// post sends a body; headers are pairs of name and value.
func (s *server) post(path, body string, headers ...string) answer {
	s.t.Helper()
	return s.send(http.MethodPost, path, body, headers...)
}

func (s *server) send(method, path, body string, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // of a test
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(bytes.TrimSpace(text))}
}

type grant struct {
	Success      bool      `json:"success"`
	Token        string    `json:"token"`
	ExpiresAt    time.Time `json:"expires_at"`
	RefreshToken string    `json:"refresh_token"`
	Tenant       struct {
		ID   string `json:"id"`
		Slug string `json:"slug"`
		Name string `json:"name"`
	} `json:"tenant"`
	User struct {
		ID       int64  `json:"id"`
		Username string `json:"username"`
		Name     string `json:"name"`
		Role     string `json:"role"`
	} `json:"user"`
}

func (s *server) login(username string) grant {
	s.t.Helper()
	a := s.post("/api/login", `{"username":"`+username+`","pwd":"welcome"}`)
	if a.status != http.StatusOK {
		s.t.Fatalf("login: %d %s", a.status, a.body)
	}
	return result[grant](s.t, a)
}

const list = `{"id":1,"method":"list_tasks"}`

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }
