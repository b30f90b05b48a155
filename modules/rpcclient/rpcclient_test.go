package rpcclient_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

// server is a transport that answers in the place of a server.
type server struct {
	mu       sync.Mutex
	requests []request
	answer   func(r request, n int) reply // to the nth request
}

type request struct {
	path, token string
	atomic      bool
	body        string
}

// reply is an answer. Status 0 is a broken connection, and -1 none.
type reply struct {
	status int
	body   string
}

func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	in := request{r.URL.RequestURI(), token, r.Header.Get("Rowcall-Atomic") == "true", string(body)}
	s.mu.Lock()
	s.requests = append(s.requests, in)
	n := len(s.requests) - 1
	s.mu.Unlock()
	a := s.answer(in, n)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	switch a.status {
	case 0:
		return nil, io.ErrUnexpectedEOF
	case -1:
		return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
	}
	resp := &http.Response{StatusCode: a.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(a.body)), Request: r}
	if strings.Contains(a.body, "event: ") {
		resp.Header.Set("Content-Type", "text/event-stream")
	}
	if text, open := strings.CutSuffix(a.body, stillOpen); open {
		resp.Body = io.NopCloser(io.MultiReader(strings.NewReader(text), untilDone{r.Context()}))
	}
	return resp, nil
}

// stillOpen is the end of a body that does not end.
const stillOpen = "…"

// untilDone is a body of which nothing comes until its context ends.
type untilDone struct{ ctx context.Context }

func (u untilDone) Read([]byte) (int, error) {
	<-u.ctx.Done()
	return 0, u.ctx.Err()
}

func newClient(answer func(r request, n int) reply) (*server, *rpcclient.Client) {
	s := &server{answer: answer}
	c := rpcclient.New("http://rowcall.example/")
	c.HTTP = &http.Client{Transport: s}
	return s, c
}

// paths are those of the requests, since the last time.
func (s *server) paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var paths []string
	for _, r := range s.requests {
		paths = append(paths, r.path)
	}
	s.requests = nil
	return paths
}

// succeed answers a call or a batch with a result for each.
func succeed(r request) reply {
	one := `{"jsonrpc":"2.0","id":1,"result":{"data":{"id":7}}}`
	if strings.HasPrefix(r.body, "[") {
		return reply{200, "[" + strings.TrimSuffix(strings.Repeat(one+",", strings.Count(r.body, `"method"`)), ",") + "]"}
	}
	return reply{200, one}
}

func refuse(status int, kind apperr.Kind, more string) reply {
	return reply{status, fmt.Sprintf(`{"jsonrpc":"2.0","id":null,"error":{"code":%d,"message":"No","data":{"kind":%q,"request_id":"r"%s}}}`, kind.Code(), kind, more)}
}

type (
	params struct {
		ID int64 `json:"id"`
	}
	row struct {
		ID int64 `json:"id"`
	}
)

var (
	read  = rpcclient.Method[params, rpcclient.Data[row]]{Name: "get_row", Reads: true}
	write = rpcclient.Method[params, rpcclient.Data[row]]{Name: "delete_row"}
	list  = rpcclient.Method[listParams, rpcclient.Page[row]]{Name: "list_rows", Reads: true}
)

type listParams struct {
	Filters     map[string]any `json:"filters,omitzero"`
	ListOptions *struct {
		Limit  int `json:"limit"`
		Offset int `json:"offset"`
	} `json:"list_options,omitzero"`
}

func TestRepetition(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		failure     reply
		read, write int // requests
	}{
		"refused as a whole":     {refuse(503, apperr.Unavailable, ""), 2, 2},
		"refused for now":        {refuse(429, apperr.RateLimited, `,"retry_after_ms":3000`), 2, 2},
		"refused for long":       {refuse(429, apperr.RateLimited, `,"retry_after_ms":900000`), 1, 1},
		"too often, in a batch":  {refuse(200, apperr.RateLimited, `,"retry_after_ms":1`), 2, 2},
		"unavailable half-way":   {refuse(200, apperr.Unavailable, ""), 2, 1},
		"a broken connection":    {reply{}, 2, 1},
		"a proxy's page":         {reply{502, "<html>"}, 2, 1},
		"a proxy's busy":         {reply{503, "busy"}, 2, 1},
		"half an answer":         {reply{200, `{"jsonrpc":"2.0"`}, 1, 1},
		"no answer in it":        {reply{200, `[]`}, 1, 1},
		"not found":              {refuse(200, apperr.NotFound, ""), 1, 1},
		"too slow":               {refuse(200, apperr.Timeout, ""), 1, 1},
		"a server that is wrong": {refuse(200, apperr.Internal, ""), 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for method, want := range map[rpcclient.Method[params, rpcclient.Data[row]]]int{read: c.read, write: c.write} {
					s, client := newClient(func(r request, n int) reply {
						if n == 0 {
							return c.failure
						}
						return succeed(r)
					})
					got, err := method.Call(t.Context(), client, params{7})
					if len(s.requests) != want || (want > 1) != (err == nil) || (err == nil && got.Data.ID != 7) {
						t.Errorf("%s: %d requests, %v, %v", method.Name, len(s.requests), got, err)
					}
				}
			})
		})
	}
}

func TestRepetitionEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, c := newClient(func(request, int) reply { return refuse(503, apperr.Unavailable, "") })
		start := time.Now()
		_, err := write.Call(t.Context(), c, params{7})
		if e := (*rpcclient.Error)(nil); !errors.As(err, &e) || e.Status != 503 || e.Data.RequestID != "r" {
			t.Errorf("%v", err)
		}
		if took := time.Since(start); len(s.requests) != 5 || took < 750*time.Millisecond || took > 1500*time.Millisecond {
			t.Errorf("%d requests in %v", len(s.requests), took)
		}

		ctx, cancel := context.WithCancelCause(t.Context())
		enough := errors.New("enough")
		time.AfterFunc(50*time.Millisecond, func() { cancel(enough) })
		s.requests = nil
		if _, err := write.Call(ctx, c, params{7}); !errors.Is(err, enough) || len(s.requests) != 1 {
			t.Errorf("cancelled: %v after %d requests", err, len(s.requests))
		}
	})
}

func TestErrorsHaveTheirData(t *testing.T) {
	t.Parallel()
	_, c := newClient(func(request, int) reply {
		return refuse(200, apperr.InvalidParams, `,"issues":[{"path":"params.id","reason":"is required"}]`)
	})
	_, err := read.Call(t.Context(), c, params{})
	if e := (*rpcclient.Error)(nil); !errors.As(err, &e) || rpcclient.KindOf(err) != apperr.InvalidParams || e.Data.Issues[0].Path != "params.id" {
		t.Errorf("%v", err)
	}
	if kind := rpcclient.KindOf(errors.New("else")); kind != "" {
		t.Errorf("the kind of another error is %s", kind)
	}
}

// sessions answers like a server whose tokens live for a minute and whose refresh tokens work once.
type sessions struct {
	mu        sync.Mutex
	n         int
	expires   time.Time
	refreshes int
	ended     bool
}

func (s *sessions) answer(r request, _ int) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.path {
	case "/api/refresh":
		s.refreshes++
		if s.ended || r.body != fmt.Sprintf(`{"refresh_token":"r%d"}`, s.n) {
			s.ended = true
			return refuse(401, apperr.Unauthenticated, "")
		}
		fallthrough
	case "/api/login":
		s.n++
		s.expires = time.Now().Add(time.Minute)
		return reply{200, fmt.Sprintf(`{"result":{"success":true,"token":"t%d","refresh_token":"r%d","expires_at":%q}}`,
			s.n, s.n, s.expires.Format(time.RFC3339Nano))}
	case "/api/logoff":
		s.ended = true
		return reply{200, `{"result":{"logged_off":true}}`}
	}
	if s.ended || r.token != fmt.Sprintf("t%d", s.n) || time.Now().After(s.expires) {
		return refuse(401, apperr.Unauthenticated, "")
	}
	return succeed(r)
}

func TestSession(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sessions{}
		_, c := newClient(s.answer)
		var told []*rpcclient.Session
		c.OnSession = func(s *rpcclient.Session) { told = append(told, s) }
		if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
			t.Fatal(err)
		}
		many := func() (failed int64) {
			var wg sync.WaitGroup
			var n atomic.Int64
			for range 50 {
				wg.Go(func() {
					if _, err := write.Call(t.Context(), c, params{7}); err != nil {
						n.Add(1)
					}
				})
			}
			wg.Wait()
			return n.Load()
		}
		time.Sleep(50 * time.Second) // it is about to end
		if failed := many(); failed != 0 || s.refreshes != 1 {
			t.Errorf("%d calls failed, after %d refreshes", failed, s.refreshes)
		}
		// One that has ended unnoticed, because the clock is wrong.
		stale := *c.Session()
		stale.ExpiresAt = time.Now().Add(time.Hour)
		c.Resume(&stale)
		time.Sleep(2 * time.Minute)
		if failed := many(); failed != 0 || s.refreshes != 2 {
			t.Errorf("%d calls failed, after %d refreshes", failed, s.refreshes)
		}
		if last := told[len(told)-1]; last.RefreshToken != "r3" || c.Session() != last {
			t.Errorf("told of %+v", last)
		}
		// A family that has ended.
		s.ended = true
		if failed := many(); failed != 50 || c.Session() != nil || told[len(told)-1] != nil {
			t.Errorf("%d calls failed, session %v", failed, c.Session())
		}
		if err := c.Logoff(t.Context()); err != nil {
			t.Errorf("logoff of what has ended: %v", err)
		}
	})
}

// Whoever waits for a renewal may leave; the others, and the refresh token, do not suffer.
func TestRenewalOutlivesItsCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &sessions{}
		_, c := newClient(func(r request, n int) reply {
			if r.path == "/api/refresh" {
				time.Sleep(5 * time.Second)
			}
			return s.answer(r, n)
		})
		if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := read.Call(ctx, c, params{7}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the one that leaves: %v", err)
		}
		if _, err := read.Call(t.Context(), c, params{7}); err != nil || s.refreshes != 1 {
			t.Errorf("the next: %v, after %d refreshes", err, s.refreshes)
		}
	})
}

func TestBatch(t *testing.T) {
	t.Parallel()
	ok, no := `{"id":0,"result":{"data":{"id":7}}}`, `{"id":1,"error":{"code":4040,"message":"No","data":{"kind":"NOT_FOUND"}}}`
	aborted := `{"id":0,"error":{"code":4310,"message":"No","data":{"kind":"ABORTED"}}}`
	body := ""
	s, c := newClient(func(request, int) reply { return reply{200, body} })

	var b rpcclient.Batch
	first, second := read.In(&b, params{1}), read.In(&b, params{2})
	if _, err := first.Result(); err == nil {
		t.Error("a result before the batch has run")
	}
	body = "[" + ok + "," + no + "]"
	if err := b.Run(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	if v, err := first.Result(); err != nil || v.Data.ID != 7 {
		t.Errorf("first: %v, %v", v, err)
	}
	if _, err := second.Result(); rpcclient.KindOf(err) != apperr.NotFound {
		t.Errorf("second: %v", err)
	}

	b = rpcclient.Batch{Atomic: true}
	made := write.In(&b, params{1})
	loose := rpcclient.Method[any, jsontext.Value]{Name: "create_row"}
	loose.In(&b, map[string]any{"data": map[string]any{"row_id": made.Ref("id"), "all": made.Ref("")}})
	body = "[" + aborted + "," + no + "]"
	if err := b.Run(t.Context(), c); rpcclient.KindOf(err) != apperr.NotFound {
		t.Errorf("an atomic batch: %v", err)
	}
	last := s.requests[len(s.requests)-1]
	if want := `{"data":{"all":{"$ref":"0"},"row_id":{"$ref":"0.id"}}}`; !last.atomic || !strings.Contains(last.body, want) {
		t.Errorf("sent %+v, want %s", last, want)
	}
	body = "[" + ok + "]"
	b = rpcclient.Batch{}
	read.In(&b, params{1})
	read.In(&b, params{2})
	if err := b.Run(t.Context(), c); err == nil {
		t.Error("an answer is missing")
	}
	if err := (&rpcclient.Batch{}).Run(t.Context(), c); err != nil {
		t.Errorf("an empty batch: %v", err)
	}
}

func TestRows(t *testing.T) {
	t.Parallel()
	s, c := newClient(func(_ request, n int) reply {
		next := fmt.Sprintf(`"c%d"`, n)
		if n == 2 {
			next = "null"
		}
		return reply{200, fmt.Sprintf(`{"id":1,"result":{"data":[{"id":%d},{"id":%d}],"next_cursor":%s}}`, 2*n, 2*n+1, next)}
	})
	p := listParams{Filters: map[string]any{"done": true}}
	if err := json.Unmarshal([]byte(`{"list_options":{"limit":2,"offset":9}}`), &p); err != nil {
		t.Fatal(err)
	}
	want := int64(0)
	for row, err := range rpcclient.Rows(t.Context(), c, list, p) {
		if err != nil || row.ID != want {
			t.Fatalf("%v, %v, want %d", row, err, want)
		}
		want++
	}
	if want != 6 || len(s.requests) != 3 {
		t.Errorf("%d rows, %d requests", want, len(s.requests))
	}
	if last := s.requests[2].body; !strings.Contains(last, `"params":{"filters":{"done":true},"list_options":{"cursor":"c1","limit":2}}`) {
		t.Errorf("the last page is asked for by %s", last)
	}
	for _, err := range rpcclient.Rows(t.Context(), c, list, p) { // whoever has seen enough may stop
		if err != nil {
			t.Error(err)
		}
		break
	}
	if len(s.requests) != 4 {
		t.Errorf("%d requests", len(s.requests))
	}
	_, c = newClient(func(request, int) reply { return refuse(200, apperr.Forbidden, "") })
	for _, err := range rpcclient.Rows(t.Context(), c, list, p) {
		if rpcclient.KindOf(err) != apperr.Forbidden {
			t.Errorf("%v", err)
		}
	}
}

func TestOpt(t *testing.T) {
	t.Parallel()
	type changes struct {
		Due rpcclient.Opt[int] `json:"due,omitzero"`
	}
	for want, in := range map[string]changes{
		`{}`: {}, `{"due":null}`: {rpcclient.Null[int]()}, `{"due":0}`: {rpcclient.Value(0)},
	} {
		got, err := json.Marshal(in)
		var back changes
		if err == nil {
			err = json.Unmarshal(got, &back)
		}
		v, ok := back.Due.Get()
		w, had := in.Due.Get()
		if err != nil || string(got) != want || v != w || ok != had || back.Due.IsZero() != in.Due.IsZero() {
			t.Errorf("%s, %+v, %v, want %s", got, back, err, want)
		}
	}
}
