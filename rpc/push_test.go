package rpc_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/rpc/rpctest"
)

// pushedOne is what became of a mutation.
type pushedOne struct {
	MutationID string      `json:"mutation_id"`
	Status     string      `json:"status"`
	ID         any         `json:"id"`
	Position   int64       `json:"position"`
	Version    int64       `json:"version"`
	Data       rpctest.Row `json:"data"`
	Current    rpctest.Row `json:"current"`
	Error      struct {
		Code int `json:"code"`
		Data struct {
			Kind   apperr.Kind    `json:"kind"`
			Issues []apperr.Issue `json:"issues"`
		} `json:"data"`
	} `json:"error"`
}

// mutation returns one with a new name.
func mutation(op, entity string, further rpctest.Row) rpctest.Row {
	further = named(further)
	further["op"], further["entity"] = op, entity
	return further
}

func push(c *rpctest.Client, mutations ...rpctest.Row) []pushedOne {
	return rpctest.Call[[]pushedOne](c, "sync_push", rpctest.Row{"mutations": mutations})
}

// pushAny is push for mutations that are not as the method is described.
func pushAny(t *testing.T, s *rpctest.Server, c *rpctest.Client, mutations ...rpctest.Row) []pushedOne {
	t.Helper()
	var answer struct {
		Result struct {
			Data []pushedOne `json:"data"`
		} `json:"result"`
	}
	text := answered(t, s, c.Actor, "sync_push", rpctest.Row{"mutations": mutations})
	if err := json.Unmarshal([]byte(text), &answer); err != nil || len(answer.Result.Data) != len(mutations) {
		t.Fatalf("%s (%v)", text, err)
	}
	return answer.Result.Data
}

func TestPush(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}})
	task := func(title string) rpctest.Row {
		return rpctest.Row{"data": rpctest.Row{"project_id": project["id"], "title": title}}
	}
	there := rpctest.Call[rpctest.Row](c, "create_task", task("there"))
	gone := rpctest.Call[rpctest.Row](c, "create_task", task("gone"))
	rpctest.Call[rpctest.Row](c, "delete_task", rpctest.Row{"id": gone["id"]})
	id := there["id"]
	mutations := []rpctest.Row{
		mutation("create", "task", task("new")),
		mutation("update", "task", rpctest.Row{"id": id, "version": 1, "data": rpctest.Row{"title": "two"}}),
		mutation("update", "task", rpctest.Row{"id": id, "version": 1, "data": rpctest.Row{"title": "three"}}),
		mutation("update", "task", rpctest.Row{"id": id, "data": rpctest.Row{"title": "four"}}),
		mutation("update", "task", rpctest.Row{"id": gone["id"], "version": 1, "data": rpctest.Row{"title": "five"}}),
		mutation("delete", "task", rpctest.Row{"id": gone["id"]}),
		mutation("delete", "task", rpctest.Row{"id": id, "version": 1}),
		mutation("delete", "task", rpctest.Row{"id": id, "version": 3, "data": nil}),
		mutation("create", "task", task("")),
		mutation("create", "task", rpctest.Row{"data": rpctest.Row{"title": "x", "project_id": 1 << 40}}),
		mutation("create", "task", rpctest.Row{"data": rpctest.Row{"nonsense": 1}}),
		mutation("create", "task", rpctest.Row{"id": 7, "version": 1, "data": rpctest.Row{}}),
		mutation("update", "task", rpctest.Row{}),
		mutation("update", "task", rpctest.Row{"id": "x", "data": rpctest.Row{}}),
		mutation("delete", "task", rpctest.Row{"id": 7, "data": rpctest.Row{}}),
		mutation("upsert", "task", rpctest.Row{"data": rpctest.Row{}}),
		mutation("create", "nonsense", rpctest.Row{"data": rpctest.Row{}}),
		mutation("update", "user", rpctest.Row{"id": c.Actor.User, "data": rpctest.Row{"name": "x"}}),
		mutation("create", "project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}}),
		mutation("delete", "project", rpctest.Row{"id": project["id"]}),
		{"mutation_id": uuid.NewString(), "op": "delete", "entity": "task", "id": 7},
		{"mutation_id": idOfTime(time.Now().Add(-31 * 24 * time.Hour)).String(), "op": "delete", "entity": "task", "id": 7},
	}
	first := pushAny(t, s, c, mutations...)
	type want struct {
		status  string
		version int64
		kind    apperr.Kind
		path    string
	}
	for i, w := range []want{
		{"applied", 1, "", ""}, {"applied", 2, "", ""}, {"conflict", 2, "", ""}, {"applied", 3, "", ""},
		{"conflict", 0, "", ""}, {"conflict", 0, "", ""}, {"conflict", 3, "", ""}, {"applied", 4, "", ""},
		{"rejected", 0, apperr.ValidationFailed, "data.title"},
		{"rejected", 0, apperr.BadReference, ""},
		{"rejected", 0, apperr.InvalidParams, "data.nonsense"},
		{"rejected", 0, apperr.InvalidParams, "id"},
		{"rejected", 0, apperr.InvalidParams, "id"},
		{"rejected", 0, apperr.InvalidParams, "id"},
		{"rejected", 0, apperr.InvalidParams, "data"},
		{"rejected", 0, apperr.InvalidParams, "op"},
		{"rejected", 0, apperr.InvalidParams, "entity"},
		{"rejected", 0, apperr.InvalidParams, "entity"},
		{"rejected", 0, apperr.AlreadyExists, ""},
		{"rejected", 0, apperr.Referenced, ""},
		{"rejected", 0, apperr.InvalidParams, "mutation_id"},
		{"rejected", 0, apperr.ValidationFailed, "mutation_id"},
	} {
		one := first[i]
		version := one.Version
		if one.Current != nil {
			version = int64(one.Current["version"].(float64))
		}
		got := want{one.Status, version, one.Error.Data.Kind, ""}
		if slices.ContainsFunc(one.Error.Data.Issues, func(issue apperr.Issue) bool { return issue.Path == w.path }) {
			got.path = w.path
		}
		if got != w || one.MutationID != mutations[i]["mutation_id"] || (one.Error.Code != 0) != (w.kind != "") ||
			(one.Position > 0) != (w.status == "applied") {
			t.Errorf("%d: %v: %+v, want %+v", i, mutations[i], one, w)
		}
	}
	if created := first[0]; !reflect.DeepEqual(created.Data, rpctest.Call[rpctest.Row](c, "get_task", rpctest.Row{"id": created.ID})) {
		t.Errorf("created %v", created)
	}
	if updated := first[3]; updated.ID != id || updated.Data["title"] != "four" {
		t.Errorf("updated %v", updated)
	}
	if deleted := first[7]; deleted.ID != id || deleted.Data != nil {
		t.Errorf("deleted %v", deleted)
	}
	for i, one := range []int{1, 3, 7} {
		if first[one].Position != first[0].Position+int64(i)+1 {
			t.Errorf("positions: %+v", first)
		}
	}

	// All again, and in parts and another order.
	head := headOf(t, s)
	params := func(mutations ...rpctest.Row) rpctest.Row { return rpctest.Row{"mutations": mutations} }
	text := answered(t, s, c.Actor, "sync_push", params(mutations...))
	if again := pushAny(t, s, c, mutations...); !reflect.DeepEqual(again, first) {
		t.Errorf("pushed again: %+v", again)
	}
	if again := answered(t, s, c.Actor, "sync_push", params(mutations...)); again != text {
		t.Errorf("pushed again:\n%s\nbefore:\n%s", again, text)
	}
	if again := push(c, mutations[:15]...); !reflect.DeepEqual(again, first[:15]) {
		t.Errorf("pushed again: %+v", again)
	}
	for i := range slices.Backward(mutations) {
		if again := pushAny(t, s, c, mutations[i], mutations[i]); !reflect.DeepEqual(again, []pushedOne{first[i], first[i]}) {
			t.Errorf("pushed again: %+v, before: %+v", again, first[i])
		}
	}
	if now := headOf(t, s); now != head {
		t.Errorf("the head went from %d to %d", head, now)
	}
	for _, m := range mutations[:20] {
		m["version"] = 77
		if one := pushAny(t, s, c, m)[0]; one.Status != "rejected" || one.Error.Data.Kind != apperr.ValidationFailed || one.Error.Data.Issues[0].Path != "mutation_id" {
			t.Errorf("%v with other content: %+v", m, one)
		}
	}
	var methods []string
	rows, err := s.DB.Owner(t).QueryContext(t.Context(), `SELECT DISTINCT method FROM change WHERE position >= $1 AND entity = 'task' AND tenant_id = $2`,
		first[0].Position, c.Actor.Tenant)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // of a test
	for rows.Next() {
		var method string
		if err := rows.Scan(&method); err != nil {
			t.Fatal(err)
		}
		methods = append(methods, method)
	}
	if err := rows.Err(); err != nil || !slices.Equal(methods, []string{"sync_push"}) {
		t.Errorf("the methods in the log are %q (%v)", methods, err)
	}
}

func TestPushIsRefusedAsAWhole(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	if got := push(c); len(got) != 0 {
		t.Errorf("%v", got)
	}
	c.FailsAt(apperr.InvalidParams, "params.mutations", "sync_push", rpctest.Row{})
	c.FailsAt(apperr.InvalidParams, "params.mutations[0].mutation_id", "sync_push", rpctest.Row{"mutations": []rpctest.Row{{"op": "delete", "entity": "task"}}})
	c.FailsAt(apperr.InvalidParams, "params.mutations[0].more", "sync_push", rpctest.Row{"mutations": []rpctest.Row{mutation("delete", "task", rpctest.Row{"more": 1})}})
	many := make([]rpctest.Row, 1001)
	for i := range many {
		many[i] = mutation("delete", "task", rpctest.Row{"id": 1})
	}
	c.FailsAt(apperr.InvalidParams, "params.mutations", "sync_push", rpctest.Row{"mutations": many})
	reader := *c.Actor
	reader.Scope = auth.ScopeRead
	for _, actor := range []*auth.Actor{nil, &reader} {
		var answer struct {
			Error *rpctest.Error `json:"error"`
		}
		text := answered(t, s, actor, "sync_push", rpctest.Row{"mutations": many[:1]})
		if err := json.Unmarshal([]byte(text), &answer); err != nil || answer.Error == nil {
			t.Errorf("%s", text)
		}
	}
	body, err := json.Marshal([]any{rpctest.Row{"id": 1, "method": "sync_push", "params": rpctest.Row{"mutations": many[:1]}}})
	if err != nil {
		t.Fatal(err)
	}
	var answers []struct {
		Error *rpctest.Error `json:"error"`
	}
	text := served(t, c.Actor, time.Now, body, s.Mux.ServeAtomic)
	if err := json.Unmarshal(text, &answers); err != nil || answers[0].Error == nil || answers[0].Error.Data.Kind != apperr.InvalidRequest {
		t.Errorf("%s", text)
	}
}

// What an actor may not see is not in the answer, and what they may not write is refused.
func TestPushObeysRights(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c, other := s.As(t, "demo1"), s.As(t, "other1")
	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}})
	for _, m := range []rpctest.Row{
		mutation("update", "project", rpctest.Row{"id": project["id"], "version": 7, "data": rpctest.Row{"name": "Mars"}}),
		mutation("delete", "project", rpctest.Row{"id": project["id"]}),
	} {
		if one := push(other, m)[0]; one.Status != "conflict" || one.Current != nil {
			t.Errorf("of another tenant's: %+v", one)
		}
		if one := push(c, m)[0]; one.Status == "conflict" && one.Current == nil {
			t.Errorf("another user's mutation with the same id: %+v", one)
		}
	}
}

// Random losses, repeats and parallel deliveries of random mutations: each is applied exactly once, in the client's order.
func TestPushSchedules(t *testing.T) {
	t.Parallel()
	a := rpctest.New(t)
	nodes := []*rpctest.Server{a, rpctest.Over(t, a.DB)}
	c := a.As(t, "demo1")
	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}})
	rapid.Check(t, func(rt *rapid.T) {
		task := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project["id"], "title": "0"}})
		count := rapid.IntRange(1, 8).Draw(rt, "mutations")
		var queue []rpctest.Row
		for i := range count { // each changes the row from the version that the one before it left
			queue = append(queue, mutation("update", "task", rpctest.Row{"id": task["id"], "version": i + 1, "data": rpctest.Row{"title": fmt.Sprint(i + 1)}}))
		}
		before := headOf(t, a)
		answers := make([]string, count)
		var mu sync.Mutex
		for done := 0; done < count; {
			n := rapid.IntRange(1, count-done).Draw(rt, "sent")
			deliveries := rapid.IntRange(1, 3).Draw(rt, "deliveries")
			lost := rapid.Bool().Draw(rt, "lost")
			var wg sync.WaitGroup
			for d := range deliveries {
				wg.Go(func() {
					for i, m := range queue[done : done+n] {
						text := answered(t, nodes[d%2], c.Actor, "sync_push", rpctest.Row{"mutations": []rpctest.Row{m}})
						mu.Lock()
						if was := answers[done+i]; was != "" && was != text {
							t.Errorf("answered\n%s\nand then\n%s", was, text)
						}
						answers[done+i] = text
						mu.Unlock()
					}
				})
			}
			wg.Wait()
			if !lost {
				done += n
			}
		}
		if n := headOf(t, a) - before; n != int64(count) {
			rt.Fatalf("%d mutations made %d changes", count, n)
		}
		if got := rpctest.Call[rpctest.Row](c, "get_task", rpctest.Row{"id": task["id"]}); got["title"] != fmt.Sprint(count) || got["version"] != float64(count+1) {
			rt.Fatalf("the row is %v after %d mutations", got, count)
		}
	})
}

// A client that pushes everything twice, at once with others who do the same.
func TestPushesAtOnce(t *testing.T) {
	t.Parallel()
	a := rpctest.New(t)
	nodes := []*rpctest.Server{a, rpctest.Over(t, a.DB)}
	c := a.As(t, "demo1")
	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}})
	var queue []rpctest.Row
	for i := range 40 {
		queue = append(queue, mutation("create", "task", rpctest.Row{"data": rpctest.Row{"project_id": project["id"], "title": fmt.Sprint(i)}}))
	}
	before := headOf(t, a)
	answers := make([]string, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			mine := slices.Clone(queue)
			if i > 3 {
				rand.Shuffle(len(mine), func(i, j int) { mine[i], mine[j] = mine[j], mine[i] })
				answered(t, nodes[i%2], c.Actor, "sync_push", rpctest.Row{"mutations": mine})
			}
			answers[i] = answered(t, nodes[i%2], c.Actor, "sync_push", rpctest.Row{"mutations": queue})
		})
	}
	wg.Wait()
	for _, other := range answers[1:] {
		if other != answers[0] {
			t.Fatalf("answered\n%s\nand\n%s", answers[0], other)
		}
	}
	if n := headOf(t, a) - before; n != int64(len(queue)) {
		t.Errorf("%d mutations made %d changes", len(queue), n)
	}
}

// A push that runs out of time says so and leaves what came before; pushing all of it again completes it.
func TestPushThatIsCutShort(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	var queue []rpctest.Row
	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "0"}})
	for i := range 4 {
		m := mutation("create", "project", rpctest.Row{"data": rpctest.Row{"name": fmt.Sprint("new ", i)}})
		if i == 2 {
			m = mutation("update", "project", rpctest.Row{"id": project["id"], "version": 1, "data": rpctest.Row{"name": "1"}})
		}
		queue = append(queue, m)
	}
	before := headOf(t, s)
	blocked, err := s.DB.Owner(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer blocked.Rollback() //nolint:errcheck // it may be over
	if _, err := blocked.ExecContext(t.Context(), `SELECT FROM project WHERE id = $1 FOR UPDATE`, project["id"]); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(rpctest.Row{"id": 1, "method": "sync_push", "params": rpctest.Row{"mutations": queue}})
	if err != nil {
		t.Fatal(err)
	}
	text := served(t, c.Actor, time.Now, body, func(ctx context.Context, id string, body []byte) jsonrpc.Reply {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		return s.Mux.Serve(ctx, id, body)
	})
	if !strings.Contains(string(text), `"TIMEOUT"`) {
		t.Fatalf("%s", text)
	}
	if n := headOf(t, s) - before; n != 2 {
		t.Errorf("%d mutations were applied before the one that waits", n)
	}
	if err := blocked.Rollback(); err != nil {
		t.Fatal(err)
	}
	for i, one := range push(c, queue...) {
		if one.Status != "applied" || one.Position == 0 {
			t.Errorf("%d: %+v", i, one)
		}
	}
	if n := headOf(t, s) - before; n != 4 {
		t.Errorf("4 mutations made %d changes", n)
	}
}
