package rpctest

import (
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/store"
)

// Entity says what the suite needs to know of one.
type Entity struct {
	Name   string // as in create_<name>
	Plural string
	Writer string          // a user of the demo tenant who may write; "" for demo1
	Before func(c *Client) // makes what New refers to; nil for nothing
	New    func(n int) Row // data for create, different for each n
	Change Row             // data for update that changes a new row
	Wrong  map[string]any  // fields with values of a wrong type
	Rules  map[string]any  // fields with values that break a rule

}

var baseFields = []string{"id", "version", "cid", "ctime", "mid", "mtime"}

// CRUD runs the rules of the generic methods against an entity.
func CRUD(t *testing.T, e Entity) {
	t.Parallel()
	if e.Writer == "" {
		e.Writer = "demo1"
	}
	s := New(t)
	c := s.As(t, e.Writer)
	if e.Before != nil {
		e.Before(c)
	}
	stranger := s.As(t, "other1")
	for name, test := range map[string]func(*testing.T, Entity, *Client, *Client){
		"OneRow": oneRow, "Bulk": bulk, "Versions": versions, "Refusals": refusals, "Lists": lists, "OtherTenants": otherTenants,
	} {
		t.Run(name, func(t *testing.T) {
			test(t, e, &Client{t, s, c.Actor}, &Client{t, s, stranger.Actor})
		})
	}
}

func oneRow(t *testing.T, e Entity, c, _ *Client) {
	since := Call[Row](c, "sync_head", nil)["position"]
	data := e.New(1)
	made := Call[Row](c, "create_"+e.Name, Row{"data": data})
	for field, want := range data {
		if !reflect.DeepEqual(made[field], want) && !sameNumber(made[field], want) {
			t.Errorf("%s is %v, was created as %v", field, made[field], want)
		}
	}
	for _, field := range baseFields {
		if made[field] == nil {
			t.Errorf("%s is missing: %v", field, made)
		}
	}
	if made["version"] != 1.0 || made["cid"] != float64(c.Actor.User) || made["mid"] != made["cid"] || made["ctime"] != made["mtime"] {
		t.Errorf("base fields: %v", made)
	}
	if _, shown := made["tenant_id"]; shown {
		t.Error("the tenant is shown")
	}
	if got := Call[Row](c, "get_"+e.Name, Row{"id": made["id"]}); !reflect.DeepEqual(got, made) {
		t.Errorf("got %v, created %v", got, made)
	}
	changed := Call[Row](c, "update_"+e.Name, Row{"id": made["id"], "data": e.Change})
	if changed["version"] != 2.0 || changed["ctime"] != made["ctime"] {
		t.Errorf("updated: %v", changed)
	}
	for field, before := range made {
		want, given := e.Change[field]
		if !given {
			want = before
		}
		if !slices.Contains(baseFields, field) && !reflect.DeepEqual(changed[field], want) && !sameNumber(changed[field], want) {
			t.Errorf("%s is %v after the update, want %v", field, changed[field], want)
		}
	}
	if gone := Call[Row](c, "delete_"+e.Name, Row{"id": made["id"]}); !reflect.DeepEqual(gone, changed) {
		t.Errorf("deleted %v, was %v", gone, changed)
	}
	followed(t, e, c, since, made["id"], []any{made, changed, nil})
	for _, method := range []string{"get_", "delete_"} {
		failed := c.Fails(apperr.NotFound, method+e.Name, Row{"id": made["id"]})
		if failed.Data.Entity != e.Name || len(failed.Data.ID) == 0 {
			t.Errorf("%s: %+v", method, failed.Data)
		}
	}
	c.Fails(apperr.NotFound, "update_"+e.Name, Row{"id": made["id"], "data": e.Change})
}

// followed checks what those get who follow a row's changes: what it is after each, with the next version.
func followed(t *testing.T, e Entity, c *Client, since, id any, rows []any) {
	entries := Call[[]Row](c, "sync_delta", Row{"since": since, "entities": []string{e.Name}, "coalesce": false})
	if len(entries) != len(rows) {
		t.Fatalf("the log has %d entries of it, want %d: %v", len(entries), len(rows), entries)
	}
	for i, method := range []string{"create", "update", "delete"} {
		got, row := entries[i], rows[i]
		if got["method"] != method+"_"+e.Name || got["op"] != method || !reflect.DeepEqual(got["id"], id) || got["version"] != float64(i+1) ||
			got["actor"] != float64(c.Actor.User) || (row == nil) != (got["data"] == nil) {
			t.Errorf("the entry %d is %v", i, got)
		}
		if row != nil && !reflect.DeepEqual(got["data"], row) {
			t.Errorf("the entry %d has %v, want %v", i, got["data"], row)
		}
	}
}

func sameNumber(a, b any) bool {
	x, isNumber := a.(float64)
	y := reflect.ValueOf(b)
	return isNumber && y.IsValid() && y.CanInt() && x == float64(y.Int())
}

func bulk(t *testing.T, e Entity, c, _ *Client) {
	var data []Row
	for n := range 20 {
		data = append(data, e.New(100+n))
	}
	made := Call[[]Row](c, "create_"+e.Plural, Row{"data": data})
	if len(made) != len(data) {
		t.Fatalf("created %d of %d", len(made), len(data))
	}
	for i, row := range made {
		for field, want := range data[i] {
			if !reflect.DeepEqual(row[field], want) && !sameNumber(row[field], want) {
				t.Fatalf("row %d: %s is %v, want %v", i, field, row[field], want)
			}
		}
	}
	before := Call[Row](c, "count_"+e.Plural, nil)
	c.FailsAt(apperr.InvalidParams, "params.data[1].nonsense", "create_"+e.Plural, Row{"data": []Row{e.New(200), {"nonsense": 1}}})
	c.Fails(apperr.InvalidParams, "create_"+e.Plural, Row{"data": make([]Row, store.MaxBulk+1)})
	ids := []any{made[3]["id"], made[1]["id"]}
	missing := any(1 << 50)
	if _, keyed := ids[0].(string); keyed {
		missing = uuid.Must(uuid.NewV7())
	}
	c.Fails(apperr.NotFound, "delete_"+e.Plural, Row{"ids": append(ids, missing)})
	c.FailsAt(apperr.InvalidParams, "params.ids[2]", "delete_"+e.Plural, Row{"ids": append(ids, ids[0])})
	if after := Call[Row](c, "count_"+e.Plural, nil); !reflect.DeepEqual(after, before) {
		t.Errorf("refused bulk calls left %v of %v", after, before)
	}
	gone := Call[[]Row](c, "delete_"+e.Plural, Row{"ids": ids})
	if len(gone) != 2 || !reflect.DeepEqual(gone[0], made[3]) || !reflect.DeepEqual(gone[1], made[1]) {
		t.Errorf("deleted %v", gone)
	}
}

func versions(t *testing.T, e Entity, c, _ *Client) {
	made := Call[Row](c, "create_"+e.Name, Row{"data": e.New(2)})
	changed := Call[Row](c, "update_"+e.Name, Row{"id": made["id"], "data": e.Change, "version": 1})
	for method, params := range map[string]Row{
		"update_": {"id": made["id"], "data": e.Change, "version": 1},
		"delete_": {"id": made["id"], "version": 3},
	} {
		failed := c.Fails(apperr.Conflict, method+e.Name, params)
		if !reflect.DeepEqual(failed.Data.Current, changed) {
			t.Errorf("%s: current is %v, want %v", method, failed.Data.Current, changed)
		}
	}
	Call[Row](c, "delete_"+e.Name, Row{"id": made["id"], "version": 2})
}

func refusals(t *testing.T, e Entity, c, _ *Client) {
	made := Call[Row](c, "create_"+e.Name, Row{"data": e.New(3)})
	id := made["id"]
	refused := maps.Clone(e.Wrong)
	if refused == nil {
		refused = map[string]any{}
	}
	refused["nonsense"] = 1
	refused["tenant_id"] = "00000000-0000-0000-0000-000000000000"
	for _, field := range baseFields {
		refused[field] = 1
	}
	for field, value := range refused {
		data := e.New(4)
		data[field] = value
		c.FailsAt(apperr.InvalidParams, "params.data."+field, "create_"+e.Name, Row{"data": data})
		c.FailsAt(apperr.InvalidParams, "params.data[0]."+field, "create_"+e.Plural, Row{"data": []Row{data}})
		c.FailsAt(apperr.InvalidParams, "params.data."+field, "update_"+e.Name, Row{"id": id, "data": Row{field: value}})
	}
	for field, value := range e.Rules {
		data := e.New(5)
		data[field] = value
		c.FailsAt(apperr.ValidationFailed, "params.data."+field, "create_"+e.Name, Row{"data": data})
		c.FailsAt(apperr.ValidationFailed, "params.data[0]."+field, "create_"+e.Plural, Row{"data": []Row{data}})
	}
	for method, params := range map[string]Row{"get_": {}, "delete_": {}, "update_": {"data": Row{}}} {
		c.FailsAt(apperr.InvalidParams, "params.id", method+e.Name, params)
		for _, wrong := range []any{nil, "x", 1.5, true, []any{}, Row{}} {
			params["id"] = wrong
			c.FailsAt(apperr.InvalidParams, "params.id", method+e.Name, params)
		}
	}
	c.FailsAt(apperr.InvalidParams, "params.data", "create_"+e.Name, Row{})
	c.FailsAt(apperr.InvalidParams, "params.data", "create_"+e.Name, Row{"data": 1})
	c.FailsAt(apperr.InvalidParams, "params.nonsense", "list_"+e.Plural, Row{"nonsense": 1})
	c.FailsAt(apperr.InvalidParams, "params.list_options.limit", "list_"+e.Plural, Row{"list_options": Row{"limit": 5001}})
	c.FailsAt(apperr.InvalidParams, "params.list_options.offset", "list_"+e.Plural, Row{"list_options": Row{"offset": -1}})
	c.FailsAt(apperr.InvalidParams, "params.list_options.order_bys", "list_"+e.Plural, Row{"list_options": Row{"order_bys": "nonsense"}})
	c.FailsAt(apperr.InvalidParams, "params.filters.nonsense", "list_"+e.Plural, Row{"filters": Row{"nonsense": 1}})
	c.FailsAt(apperr.InvalidParams, "params.filters.id.$nonsense", "count_"+e.Plural, Row{"filters": Row{"id": Row{"$nonsense": 1}}})
	if now := Call[Row](c, "get_"+e.Name, Row{"id": id}); !reflect.DeepEqual(now, made) {
		t.Errorf("refused calls changed %v to %v", made, now)
	}
	anonymous := &Client{t, c.s, nil}
	for _, method := range []string{"get_" + e.Name, "list_" + e.Plural, "create_" + e.Name} {
		anonymous.Fails(apperr.Unauthenticated, method, Row{"id": id})
	}
}

func lists(t *testing.T, e Entity, c, _ *Client) {
	var ids []any
	for n := range 5 {
		ids = append(ids, Call[Row](c, "create_"+e.Name, Row{"data": e.New(300 + n)})["id"])
	}
	mine := Row{"id": Row{"$in": ids}}
	result, failed := c.Do("list_"+e.Plural, Row{"filters": mine, "list_options": Row{"order_bys": "!id", "limit": 2, "offset": 1, "total": true}})
	if failed != nil {
		t.Fatal(failed)
	}
	if result.Total == nil || *result.Total != 5 || result.NextCursor == nil {
		t.Errorf("total and cursor: %+v", result)
	}
	rows := Call[[]Row](c, "list_"+e.Plural, Row{"filters": mine, "list_options": Row{"order_bys": "!id", "limit": 2, "offset": 1}})
	if len(rows) != 2 || rows[0]["id"] != ids[3] || rows[1]["id"] != ids[2] {
		t.Errorf("listed %v of %v", rows, ids)
	}
	if n := Call[Row](c, "count_"+e.Plural, Row{"filters": mine}); n["count"] != 5.0 {
		t.Errorf("count is %v", n)
	}
	if all := Call[[]Row](c, "list_"+e.Plural, Row{"filters": []Row{}}); len(all) != 0 {
		t.Errorf("the filter [] chose %d rows", len(all))
	}
}

func otherTenants(t *testing.T, e Entity, c, stranger *Client) {
	made := Call[Row](c, "create_"+e.Name, Row{"data": e.New(6)})
	id := made["id"]
	stranger.Fails(apperr.NotFound, "get_"+e.Name, Row{"id": id})
	if c.Actor.Role == stranger.Actor.Role {
		stranger.Fails(apperr.NotFound, "update_"+e.Name, Row{"id": id, "data": e.Change})
		stranger.Fails(apperr.NotFound, "update_"+e.Name, Row{"id": id, "data": e.Change, "version": 1})
		stranger.Fails(apperr.NotFound, "delete_"+e.Name, Row{"id": id})
		stranger.Fails(apperr.NotFound, "delete_"+e.Plural, Row{"ids": []any{id}})
	}
	if rows := Call[[]Row](stranger, "list_"+e.Plural, nil); len(rows) != 0 {
		t.Errorf("another tenant lists %v", rows)
	}
	if n := Call[Row](stranger, "count_"+e.Plural, nil); n["count"] != 0.0 {
		t.Errorf("another tenant counts %v", n)
	}
	if now := Call[Row](c, "get_"+e.Name, Row{"id": id}); !reflect.DeepEqual(now, made) {
		t.Errorf("another tenant changed %v to %v", made, now)
	}
}
