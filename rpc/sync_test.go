package rpc_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/go-json-experiment/json"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
)

// change is an entry of the log.
type change struct {
	Position int64       `json:"position"`
	Prev     *int64      `json:"prev"`
	Actor    int64       `json:"actor"`
	Method   string      `json:"method"`
	Entity   string      `json:"entity"`
	ID       any         `json:"id"`
	Op       string      `json:"op"`
	Version  int64       `json:"version"`
	Data     rpctest.Row `json:"data"`
}

// syncRow is a row of a bootstrap.
type syncRow struct {
	Entity  string      `json:"entity"`
	ID      any         `json:"id"`
	Version int64       `json:"version"`
	Data    rpctest.Row `json:"data"`
}

type syncHead struct {
	Position int64  `json:"position"`
	Tail     int64  `json:"tail"`
	Epoch    string `json:"epoch"`
}

// delta calls sync_delta, which must succeed.
func delta(t *testing.T, c *rpctest.Client, params rpctest.Row) (*rpctest.Result, []change) {
	t.Helper()
	r, failed := c.Do("sync_delta", params)
	if failed != nil {
		t.Fatalf("sync_delta %v: %+v", params, failed)
	}
	return r, decode[[]change](t, r)
}

func decode[T any](t *testing.T, r *rpctest.Result) (v T) {
	t.Helper()
	if err := json.Unmarshal(r.Data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func words(all []change) (words []string) {
	for _, c := range all {
		word := fmt.Sprintf("%d %s %s %v v%d", c.Position, c.Op, c.Entity, c.ID, c.Version)
		if c.Prev != nil {
			word += fmt.Sprintf(" after %d", *c.Prev)
		}
		words = append(words, word)
	}
	return words
}

func TestSyncDelta(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c, admin := s.As(t, "demo1"), s.As(t, "admin")
	since := rpctest.Call[syncHead](c, "sync_head", nil).Position

	p := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "P"}})
	task := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": p["id"], "title": "T", "meta": rpctest.Row{"a": []int{1}}}})
	rpctest.Call[rpctest.Row](admin, "create_api_key", rpctest.Row{"data": rpctest.Row{"name": "theirs", "scopes": []string{"read"}}})
	task = rpctest.Call[rpctest.Row](c, "update_task", rpctest.Row{"id": task["id"], "data": rpctest.Row{"done": true}})
	mine := rpctest.Call[rpctest.Row](c, "create_api_key", rpctest.Row{"data": rpctest.Row{"name": "mine", "scopes": []string{"read"}}})
	p = rpctest.Call[rpctest.Row](c, "update_project", rpctest.Row{"id": p["id"], "data": rpctest.Row{"name": "Q"}})
	rpctest.Call[rpctest.Row](c, "delete_api_key", rpctest.Row{"id": mine["id"]})
	head := since + 7

	at := func(n int64) int64 { return since + n }
	each := []string{
		fmt.Sprintf("%d create project %v v1 after %d", at(1), p["id"], at(0)),
		fmt.Sprintf("%d create task %v v1 after %d", at(2), task["id"], at(1)),
		fmt.Sprintf("%d update task %v v2 after %d", at(4), task["id"], at(2)),
		fmt.Sprintf("%d create api_key %v v1 after %d", at(5), mine["id"], at(4)),
		fmt.Sprintf("%d update project %v v2 after %d", at(6), p["id"], at(5)),
		fmt.Sprintf("%d delete api_key %v v2 after %d", at(7), mine["id"], at(6)),
	}
	newest := []string{
		fmt.Sprintf("%d update task %v v2", at(4), task["id"]),
		fmt.Sprintf("%d update project %v v2", at(6), p["id"]),
		fmt.Sprintf("%d delete api_key %v v2", at(7), mine["id"]),
	}
	for _, call := range []struct {
		params   rpctest.Row
		want     []string
		position int64
		more     bool
	}{
		{rpctest.Row{"since": since, "coalesce": false}, each, head, false},
		{rpctest.Row{"since": since, "coalesce": false, "limit": 2}, each[:2], at(3), true}, // what is hidden is passed by
		{rpctest.Row{"since": since, "coalesce": false, "limit": 3}, each[:3], at(4), true},
		{rpctest.Row{"since": since}, newest, head, false},
		{rpctest.Row{"since": since, "limit": 1}, []string{fmt.Sprintf("%d create project %v v1", at(1), p["id"])}, at(1), true},
		{rpctest.Row{"since": since, "limit": 2}, []string{fmt.Sprintf("%d create project %v v1", at(1), p["id"]), newest[0]}, at(4), true},
		{rpctest.Row{"since": since, "entities": []string{"project"}}, newest[1:2], head, false},
		{rpctest.Row{"since": since, "entities": []string{}}, nil, head, false},
		{rpctest.Row{"since": head}, nil, head, false},
	} {
		r, all := delta(t, c, call.params)
		if got := words(all); !slices.Equal(got, call.want) || *r.Position != call.position || r.More != call.more || r.Epoch == "" {
			t.Errorf("%v gives %q up to %d, more %v, and should give %q up to %d, %v", call.params, got, *r.Position, r.More, call.want, call.position, call.more)
		}
	}
	if _, all := delta(t, admin, rpctest.Row{"since": since, "coalesce": false}); len(all) != 7 {
		t.Errorf("an admin sees %q", words(all))
	}

	_, all := delta(t, c, rpctest.Row{"since": since, "coalesce": false})
	last := all[2]
	if last.Actor != c.Actor.User || last.Method != "update_task" || fmt.Sprint(last.Data) != fmt.Sprint(task) {
		t.Errorf("the entry is %+v, the row %v", last, task)
	}
	if all[5].Data != nil {
		t.Errorf("a delete has the data %v", all[5].Data)
	}
	if _, volatile := all[3].Data["last_used_at"]; volatile || all[3].Data["hash"] != nil || all[3].Data["name"] != "mine" {
		t.Errorf("a key's data is %v", all[3].Data)
	}
}

func TestSyncFaults(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	for i := range 3 {
		rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": rpctest.Name("project", i)}})
	}
	head := rpctest.Call[syncHead](c, "sync_head", nil)
	rpctest.Call[rpctest.Row](c, "sync_head", rpctest.Row{"epoch": head.Epoch})

	for path, params := range map[string]rpctest.Row{
		"params.limit":       {"since": 0, "limit": 10_001},
		"params.entities[1]": {"since": 0, "entities": []string{"task", "tusk"}},
		"params.since":       {},
	} {
		c.FailsAt(apperr.InvalidParams, path, "sync_delta", params)
	}
	c.FailsAt(apperr.InvalidParams, "params.limit", "sync_bootstrap", rpctest.Row{"limit": 0})
	c.FailsAt(apperr.InvalidParams, "params.entities[0]", "sync_bootstrap", rpctest.Row{"entities": []string{""}})

	first, failed := c.Do("sync_bootstrap", rpctest.Row{"limit": 1, "entities": []string{"task", "project"}})
	if failed != nil || first.NextCursor == nil {
		t.Fatalf("%+v, %+v", first, failed)
	}
	s.As(t, "demo2").FailsAt(apperr.InvalidParams, "params.cursor", "sync_bootstrap", rpctest.Row{"cursor": *first.NextCursor, "entities": []string{"project", "task"}})
	c.FailsAt(apperr.InvalidParams, "params.cursor", "sync_bootstrap", rpctest.Row{"cursor": *first.NextCursor, "entities": []string{"project"}})
	c.FailsAt(apperr.InvalidParams, "params.cursor", "sync_bootstrap", rpctest.Row{"cursor": "A" + *first.NextCursor, "entities": []string{"project", "task"}})
	second, failed := c.Do("sync_bootstrap", rpctest.Row{"cursor": *first.NextCursor, "entities": []string{"project", "task", "task"}, "limit": 5})
	if failed != nil || second.NextCursor != nil || *second.Position != *first.Position || len(decode[[]syncRow](t, second)) != 2 {
		t.Fatalf("%+v, %+v", second, failed)
	}

	resync := func(what, method string, params rpctest.Row) {
		t.Helper()
		if e := c.Fails(apperr.ResyncRequired, method, params); e.Data.Head == nil || e.Data.Tail == nil {
			t.Errorf("%s: %+v", what, e)
		}
	}
	resync("over the head", "sync_delta", rpctest.Row{"since": head.Position + 1})
	resync("far over the head", "sync_delta", rpctest.Row{"since": math.MaxInt64})
	resync("far under the tail", "sync_delta", rpctest.Row{"since": math.MinInt64})
	for _, method := range []string{"sync_head", "sync_bootstrap", "sync_delta"} {
		params := rpctest.Row{"epoch": "another"}
		if method == "sync_delta" {
			params["since"] = head.Position
		}
		resync("another epoch", method, params)
	}
	s.DB.Exec(t, `UPDATE change_head SET head = head + 5, tail = head + 3 WHERE tenant_id = $1`, c.Actor.Tenant.String())
	resync("under the tail", "sync_delta", rpctest.Row{"since": head.Position + 2})
	resync("a cursor under the tail", "sync_bootstrap", rpctest.Row{"cursor": *first.NextCursor, "entities": []string{"project", "task"}})
}

// TestSyncPagesAreBounded: what one call reads is bounded, in rows and in bytes, and the calls after it come to the end.
func TestSyncPagesAreBounded(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	const n = 30_000
	s.DB.Exec(t, `INSERT INTO change_head (tenant_id, head) VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET head = excluded.head`, c.Actor.Tenant.String(), n)
	s.DB.Exec(t, `DELETE FROM change`)
	s.DB.Exec(t, `INSERT INTO change (tenant_id, position, at, actor, method, entity, row_id, op, version, data)
		SELECT $1, p, now(), 1, '', 'secret', p, 'create', 1, '{}' FROM generate_series(1, $2::bigint) p`, c.Actor.Tenant.String(), n)
	pages := 0
	for since := int64(0); since < n; pages++ {
		r, all := delta(t, c, rpctest.Row{"since": since})
		if len(all) > 0 || *r.Position <= since || r.More != (*r.Position < n) {
			t.Fatalf("after %d: %q up to %d, more %v", since, words(all), *r.Position, r.More)
		}
		since = *r.Position
	}
	if pages < 2 {
		t.Error("one call reads the whole log")
	}

	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "P"}})["id"]
	large := rpctest.Row{"x": fmt.Sprintf("%0200000d", 1)}
	for range 40 {
		rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": "T", "meta": large}})
	}
	for _, method := range []string{"sync_delta", "sync_bootstrap"} {
		rows, pages := 0, 0
		params := rpctest.Row{"entities": []string{"task"}}
		if method == "sync_delta" {
			params["since"] = n
		}
		for more := true; more; pages++ {
			r, failed := c.Do(method, params)
			if failed != nil {
				t.Fatal(failed)
			}
			if len(r.Data) > 5<<20 {
				t.Errorf("a page of %s has %d bytes", method, len(r.Data))
			}
			rows += len(decode[[]syncRow](t, r))
			if more = r.More; method == "sync_bootstrap" {
				more = r.NextCursor != nil
			}
			params["since"], params["cursor"] = r.Position, r.NextCursor
			delete(params, map[string]string{"sync_delta": "cursor", "sync_bootstrap": "since"}[method])
		}
		if rows != 40 || pages < 2 {
			t.Errorf("%s has %d rows on %d pages", method, rows, pages)
		}
	}
}
