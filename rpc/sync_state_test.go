package rpc_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/rpc/rpctest"
)

// TestCopiesAreTheState: whoever bootstraps and then follows the log has exactly what the server would give them, whatever is written
// meanwhile, on two nodes; also when the log is pruned under them, and when a node stops and another takes its place.
func TestCopiesAreTheState(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			testCopies(t, seed)
		})
	}
}

func testCopies(t *testing.T, seed uint64) {
	one := rpctest.New(t)
	actors := map[string]*auth.Actor{}
	for _, name := range []string{"demo1", "demo2", "admin"} {
		actors[name] = one.As(t, name).Actor
	}
	var copies []*replica
	random := rand.New(rand.NewPCG(seed, 0))
	for _, name := range []string{"demo1", "admin"} {
		for _, coalesce := range []bool{true, false} {
			for _, entities := range [][]string{nil, {"task", "api_key"}} {
				copies = append(copies, &replica{
					name: name, coalesce: coalesce, entities: entities,
					server: one, actor: actors[name], random: rand.New(rand.NewPCG(seed, random.Uint64())),
				})
			}
		}
	}
	for range 2 { // in each round another second node
		two := another(t, one)
		var writing, reading sync.WaitGroup
		var done atomic.Bool
		for i, name := range []string{"demo1", "demo2", "admin", "demo1"} {
			w := writer{server: []*rpctest.Server{one, two}[i%2], actor: actors[name], random: rand.New(rand.NewPCG(seed, random.Uint64()))}
			writing.Go(func() {
				for range 40 {
					w.write(t)
				}
			})
		}
		for _, r := range copies {
			reading.Go(func() {
				for !done.Load() {
					r.step(t)
				}
				for r.current = false; !r.current; {
					r.step(t)
				}
			})
		}
		writing.Wait()
		done.Store(true)
		reading.Wait()
		for _, r := range copies {
			r.compare(t)
		}
		call(t, one, actors["demo1"], "create_project", rpctest.Row{"data": rpctest.Row{"name": "nobody knows"}})
		prune(t, one, actors["demo1"], 100)
		if err := two.DB.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, r := range copies {
		if r.resynced == 0 {
			t.Errorf("the log was never pruned under the copy of %s (coalesced %v, %q)", r.name, r.coalesce, r.entities)
		}
	}
}

// prune prunes as much of the log, without a thought for who follows it.
func prune(t *testing.T, s *rpctest.Server, actor *auth.Actor, percent int) {
	s.DB.Exec(t, `WITH h AS (UPDATE change_head SET tail = tail + (head - tail) * $2::int / 100 WHERE tenant_id = $1 RETURNING tenant_id, tail)
		DELETE FROM change c USING h WHERE c.tenant_id = h.tenant_id AND c.position <= h.tail`, actor.Tenant.String(), percent)
}

// another returns a server with connections of its own.
func another(t *testing.T, s *rpctest.Server) *rpctest.Server {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{TenantURL: s.DB.TenantURL, PlatformURL: s.DB.PlatformURL, TenantConns: 3, PlatformConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	return rpctest.Over(t, &storetest.Database{DB: db, OwnerURL: s.DB.OwnerURL, TenantURL: s.DB.TenantURL, PlatformURL: s.DB.PlatformURL})
}

// call calls a method, without a look at what is described; nil for the result, or the kind of the error.
func call(t *testing.T, s *rpctest.Server, actor *auth.Actor, method string, params rpctest.Row) (*rpctest.Result, apperr.Kind) {
	t.Helper()
	body, err := json.Marshal(rpctest.Row{"id": 1, "method": method, "params": params})
	if err != nil {
		t.Error(err)
	}
	reply := s.Mux.Serve(request(t, actor), "x", body)
	var answer struct {
		Result *rpctest.Result `json:"result"`
		Error  *rpctest.Error  `json:"error"`
	}
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		t.Errorf("%s: %v", reply.Body, err)
		return nil, apperr.Internal
	}
	if answer.Error != nil {
		if answer.Error.Data.Kind == apperr.Internal {
			t.Errorf("%s %v: %+v", method, params, answer.Error)
		}
		return nil, answer.Error.Data.Kind
	}
	return answer.Result, ""
}

func request(t *testing.T, actor *auth.Actor) context.Context {
	return auth.WithRequest(t.Context(), &auth.Request{Now: time.Now, Actor: actor, Address: "127.0.0.1"})
}

// writer writes anything, of which much is refused.
type writer struct {
	server *rpctest.Server
	actor  *auth.Actor
	random *rand.Rand
}

func (w *writer) write(t *testing.T) {
	pick := func(plural string) any {
		r, _ := call(t, w.server, w.actor, "list_"+plural, rpctest.Row{"list_options": rpctest.Row{"fields": []string{"id"}, "limit": 50}})
		var rows []rpctest.Row
		if r != nil && json.Unmarshal(r.Data, &rows) == nil && len(rows) > 0 {
			return rows[w.random.IntN(len(rows))]["id"]
		}
		return 1
	}
	name := func() string { return fmt.Sprint("name ", w.random.IntN(20)) }
	task := func() rpctest.Row {
		return rpctest.Row{"project_id": pick("projects"), "title": name(), "meta": rpctest.Row{"n": w.random.IntN(9)}}
	}
	do := func(method string, params rpctest.Row) { call(t, w.server, w.actor, method, params) }
	switch w.random.IntN(15) {
	case 0:
		do("create_project", rpctest.Row{"data": rpctest.Row{"name": name()}})
	case 1, 2:
		do("create_task", rpctest.Row{"data": task()})
	case 3:
		do("create_tasks", rpctest.Row{"data": []rpctest.Row{task(), task(), task()}})
	case 4:
		do("update_task", rpctest.Row{"id": pick("tasks"), "data": rpctest.Row{"title": name(), "due": "2030-01-02T03:04:05.678901Z"}})
	case 5:
		do("update_project", rpctest.Row{"id": pick("projects"), "data": rpctest.Row{"name": name()}})
	case 6:
		do("upsert_project", rpctest.Row{"data": rpctest.Row{"name": name(), "owner_id": w.actor.User}, "on": []string{"name"}})
	case 7:
		do("update_tasks", rpctest.Row{"filters": rpctest.Row{"title": name()}, "data": rpctest.Row{"done": true}})
	case 8:
		do("delete_task", rpctest.Row{"id": pick("tasks")})
	case 9:
		do("delete_project", rpctest.Row{"id": pick("projects")})
	case 10:
		do("delete_tasks", rpctest.Row{"filters": rpctest.Row{"title": rpctest.Row{"$in": []string{name(), name()}}}})
	case 11:
		do("create_api_key", rpctest.Row{"data": rpctest.Row{"name": name(), "scopes": []string{"read"}}})
	case 12:
		do([]string{"delete_api_key", "suspend_user", "resume_user"}[w.random.IntN(3)], rpctest.Row{"id": []any{pick("api_keys"), pick("users")}[w.random.IntN(2)]})
	case 13:
		calls := []rpctest.Row{
			{"id": 1, "method": "create_project", "params": rpctest.Row{"data": rpctest.Row{"name": name()}}},
			{"id": 2, "method": "create_task", "params": rpctest.Row{"data": rpctest.Row{"project_id": rpctest.Row{"$ref": "0.id"}, "title": name()}}},
			{"id": 3, "method": "update_task", "params": rpctest.Row{"id": rpctest.Row{"$ref": "1.id"}, "data": rpctest.Row{"done": true}}},
		}
		body, err := json.Marshal(calls)
		if err != nil {
			t.Error(err)
		}
		w.server.Mux.ServeAtomic(request(t, w.actor), "x", body)
	case 14:
		prune(t, w.server, w.actor, w.random.IntN(101))
	}
}

// replica is a client's copy.
type replica struct {
	name     string
	coalesce bool
	entities []string
	server   *rpctest.Server
	actor    *auth.Actor
	random   *rand.Rand

	rows     map[string]rpctest.Row // by entity and id; nil before there is a copy
	cursor   *string                // while it is made
	complete bool
	position int64
	epoch    string
	current  bool // it is at the head
	resynced int
}

// step does one call.
func (r *replica) step(t *testing.T) {
	if !r.complete {
		r.bootstrap(t)
		return
	}
	params := rpctest.Row{"since": r.position, "limit": 1 + r.random.IntN(20), "coalesce": r.coalesce, "epoch": r.epoch}
	result := r.call(t, "sync_delta", params)
	if result == nil {
		return
	}
	var all []change
	if err := json.Unmarshal(result.Data, &all); err != nil {
		t.Error(err)
	}
	if len(all) > params["limit"].(int) || *result.Position < r.position || (result.More && *result.Position == r.position) {
		t.Errorf("%d entries after %d, up to %d, more %v, for %v", len(all), r.position, *result.Position, result.More, params)
	}
	seen, last := map[string]bool{}, r.position
	for _, c := range all {
		key := fmt.Sprint(c.Entity, " ", c.ID)
		switch {
		case c.Position <= last || c.Position > *result.Position:
			t.Errorf("the entry %d comes after %d, on a page up to %d", c.Position, last, *result.Position)
		case r.coalesce && (c.Prev != nil || seen[key]):
			t.Errorf("the row %s comes twice, or has a prev, in %+v", key, all)
		case !r.coalesce && (c.Prev == nil || *c.Prev != last):
			t.Errorf("the entry %d has another prev than %d: %+v", c.Position, last, c)
		}
		seen[key], last = true, c.Position
		if c.Op == "delete" {
			delete(r.rows, key)
		} else {
			r.rows[key] = c.Data
		}
	}
	r.position, r.current = *result.Position, !result.More
}

func (r *replica) bootstrap(t *testing.T) {
	params := rpctest.Row{"limit": 1 + r.random.IntN(10), "cursor": r.cursor}
	first := r.cursor == nil
	if first {
		r.rows = map[string]rpctest.Row{}
	}
	result := r.call(t, "sync_bootstrap", params)
	if result == nil {
		return
	}
	if !first && (*result.Position != r.position || result.Epoch != r.epoch) {
		t.Errorf("a later page is at %d of %s, the first at %d of %s", *result.Position, result.Epoch, r.position, r.epoch)
	}
	var rows []syncRow
	if err := json.Unmarshal(result.Data, &rows); err != nil {
		t.Error(err)
	}
	for _, row := range rows {
		key := fmt.Sprint(row.Entity, " ", row.ID)
		if _, twice := r.rows[key]; twice || row.Version != int64(row.Data["version"].(float64)) {
			t.Errorf("%s comes twice, or has another version than %d: %v", key, row.Version, row.Data)
		}
		r.rows[key] = row.Data
	}
	r.position, r.epoch, r.cursor, r.complete = *result.Position, result.Epoch, result.NextCursor, result.NextCursor == nil
}

// call calls a method; nil after RESYNC_REQUIRED, when the copy must be made anew.
func (r *replica) call(t *testing.T, method string, params rpctest.Row) *rpctest.Result {
	if r.entities != nil {
		params["entities"] = r.entities
	}
	result, kind := call(t, r.server, r.actor, method, params)
	if kind == apperr.ResyncRequired {
		r.resynced++
		r.complete, r.cursor, r.current = false, nil, false
		return nil
	}
	if kind != "" {
		t.Errorf("%s %v: %s", method, params, kind)
		r.complete, r.current = true, true // to end
	}
	return result
}

// compare compares the copy with what the server lists.
func (r *replica) compare(t *testing.T) {
	t.Helper()
	want := map[string]rpctest.Row{}
	for _, entity := range []string{"project", "task", "user", "api_key"} {
		if r.entities != nil && !strings.Contains(strings.Join(r.entities, " "), entity) {
			continue
		}
		result, kind := call(t, r.server, r.actor, "list_"+entity+"s", rpctest.Row{"list_options": rpctest.Row{"limit": 5000}})
		if kind != "" {
			t.Fatal(kind)
		}
		for _, row := range decode[[]rpctest.Row](t, result) {
			delete(row, "last_used_at") // changes beside the log
			want[fmt.Sprint(entity, " ", row["id"])] = row
		}
	}
	if len(want) == 0 {
		t.Error("there is nothing to compare")
	}
	if reflect.DeepEqual(r.rows, want) {
		return
	}
	for key := range maps.Keys(r.rows) {
		if !reflect.DeepEqual(r.rows[key], want[key]) {
			t.Errorf("the copy of %s (coalesced %v, %q, at %d) has %s as %v, the server as %v", r.name, r.coalesce, r.entities, r.position, key, r.rows[key], want[key])
		}
	}
	for key := range want {
		if r.rows[key] == nil {
			t.Errorf("the copy of %s (coalesced %v, %q, at %d) lacks %s", r.name, r.coalesce, r.entities, r.position, key)
		}
	}
}
