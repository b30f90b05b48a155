package rpc_test

import (
	"fmt"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
)

func TestListChanges(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c, admin := s.As(t, "demo1"), s.As(t, "admin")
	since := rpctest.Call[syncHead](c, "sync_head", nil).Position
	p := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "P"}})
	task := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": p["id"], "title": "T", "meta": rpctest.Row{"color": "red"}}})
	changed := rpctest.Call[rpctest.Row](c, "update_task", rpctest.Row{"id": task["id"], "data": rpctest.Row{"title": "U"}})
	rpctest.Call[rpctest.Row](admin, "delete_task", rpctest.Row{"id": task["id"]})
	rpctest.Call[rpctest.Row](c, "create_api_key", rpctest.Row{"data": rpctest.Row{"name": "mine", "scopes": []string{"read"}}})

	type entry struct {
		change
		At     string      `json:"at"`
		Before rpctest.Row `json:"before"`
	}
	list := func(filters any, options rpctest.Row) []entry {
		t.Helper()
		return rpctest.Call[[]entry](admin, "list_changes", rpctest.Row{"filters": filters, "list_options": options})
	}
	ofTask := list(rpctest.Row{"entity": "task", "id": task["id"]}, nil)
	if len(ofTask) != 3 || ofTask[0].Op != "create" || ofTask[0].Before != nil || fmt.Sprint(ofTask[0].Data) != fmt.Sprint(task) ||
		ofTask[1].Op != "update" || fmt.Sprint(ofTask[1].Before) != fmt.Sprint(task) || fmt.Sprint(ofTask[1].Data) != fmt.Sprint(changed) ||
		ofTask[2].Op != "delete" || fmt.Sprint(ofTask[2].Before) != fmt.Sprint(changed) || ofTask[2].Data != nil || ofTask[2].Actor != admin.Actor.User ||
		ofTask[2].Method != "delete_task" || ofTask[2].Position != since+4 || fmt.Sprint(ofTask[2].ID) != fmt.Sprint(task["id"]) {
		t.Errorf("the task's changes are %+v", ofTask)
	}
	for _, c := range []struct {
		filters any
		want    string
	}{
		{rpctest.Row{"position": rpctest.Row{"$gt": since}}, "1 2 3 4 5"},
		{rpctest.Row{"id": fmt.Sprint(task["id"]), "op": rpctest.Row{"$not": "update"}, "entity": rpctest.Row{"$in": []string{"task", "x"}}}, "2 4"},
		{rpctest.Row{"id": rpctest.Row{"$in": []any{task["id"], "x"}}, "entity": "task"}, "2 3 4"},
		{rpctest.Row{"method": rpctest.Row{"$startsWith": "create_"}, "actor": c.Actor.User}, "1 2 5"},
		{rpctest.Row{"data.title": "U"}, "3"},
		{rpctest.Row{"before.title": "U"}, "4"},
		{rpctest.Row{"before.meta.color": "red", "version": 2}, "3"},
		{rpctest.Row{"at": rpctest.Row{"$gte": ofTask[1].At}, "before": rpctest.Row{"$null": false}, "entity": "task"}, "3 4"},
	} {
		got := ""
		for _, e := range list(c.filters, nil) {
			got += fmt.Sprint(" ", e.Position-since)
		}
		if got != " "+c.want {
			t.Errorf("%v chooses%s, not %s", c.filters, got, c.want)
		}
	}

	r, failed := admin.Do("list_changes", rpctest.Row{"list_options": rpctest.Row{"order_bys": "!position", "limit": 2, "total": true, "fields": []string{"position", "id"}}})
	if failed != nil || r.NextCursor == nil || r.Total == nil || *r.Total != since+5 || fmt.Sprint(decode[[]rpctest.Row](t, r)[1]) != fmt.Sprint(rpctest.Row{"position": since + 4, "id": task["id"]}) {
		t.Errorf("the newest are %+v, %+v", r, failed)
	}
	next := list(nil, rpctest.Row{"order_bys": "!position", "limit": 2, "cursor": r.NextCursor})
	if len(next) != 2 || next[0].Position != since+3 {
		t.Errorf("the next are %+v", next)
	}
	byRow := rpctest.Row{"order_bys": []string{"!id", "op"}, "limit": 1, "fields": []string{"data"}}
	first, failed := admin.Do("list_changes", rpctest.Row{"filters": rpctest.Row{"entity": "task"}, "list_options": byRow})
	if failed != nil || fmt.Sprint(decode[[]rpctest.Row](t, first)) != fmt.Sprint([]rpctest.Row{{"data": task}}) {
		t.Errorf("the first data are %+v, %+v", first, failed)
	}
	byRow["cursor"] = first.NextCursor
	if second := list(rpctest.Row{"entity": "task"}, byRow); len(second) != 1 || second[0].Entity != "" || second[0].Data != nil {
		t.Errorf("then %+v", second)
	}
	if n := rpctest.Call[rpctest.Row](admin, "count_changes", rpctest.Row{"filters": rpctest.Row{"entity": "task"}}); fmt.Sprint(n["count"]) != "3" {
		t.Errorf("there are %v changes of tasks", n)
	}
	byID := rpctest.Call[[]rpctest.Row](admin, "aggregate_changes", rpctest.Row{"filters": rpctest.Row{"entity": "task"}, "group_by": []string{"op", "id"}, "aggregates": rpctest.Row{"n": "count"}})
	if len(byID) != 3 {
		t.Errorf("by op and id: %v", byID)
	}

	key := list(rpctest.Row{"entity": "api_key"}, nil)
	if len(key) != 1 || key[0].Data["hash"] != nil || key[0].Data["name"] != "mine" {
		t.Errorf("the key's change is %+v", key)
	}
	c.Fails(apperr.Forbidden, "list_changes", nil)
	c.Fails(apperr.Forbidden, "count_changes", nil)
	admin.FailsAt(apperr.InvalidParams, "params.filters.id", "list_changes", rpctest.Row{"filters": rpctest.Row{"id": true}})
}
