package rpc_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

func TestTask(t *testing.T) {
	var project any
	rpctest.CRUD(t, rpctest.Entity{
		Name: "task", Plural: "tasks",
		Before: func(c *rpctest.Client) { project = newProject(c, "of tasks") },
		New: func(n int) rpctest.Row {
			return rpctest.Row{"project_id": project, "title": rpctest.Name("task", n), "due": "2026-01-02T03:04:05.123456Z",
				"meta": map[string]any{"n": float64(n)}}
		},
		Change: rpctest.Row{"title": "another title", "done": true, "due": nil, "meta": map[string]any{}},
		Wrong:  map[string]any{"title": 5, "done": "yes", "due": "tomorrow"},
		Rules:  map[string]any{"title": strings.Repeat("é", 201), "meta": []any{1}, "project_id": 0},
	})
}

func TestTaskFields(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	project := newProject(c, "a")
	create := func(data rpctest.Row) rpctest.Row {
		t.Helper()
		data["project_id"] = project
		return rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": data})
	}
	made := create(rpctest.Row{"title": strings.Repeat("é", 200)})
	if made["done"] != false || made["due"] != nil || len(made["meta"].(map[string]any)) != 0 {
		t.Errorf("defaults: %v", made)
	}
	for given, kept := range map[string]string{
		"2026-01-02T03:04:05Z":           "2026-01-02T03:04:05.000000Z",
		"2026-01-02T03:04:05.5+02:00":    "2026-01-02T01:04:05.500000Z",
		"2026-01-02T03:04:05.123456Z":    "2026-01-02T03:04:05.123456Z",
		"0001-01-01T00:00:00Z":           "0001-01-01T00:00:00.000000Z",
		"9999-12-31T23:59:59.999999Z":    "9999-12-31T23:59:59.999999Z",
		"2026-01-02T03:04:05.123456789Z": "2026-01-02T03:04:05.123456Z",
	} {
		if made := create(rpctest.Row{"title": "t", "due": given}); made["due"] != kept {
			t.Errorf("due %s is kept as %v", given, made["due"])
		}
	}
	for _, beyond := range []string{"9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01", "0000-01-01T00:00:00Z", "2026-01-02t03:04:05z", "2026-01-02T3:04:05Z"} {
		c.FailsAt(apperr.InvalidParams, "params.data.due", "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": "t", "due": beyond}})
	}
	c.FailsAt(apperr.InvalidParams, "params.data.project_id", "update_task",
		rpctest.Row{"id": made["id"], "data": rpctest.Row{"project_id": project}})
	c.FailsAt(apperr.ValidationFailed, "params.data.title", "update_task",
		rpctest.Row{"id": made["id"], "data": rpctest.Row{"title": nil}})
	c.FailsAt(apperr.ValidationFailed, "params.data.title", "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project}})
	c.FailsAt(apperr.ValidationFailed, "params.data.project_id", "create_task", rpctest.Row{"data": rpctest.Row{"title": "x"}})
	c.FailsAt(apperr.ValidationFailed, "params.data.meta.a", "create_task", rpctest.Row{"data": rpctest.Row{
		"project_id": project, "title": "x", "meta": jsontext.Value(`{"a":"\u0000"}`)}})
	failed := c.Fails(apperr.BadReference, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": 1, "title": "x"}})
	if failed.Data.Entity != "task" || failed.Data.Field != "project_id" {
		t.Errorf("%+v", failed.Data)
	}
}

// The two requests that the query language began with.
func TestListTasksWithTheFirstFilters(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	project := newProject(c, "a")
	if project != 1000.0 {
		t.Fatalf("the first project is %v", project)
	}
	for _, title := range []string{"task BB 0", "task AAA 1", "task AAA 2", "task AAA 3", "task AAA 4"} {
		rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": title}})
	}
	for params, want := range map[string]string{
		`{"filters":{"project_id":1000},"list_options":{"order_bys":"!title"}}`: `[task BB 0 task AAA 4 task AAA 3 task AAA 2 task AAA 1]`,
		`{"filters":[
			{"project_id":1000,"title":{"$contains":"BB"}},
			{"project_id":{"$in":[1000]},"title":{"$in":["task AAA 3","task AAA 4"]}},
			{"project_id":{"$in":[123,124]},"title":{"$in":["task AAA 2","task AAA 5"]}}]}`: `[task BB 0 task AAA 3 task AAA 4]`,
	} {
		var titles []string
		for _, row := range rpctest.Call[[]rpctest.Row](c, "list_tasks", jsontext.Value(params)) {
			titles = append(titles, row["title"].(string))
		}
		if got := fmt.Sprint(titles); got != want {
			t.Errorf("%s\n gives %s, want %s", params, got, want)
		}
	}
}

func TestListIsLimited(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	project := newProject(c, "a")
	data := make([]rpctest.Row, 1000)
	for i := range data {
		data[i] = rpctest.Row{"project_id": project, "title": fmt.Sprint(i)}
	}
	for range 2 {
		rpctest.Call[[]rpctest.Row](c, "create_tasks", rpctest.Row{"data": data})
	}
	if n := len(rpctest.Call[[]rpctest.Row](c, "list_tasks", nil)); n != 1000 {
		t.Errorf("a list without a limit has %d rows", n)
	}
	rows := rpctest.Call[[]rpctest.Row](c, "list_tasks", rpctest.Row{"list_options": rpctest.Row{"limit": 5000}})
	if len(rows) != 2000 || !slices.IsSortedFunc(rows, func(a, b rpctest.Row) int { return int(a["id"].(float64) - b["id"].(float64)) }) {
		t.Errorf("%d rows, or not in the order of their ids", len(rows))
	}
}

// Gets that stand side by side in a batch are one statement, and each has its own answer.
func TestGetsSideBySide(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	project := newProject(c, "a")
	var body strings.Builder
	for i := range 50 {
		made := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": fmt.Sprint(i)}})
		fmt.Fprintf(&body, `,{"id":%d,"method":"get_task","params":{"id":%v}}`, i, made["id"])
	}
	body.WriteString(`,{"id":50,"method":"get_task","params":{"id":1}},{"id":51,"method":"get_task","params":{"id":"1"}}`)
	request := &auth.Request{ID: "r", Now: time.Now, Actor: c.Actor}
	reply := s.Mux.Serve(auth.WithRequest(t.Context(), request), "r", []byte("["+body.String()[1:]+"]"))
	for i, call := range reply.Calls {
		want := map[int]apperr.Kind{50: apperr.NotFound, 51: apperr.InvalidParams}[i]
		if call.Kind != want || want == "" && !strings.Contains(string(reply.Body), fmt.Sprintf(`"title":"%d"`, i)) {
			t.Errorf("call %d: %q", i, call.Kind)
		}
	}
	if len(reply.Calls) != 52 || request.Stats.Statements != 1 {
		t.Errorf("%d calls by %d statements", len(reply.Calls), request.Stats.Statements)
	}
}
