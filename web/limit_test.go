package web_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/modules/apperr"
	"rowcall/modules/limit"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

func limited(t *testing.T, cfg limit.Config) *server {
	t.Helper()
	return serve(t, rpctest.New(t), func(c *web.Config) { c.Limits = limit.New(cfg) })
}

// call is a call's answer.
type call struct {
	ID    *int `json:"id"`
	Error *struct {
		Code int `json:"code"`
		Data struct {
			Kind         apperr.Kind `json:"kind"`
			RetryAfterMS int         `json:"retry_after_ms"`
		} `json:"data"`
	} `json:"error"`
}

func calls[T call | []call](t *testing.T, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%s: %v", a.body, err)
	}
	return v
}

func batch(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(list+",", n), ",") + "]" }

func wantLimited(t *testing.T, a answer) {
	t.Helper()
	c := calls[call](t, a)
	if a.status != http.StatusTooManyRequests || c.ID != nil || c.Error == nil || c.Error.Code != 4290 || c.Error.Data.Kind != apperr.RateLimited ||
		c.Error.Data.RetryAfterMS <= 0 || a.header.Get("Retry-After") != fmt.Sprint((c.Error.Data.RetryAfterMS+999)/1000) {
		t.Errorf("not limited: %d %q %s", a.status, a.header.Get("Retry-After"), a.body)
	}
}

func TestCallsAreLimited(t *testing.T) {
	t.Parallel()
	rule := limit.Rule{Calls: limit.Rate{PerSecond: 1, Burst: 20}}
	s := limited(t, limit.Config{User: rule, Key: rule})
	token := bearer(s.login("demo1").Token)
	made := s.post("/api/rpc", `{"id":1,"method":"create_api_key","params":{"data":{"name":"x","scopes":["read"]}}}`, token...)
	key := result[struct {
		Data struct {
			Key string `json:"key"`
		} `json:"data"`
	}](t, made).Data.Key

	start := time.Now()
	answers := calls[[]call](t, s.post("/api/rpc", batch(50), token...))
	ran := 0
	for i, c := range answers {
		switch {
		case c.ID == nil || *c.ID != 1:
			t.Errorf("answer %d has the id %v", i, c.ID)
		case c.Error == nil && i == ran:
			ran++
		case c.Error == nil || c.Error.Data.Kind != apperr.RateLimited || c.Error.Data.RetryAfterMS <= 0:
			t.Errorf("answer %d, after %d: %+v", i, ran, c.Error)
		}
	}
	if most := 19 + int(time.Since(start).Seconds()) + 1; len(answers) != 50 || ran < 19 || ran > most {
		t.Errorf("%d answers, %d calls ran", len(answers), ran)
	}
	again := bearer(s.login("demo1").Token)                                // another session, the same user
	for _, headers := range [][]string{token, again, {"X-Api-Key", key}} { // a key of the user does not help
		a := s.post("/api/rpc", list, headers...)
		for range 20 { // a slow machine may come a second later, when there is another call
			if a.status != http.StatusOK {
				break
			}
			a = s.post("/api/rpc", list, headers...)
		}
		wantLimited(t, a)
	}
	for name, headers := range map[string][]string{
		"another user": bearer(s.login("demo2").Token), "another tenant": bearer(s.login("other1").Token),
	} {
		if a := s.post("/api/rpc", list, headers...); a.status != http.StatusOK || a.kind() != "" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}

// A wide batch of lists is refused from where its rows have used up the budget, and nothing is sent to the database for
// what is refused.
func TestRowsAreLimited(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.InfoLevel)
	s := serve(t, rpctest.New(t), func(c *web.Config) {
		c.Limits = limit.New(limit.Config{User: limit.Rule{Cost: limit.Rate{PerSecond: 1, Burst: 500}}})
		c.Log = zap.New(core)
	})
	token := bearer(s.login("demo1").Token)
	project := result[struct {
		Data struct {
			ID int64 `json:"id"`
		} `json:"data"`
	}](t, s.post("/api/rpc", `{"id":1,"method":"create_project","params":{"data":{"name":"wide"}}}`, token...)).Data.ID
	task := fmt.Sprintf(`{"project_id":%d,"title":"x"}`, project)
	tasks := `{"id":1,"method":"create_tasks","params":{"data":[` + strings.TrimSuffix(strings.Repeat(task+",", 200), ",") + `]}}`
	if a := s.post("/api/rpc", tasks, token...); a.kind() != "" {
		t.Fatal(a.body)
	}
	ran := 0
	for _, c := range calls[[]call](t, s.post("/api/rpc", batch(100), token...)) {
		if c.Error == nil {
			ran++
		}
	}
	// About 300 are left of the budget, which is enough for two lists of 200 to begin.
	if ran != 2 {
		t.Errorf("%d lists ran", ran)
	}
	// A line is written when its request has been answered.
	var lines []observer.LoggedEntry
	for deadline := time.Now().Add(time.Minute); len(lines) == 0 && time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		lines = logs.FilterField(zap.Int("batch", 100)).All()
	}
	if len(lines) == 0 {
		t.Fatal("the batch has no line in the log")
	}
	if line := lines[0].ContextMap(); line["rows"] != int64(400) || line["statements"].(int64) > 3 { // one may be the login's
		t.Errorf("logged %v", line)
	}
	wantLimited(t, s.post("/api/rpc", list, token...))
}

// An atomic batch that no longer fits as a whole leaves nothing.
func TestAtomicBatchesAreLimitedAsAWhole(t *testing.T) {
	t.Parallel()
	s := limited(t, limit.Config{User: limit.Rule{Calls: limit.Rate{PerSecond: 1, Burst: 30}}})
	var creates []string
	for i := range 100 {
		creates = append(creates, fmt.Sprintf(`{"id":%d,"method":"create_project","params":{"data":{"name":"limited %d"}}}`, i, i))
	}
	headers := append(bearer(s.login("demo1").Token), "Rowcall-Atomic", "true")
	kinds := map[apperr.Kind]int{}
	for _, c := range calls[[]call](t, s.post("/api/rpc", "["+strings.Join(creates, ",")+"]", headers...)) {
		if c.Error == nil {
			t.Fatal("a call of it was kept")
		}
		kinds[c.Error.Data.Kind]++
	}
	if kinds[apperr.RateLimited] != 1 || kinds[apperr.Aborted] != 99 {
		t.Errorf("%v", kinds)
	}
	count := `{"id":1,"method":"count_projects","params":{"filters":{"name":{"$startsWith":"limited"}}}}`
	if a := s.post("/api/rpc", count, bearer(s.login("demo2").Token)...); !strings.Contains(a.body, `"count":0`) {
		t.Error(a.body)
	}
}

func TestAddressesAreLimited(t *testing.T) {
	t.Parallel()
	s := limited(t, limit.Config{Address: limit.Rule{Calls: limit.Rate{PerSecond: 1, Burst: 1000}, Cost: limit.Rate{PerSecond: 1, Burst: 100}}})
	token := bearer(s.login("demo1").Token)
	for range 150 { // whoever is logged in costs the address nothing but the request
		if a := s.post("/api/rpc", list, token...); a.status != http.StatusOK {
			t.Fatal(a.status, a.body)
		}
	}
	if answers := calls[[]call](t, s.post("/api/rpc", batch(50))); answers[49].Error.Data.Kind != apperr.Unauthenticated {
		t.Errorf("anonymous: %+v", answers[49].Error)
	}
	for range 2 {
		if a := s.post("/api/rpc", list, "X-Api-Key", "rck_guessed"); a.status != http.StatusUnauthorized {
			t.Errorf("a guessed key: %d %s", a.status, a.body)
		}
	}
	wantLimited(t, s.post("/api/rpc", list, "X-Api-Key", "rck_guessed"))
	wantLimited(t, s.post("/api/rpc", list, token...))
	wantLimited(t, s.post("/api/login", `{"username":"demo1","pwd":"welcome"}`))
	if a := s.send("GET", "/healthz", ""); a.status != http.StatusOK {
		t.Errorf("healthz: %d", a.status)
	}
}

// A tenant whose calls all wait for a lock leaves connections for another tenant, which is served at once.
func TestATenantCannotStarveAnother(t *testing.T) {
	t.Parallel()
	s := limited(t, limit.Config{Concurrency: 6, Wait: time.Minute})
	demo, other := bearer(s.login("demo1").Token), bearer(s.login("other1").Token)
	project := result[struct {
		Data struct {
			ID int64 `json:"id"`
		} `json:"data"`
	}](t, s.post("/api/rpc", `{"id":1,"method":"create_project","params":{"data":{"name":"contended"}}}`, demo...)).Data.ID
	tx, err := s.DB.Owner(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it is released then
	if _, err := tx.ExecContext(t.Context(), `SELECT FROM project WHERE id = $1 FOR UPDATE`, project); err != nil {
		t.Fatal(err)
	}
	update := fmt.Sprintf(`{"id":1,"method":"update_project","params":{"id":%d,"data":{"name":"renamed"}}}`, project)
	var wg sync.WaitGroup
	for range 40 {
		wg.Go(func() {
			if a := s.post("/api/rpc", update, demo...); a.status != http.StatusOK || a.kind() != "" {
				t.Errorf("a call that had to wait: %d %s", a.status, a.body)
			}
		})
	}
	until(t, func() bool {
		var n int
		err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		return err == nil && n == 6
	})
	start := time.Now()
	for range 20 {
		if a := s.post("/api/rpc", list, other...); a.status != http.StatusOK || a.kind() != "" {
			t.Errorf("the other tenant: %d %s", a.status, a.body)
		}
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("the other tenant's 20 lists took %v", took)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	wg.Wait()
}
