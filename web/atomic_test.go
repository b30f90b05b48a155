package web_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

// reply is the answer to one call of a batch.
type reply struct {
	ID     jsontext.Value `json:"id"`
	Result struct {
		Data     jsontext.Value `json:"data"`
		Position *int64         `json:"position"`
	} `json:"result"`
	Error *rpctest.Error `json:"error"`
}

func (r reply) kind() apperr.Kind {
	if r.Error == nil {
		return ""
	}
	return r.Error.Data.Kind
}

// atomic sends an atomic batch.
func (s *server) atomic(token string, calls ...string) []reply {
	s.t.Helper()
	a := s.post("/api/rpc", "["+strings.Join(calls, ",")+"]", append(bearer(token), "Rowcall-Atomic", "true")...)
	if a.status != http.StatusOK {
		s.t.Fatalf("%d %s", a.status, a.body)
	}
	var replies []reply
	if err := json.Unmarshal([]byte(a.body), &replies); err != nil {
		s.t.Fatalf("%s: %v", a.body, err)
	}
	return replies
}

// kinds checks the answers' ids, 0 and up, and their kinds in short: "OK OK", "ABORTED NOT_FOUND".
func kinds(t *testing.T, replies []reply, want string) {
	t.Helper()
	var got []string
	for i, r := range replies {
		if string(r.ID) != fmt.Sprint(i) {
			t.Errorf("answer %d is to %s", i, r.ID)
		}
		if r.Error != nil && r.Error.Code != r.kind().Code() {
			t.Errorf("%+v", *r.Error)
		}
		if kind := string(r.kind()); kind != "" {
			got = append(got, kind)
		} else {
			got = append(got, "OK")
		}
	}
	if all := strings.Join(got, " "); all != want {
		t.Fatalf("answered %s, want %s: %+v", all, want, replies)
	}
}

// counted returns how many rows there are of what the method counts.
func (s *server) counted(token, method string) int {
	s.t.Helper()
	a := s.post("/api/rpc", `{"id":1,"method":"`+method+`"}`, bearer(token)...)
	return result[struct {
		Data struct {
			Count int `json:"count"`
		} `json:"data"`
	}](s.t, a).Data.Count
}

func project(id int, name string) string {
	return fmt.Sprintf(`{"id":%d,"method":"create_project","params":{"data":{"name":%q}}}`, id, name)
}

func TestAtomicBatch(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	projects, tasks := s.counted(token, "count_projects"), s.counted(token, "count_tasks")

	replies := s.atomic(token, project(0, "Moon"),
		`{"id":1,"method":"create_tasks","params":{"data":[{"project_id":{"$ref":"0.id"},"title":"a"},{"project_id":{"$ref":"0.id"},"title":"b"}]}}`,
		`{"id":2,"method":"update_task","params":{"id":{"$ref":"1.1.id"},"version":{"$ref":"1.1.version"},"data":{"done":true}}}`,
		`{"id":3,"method":"list_tasks","params":{"filters":{"project_id":{"$ref":"0.id"}},"list_options":{"total":true}}}`,
		`{"id":4,"method":"update_tasks","params":{"filters":{"project.name":"Moon"},"data":{"due":{"$ref":"0.ctime"}}}}`,
		`{"id":5,"method":"get_project","params":{"id":{"$ref":"0.id"},"include":["tasks"]}}`)
	kinds(t, replies, "OK OK OK OK OK OK")
	if included := string(replies[5].Result.Data); strings.Count(included, `"due":"`) != 2 {
		t.Errorf("the batch sees %s", included)
	}
	if listed := string(replies[3].Result.Data); strings.Count(listed, `"title"`) != 2 || strings.Count(listed, `"done":true`) != 1 {
		t.Errorf("the batch sees %s", listed)
	}
	if n := s.counted(token, "count_tasks"); n != tasks+2 {
		t.Fatalf("%d tasks, want %d", n, tasks+2)
	}

	for name, c := range map[string]struct{ failing, want string }{
		"not found":  {`{"id":1,"method":"get_task","params":{"id":999999}}`, "ABORTED NOT_FOUND ABORTED"},
		"unique":     {project(1, "Moon"), "ABORTED ALREADY_EXISTS ABORTED"},
		"reference":  {`{"id":1,"method":"create_task","params":{"data":{"project_id":999999,"title":"x"}}}`, "ABORTED BAD_REFERENCE ABORTED"},
		"version":    {`{"id":1,"method":"update_project","params":{"id":{"$ref":"0.id"},"version":9,"data":{"name":"x"}}}`, "ABORTED CONFLICT ABORTED"},
		"a rule":     {project(1, ""), "ABORTED VALIDATION ABORTED"},
		"a ref":      {`{"id":1,"method":"get_project","params":{"id":{"$ref":"2.id"}}}`, "ABORTED INVALID_PARAMS ABORTED"},
		"no method":  {`{"id":1,"method":"nonsense"}`, "ABORTED METHOD_NOT_FOUND ABORTED"},
		"the rights": {`{"id":1,"method":"suspend_user","params":{"id":1001}}`, "ABORTED FORBIDDEN ABORTED"},
	} {
		t.Run(name, func(t *testing.T) {
			kinds(t, s.atomic(token, project(0, "Mars"), c.failing, project(2, "Venus")), c.want)
		})
	}
	if n := s.counted(token, "count_projects"); n != projects+1 {
		t.Fatalf("%d projects, want %d", n, projects+1)
	}

	// The failure of a notification, too.
	a := s.post("/api/rpc", `[`+project(0, "Mars")+`,{"method":"get_task","params":{"id":999999}}]`, append(bearer(token), "Rowcall-Atomic", "true")...)
	if !strings.Contains(a.body, `"ABORTED"`) || s.counted(token, "count_projects") != projects+1 {
		t.Fatal(a.body)
	}
}

func TestAtomicBatchOfAHundred(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	tasks := s.counted(token, "count_tasks")
	calls := []string{project(0, "Moon")}
	for i := 1; i < 100; i++ {
		calls = append(calls, fmt.Sprintf(`{"id":%d,"method":"create_task","params":{"data":{"project_id":{"$ref":"0.id"},"title":"%[1]d"}}}`, i))
	}
	kinds(t, s.atomic(token, calls...), strings.TrimSuffix(strings.Repeat("OK ", 100), " "))
	calls[0] = project(0, "Mars")
	calls[99] = `{"id":99,"method":"get_task","params":{"id":999999}}`
	kinds(t, s.atomic(token, calls...), strings.Repeat("ABORTED ", 99)+"NOT_FOUND")
	if n := s.counted(token, "count_tasks"); n != tasks+99 {
		t.Fatalf("%d tasks, want %d", n, tasks+99)
	}
}

// Work of the platform commits by itself, so no batch that is to be one transaction can have it.
func TestAtomicBatchRefusesThePlatformsWork(t *testing.T) {
	t.Parallel()
	s := start(t)
	admin, demo2 := s.login("admin").Token, s.login("demo2")
	for _, call := range []string{
		fmt.Sprintf(`{"id":1,"method":"suspend_user","params":{"id":%d}}`, demo2.User.ID),
		fmt.Sprintf(`{"id":1,"method":"resume_user","params":{"id":%d}}`, demo2.User.ID),
		`{"id":1,"method":"change_password","params":{"pwd":"welcome","new_pwd":"another one entirely"}}`,
		`{"id":1,"method":"change_password","params":{"pwd":"wrong","new_pwd":"another one entirely"}}`,
	} {
		kinds(t, s.atomic(admin, project(0, "Moon"), call), "ABORTED INVALID_REQUEST")
	}
	if a := s.post("/api/rpc", list, bearer(demo2.Token)...); a.kind() != "" {
		t.Fatalf("suspended all the same: %s", a.body)
	}
	s.login("admin")

	// An API key is the tenant's.
	key := `{"id":0,"method":"create_api_key","params":{"data":{"name":"ci","scopes":["read"]}}}`
	kinds(t, s.atomic(admin, key, `{"id":1,"method":"get_task","params":{"id":999999}}`), "ABORTED NOT_FOUND")
	replies := s.atomic(admin, key)
	kinds(t, replies, "OK")
	var made struct {
		Key string `json:"key"`
	}
	if err := json.Unmarshal(replies[0].Result.Data, &made); err != nil {
		t.Fatal(err)
	}
	if a := s.post("/api/rpc", list, "X-Api-Key", made.Key); a.kind() != "" {
		t.Fatalf("the key does not work: %s", a.body)
	}
}

func TestAtomicBatchOfNobody(t *testing.T) {
	t.Parallel()
	s := start(t)
	a := s.post("/api/rpc", `[`+project(0, "Moon")+`,`+project(1, "Mars")+`]`, "Rowcall-Atomic", "true")
	var replies []reply
	if err := json.Unmarshal([]byte(a.body), &replies); err != nil {
		t.Fatal(err)
	}
	kinds(t, replies, "UNAUTHENTICATED ABORTED")
}

// Each call of an atomic batch is answered with the position of what it wrote, which is known when all of it is committed.
func TestPositionsOfAnAtomicBatch(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	create := func(id int, titles ...string) string {
		rows := []string{}
		for _, title := range titles {
			rows = append(rows, `{"project_id":{"$ref":"0.id"},"title":"`+title+`"}`)
		}
		return fmt.Sprintf(`{"id":%d,"method":"create_tasks","params":{"data":[%s]}}`, id, strings.Join(rows, ","))
	}
	replies := s.atomic(token, project(0, "Moon"), create(1, "a", "b"), create(2), `{"id":3,"method":"count_tasks"}`, create(4, "c"))
	kinds(t, replies, "OK OK OK OK OK")
	first := replies[0].Result.Position
	if first == nil {
		t.Fatal("there is no position")
	}
	for i, after := range []*int64{new(int64(0)), new(int64(2)), nil, nil, new(int64(3))} {
		got := replies[i].Result.Position
		if (got == nil) != (after == nil) || got != nil && *got != *first+*after {
			t.Errorf("the position of the call %d is %v, the first one's %d", i, got, *first)
		}
	}
	next := s.atomic(token, project(0, "Mars"))
	if p := next[0].Result.Position; p == nil || *p != *first+4 {
		t.Errorf("the next position is %v, after %d", p, *first+3)
	}
}

// What only the commit finds out is no single call's, and answers all.
func TestAtomicBatchWhoseCommitFails(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zapcore.InfoLevel)
	s := serve(t, rpctest.New(t), func(cfg *web.Config) { cfg.Log = zap.New(core) })
	token := s.login("demo1").Token
	s.DB.Exec(t, `ALTER TABLE task ALTER CONSTRAINT `+foreignKey(t, s, "task", "project_id")+` DEFERRABLE INITIALLY DEFERRED`)
	kinds(t, s.atomic(token, project(0, "Moon"), `{"id":1,"method":"create_task","params":{"data":{"project_id":999999,"title":"x"}}}`),
		"BAD_REFERENCE BAD_REFERENCE")
	entry := logged.FilterMessage("request").All()[logged.FilterMessage("request").Len()-1].ContextMap()
	if entry["batch"] != int64(2) || entry["statements"] != int64(6) { // the look at revocations, BEGIN, two, their entries, COMMIT
		t.Errorf("logged %v", entry)
	}

	// Nothing that it did is in the way of the same batch without the fault.
	replies := s.atomic(token, project(0, "Moon"), `{"id":1,"method":"create_task","params":{"data":{"project_id":{"$ref":"0.id"},"title":"x"}}}`)
	kinds(t, replies, "OK OK")
}

// A client that goes away, like a server that is stopped, ends the batch wherever it is.
func TestAtomicBatchOfAClientThatLeaves(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	kinds(t, s.atomic(token, project(0, "Moon")), "OK")
	projects := s.counted(token, "count_projects")
	owner := s.DB.Owner(t)
	holder, err := owner.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback() //nolint:errcheck // it is over then
	var id int64
	if err := holder.QueryRowContext(t.Context(), `SELECT id FROM project WHERE name = 'Moon' FOR UPDATE`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	backends := func(condition string) (n int) {
		if err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND usename LIKE '%\_tenant\_login' AND `+condition).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}

	ctx, leave := context.WithCancel(t.Context())
	body := "[" + project(0, "Mars") + fmt.Sprintf(`,{"id":1,"method":"update_project","params":{"id":%d,"data":{"name":"Sun"}}}]`, id)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/rpc", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{"Content-Type": "application/json", "Authorization": "Bearer " + token, "Rowcall-Atomic": "true"} {
		req.Header.Set(name, value)
	}
	left := make(chan error, 1)
	go func() {
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
		}
		left <- err
	}()
	for backends(`wait_event_type = 'Lock'`) == 0 {
	}
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for backends(`xact_start IS NOT NULL`) > 0 {
	}
	if err := holder.Rollback(); err != nil {
		t.Fatal(err)
	}
	if n := s.counted(token, "count_projects"); n != projects {
		t.Fatalf("%d projects, want %d", n, projects)
	}
}

// foreignKey is the name of a table's constraint.
func foreignKey(t *testing.T, s *server, table, column string) (name string) {
	t.Helper()
	err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT conname FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'f'
		AND pg_get_constraintdef(oid) LIKE '%' || $2 || '%'`, table, column).Scan(&name)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

// Batches at once, each of which moves the same rows: they get in each other's way, and each is kept as a whole or not at all.
func TestAtomicBatchesAtOnce(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	const n = 6
	kinds(t, s.atomic(token, project(0, "a"), project(1, "b")), "OK OK")
	var rows []struct {
		ID int64 `json:"id"`
	}
	a := s.post("/api/rpc", `{"id":1,"method":"list_projects","params":{"filters":{"name":{"$in":["a","b"]}}}}`, bearer(token)...)
	if err := json.Unmarshal(result[rpctest.Result](t, a).Data, &rows); err != nil || len(rows) != 2 {
		t.Fatal(a.body)
	}
	kept := make([]bool, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			first, second := rows[i%2].ID, rows[(i+1)%2].ID // in both orders, so that some deadlock
			update := `{"id":%d,"method":"update_project","params":{"id":%d,"data":{"name":"%s %d"}}}`
			replies := s.atomic(token, fmt.Sprintf(update, 0, first, "first", i), fmt.Sprintf(update, 1, second, "second", i))
			kept[i] = replies[0].kind() == ""
			for _, r := range replies {
				if kind := r.kind(); kind != "" && (kept[i] || kind != apperr.Aborted) {
					t.Errorf("batch %d: %+v", i, replies)
				}
			}
		})
	}
	wg.Wait()
	a = s.post("/api/rpc", `{"id":1,"method":"list_projects","params":{"filters":{"name":{"$startsWithAny":["first","second"]}}}}`, bearer(token)...)
	var after []struct {
		Name    string `json:"name"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(result[rpctest.Result](t, a).Data, &after); err != nil || len(after) != 2 {
		t.Fatal(a.body)
	}
	committed := 1
	for _, k := range kept {
		if k {
			committed++
		}
	}
	_, i, _ := strings.Cut(after[0].Name, " ")
	_, j, _ := strings.Cut(after[1].Name, " ")
	if i != j || after[0].Version != committed || after[1].Version != committed {
		t.Fatalf("%+v after %d commits", after, committed)
	}
}
