package web_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/limit"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

const bootstrap = `{"id":1,"method":"sync_bootstrap","params":{"limit":500}}`

// addTasks adds n tasks to the demo tenant, each of more than so many bytes.
func (s *server) addTasks(n, bytes int) {
	s.t.Helper()
	s.DB.Exec(s.t, `WITH p AS (
			INSERT INTO project (tenant_id, name, owner_id, version, cid, ctime, mid, mtime)
			SELECT m.tenant_id, 'large', m.user_id, 1, m.user_id, now(), m.user_id, now()
			FROM membership m JOIN account a ON a.id = m.user_id WHERE a.username = 'demo1' RETURNING *)
		INSERT INTO task (tenant_id, project_id, title, done, meta, version, cid, ctime, mid, mtime)
		SELECT p.tenant_id, p.id, 'task ' || n, false, jsonb_build_object('text', repeat('x', $2)), 1, p.cid, now(), p.cid, now()
		FROM p, generate_series(1, $1::int) n`, n, bytes)
}

// line is one of a stream.
type line struct {
	Entity   string         `json:"entity"`
	ID       int64          `json:"id"`
	Version  int64          `json:"version"`
	Data     jsontext.Value `json:"data"`
	End      bool           `json:"end"`
	Position int64          `json:"position"`
	Epoch    string         `json:"epoch"`
	Error    *struct {
		Code int `json:"code"`
		Data struct {
			Kind      apperr.Kind `json:"kind"`
			RequestID string      `json:"request_id"`
		} `json:"data"`
	} `json:"error"`
}

// stream is the lines of an answer, as they come.
type stream struct {
	t    testing.TB
	resp *http.Response
	in   *bufio.Reader
}

func (s *server) stream(body, token string) *stream {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/api/rpc", strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/plain;q=0.5, application/x-ndjson")
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = resp.Body.Close() })
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		s.t.Fatalf("the stream is %d %v", resp.StatusCode, resp.Header)
	}
	return &stream{s.t, resp, bufio.NewReader(resp.Body)}
}

// next returns the next line.
func (s *stream) next() (l line) {
	s.t.Helper()
	text, err := s.in.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(text, &l)
	}
	if err != nil {
		s.t.Fatalf("the line %q: %v", text, err)
	}
	return l
}

// rest returns the rows of the lines that are left, and the last line, after which the stream is over.
func (s *stream) rest() (rows []line, last line) {
	s.t.Helper()
	for {
		if last = s.next(); last.Entity == "" {
			if _, err := s.in.ReadByte(); err == nil {
				s.t.Fatal("there is more after the last line")
			}
			return rows, last
		}
		rows = append(rows, last)
	}
}

func (l line) wantError(t *testing.T, kind apperr.Kind, s *stream) {
	t.Helper()
	if l.Error == nil || l.Error.Data.Kind != kind || l.Error.Code != kind.Code() || l.Error.Data.RequestID != s.resp.Header.Get("X-Request-Id") {
		t.Errorf("the stream should end with %s, and ends with %+v", kind, l)
	}
}

// The stream has the rows of the pages, in their order.
func TestLines(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addTasks(1234, 10)
	token := s.login("demo1").Token
	rows, last := s.stream(bootstrap, token).rest()
	var paged []line
	for cursor := "null"; ; {
		a := s.post("/api/rpc", `{"id":1,"method":"sync_bootstrap","params":{"cursor":`+cursor+`}}`, bearer(token)...)
		page := result[struct {
			Data       []line  `json:"data"`
			NextCursor *string `json:"next_cursor"`
			Position   int64   `json:"position"`
			Epoch      string  `json:"epoch"`
		}](t, a)
		paged = append(paged, page.Data...)
		if page.Position != last.Position || page.Epoch != last.Epoch {
			t.Errorf("the stream ends with %+v, and a page has the position %d, the epoch %s", last, page.Position, page.Epoch)
		}
		if page.NextCursor == nil {
			break
		}
		cursor = `"` + *page.NextCursor + `"`
	}
	if !last.End || len(paged) < 1234 || fmt.Sprint(rows) != fmt.Sprint(paged) {
		t.Errorf("the stream has %d rows, the pages %d; the last line is %+v", len(rows), len(paged), last)
	}

	lines := append(bearer(token), "Accept", "application/x-ndjson")
	for body, want := range map[string]string{
		`{"id":1,"method":"sync_bootstrap","params":{"limit":0}}`: `"kind":"INVALID_PARAMS"`,
		`{"id":1,"method":"count_tasks"}`:                         `"count":`,
		`[` + bootstrap + `]`:                                     `"next_cursor":`,
		`{"id":1}`:                                                `"kind":"INVALID_REQUEST"`,
		`{`:                                                       `"kind":"PARSE_ERROR"`,
	} {
		if a := s.post("/api/rpc", body, lines...); a.header.Get("Content-Type") != "application/json" || !strings.Contains(a.body, want) {
			t.Errorf("%s is answered %q %s", body, a.header.Get("Content-Type"), a.body)
		}
	}
	if a := s.post("/api/rpc", strings.Replace(bootstrap, `"id":1,`, "", 1), lines...); a.status != http.StatusNoContent {
		t.Errorf("a notification is answered %d %s", a.status, a.body)
	}
}

// large is a stream of which most does not fit between the server and a client that does not read.
func (s *server) large() *stream {
	s.t.Helper()
	s.addTasks(20_000, 2000)
	return s.stream(bootstrap, s.login("demo1").Token)
}

func TestAStopEndsAStream(t *testing.T) {
	t.Parallel()
	s := start(t)
	lines := s.large()
	lines.next()
	s.stop()
	rows, last := lines.rest()
	if last.wantError(t, apperr.Unavailable, lines); len(rows) >= 20_000 {
		t.Errorf("the stream goes on for %d rows", len(rows))
	}
}

func TestALogoffEndsAStream(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.addTasks(20_000, 2000)
	token := s.login("demo1").Token
	lines := s.stream(bootstrap, token)
	lines.next()
	if a := s.post("/api/logoff", `{"logoff":true}`, bearer(token)...); a.status != http.StatusOK {
		t.Fatal(a.body)
	}
	rows, last := lines.rest()
	if last.wantError(t, apperr.Unauthenticated, lines); len(rows) >= 20_000 {
		t.Errorf("the stream goes on for %d rows", len(rows))
	}
}

func TestANewEpochEndsAStream(t *testing.T) {
	t.Parallel()
	s := start(t)
	lines := s.large()
	lines.next()
	s.DB.Exec(t, `UPDATE membership SET role = 'admin' WHERE user_id = (SELECT id FROM account WHERE username = 'demo1')`)
	_, last := lines.rest()
	last.wantError(t, apperr.ResyncRequired, lines)
}

// A stream to a client that does not read holds no connection to the database.
func TestAStreamThatIsNotReadHoldsNothing(t *testing.T) {
	t.Parallel()
	s := start(t)
	lines := s.large()
	lines.next()
	owner := s.DB.Owner(t)
	until(t, func() bool {
		var busy int
		err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`).Scan(&busy)
		if err != nil {
			t.Fatal(err)
		}
		return busy == 0
	})
	if rows, last := lines.rest(); !last.End || len(rows) < 20_000 {
		t.Errorf("then %d rows come, and %+v", len(rows), last)
	}
}

// The rows of a stream count, and it waits when they have been too many.
func TestStreamsKeepToTheLimits(t *testing.T) {
	t.Parallel()
	s := serve(t, rpctest.New(t), func(cfg *web.Config) {
		cfg.Limits = limit.New(limit.Config{User: limit.Rule{Cost: limit.Rate{PerSecond: 1000, Burst: 500}}})
	})
	s.addTasks(2000, 10)
	token := s.login("demo1").Token
	start := time.Now()
	lines := s.stream(bootstrap, token)
	rows, last := lines.rest()
	if took := time.Since(start); took < 900*time.Millisecond { // 500 at once, and the last page on credit
		t.Errorf("2000 rows take %v", took)
	}
	if !last.End || len(rows) < 2000 {
		t.Errorf("after %d rows: %+v", len(rows), last)
	}
}
