package rpc_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/ledger"
	"rowcall/rpc/rpctest"
)

// named returns the params with a new mutation_id.
func named(params rpctest.Row) rpctest.Row {
	params = maps.Clone(params)
	params["mutation_id"] = uuid.Must(uuid.NewV7()).String()
	return params
}

// answered calls a method and returns the text of its answer, without the request's id.
func answered(t *testing.T, s *rpctest.Server, actor *auth.Actor, method string, params any) string {
	t.Helper()
	body, err := json.Marshal(map[string]any{"id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	return string(served(t, actor, time.Now, body, s.Mux.Serve))
}

func idOfTime(at time.Time) uuid.UUID {
	id := uuid.Must(uuid.NewV7())
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id
}

// A write without a name is one statement, as if there were no ledger.
func TestWritesWithoutNamesCostNothing(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	params := rpctest.Row{"data": rpctest.Row{"name": "x"}}
	for want, params := range []rpctest.Row{1: params, 6: named(rpctest.Row{"data": rpctest.Row{"name": "y"}})} {
		if params == nil {
			continue
		}
		body, err := json.Marshal(rpctest.Row{"method": "create_project", "params": params})
		if err != nil {
			t.Fatal(err)
		}
		request := &auth.Request{Now: time.Now, Actor: c.Actor}
		s.Mux.Serve(auth.WithRequest(t.Context(), request), "", body)
		if n := request.Stats.Statements; n != want {
			t.Errorf("%d statements, want %d", n, want)
		}
	}
}

// Every method that writes, whatever comes of it: asked again it answers the same, and nothing more happens.
func TestRepeatedMutations(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	project := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}})
	row := func(title string) rpctest.Row { return rpctest.Row{"project_id": project["id"], "title": title} }
	task := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": row("a")})
	gone := rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": row("b")})
	for _, call := range []struct {
		method string
		params rpctest.Row
		kind   apperr.Kind
	}{
		{"create_task", rpctest.Row{"data": row("c")}, ""},
		{"create_task", rpctest.Row{"data": row("")}, apperr.ValidationFailed},
		{"create_task", rpctest.Row{"data": rpctest.Row{"title": "d", "project_id": 1 << 40}}, apperr.BadReference},
		{"create_task", rpctest.Row{"data": rpctest.Row{"title": "d", "nonsense": 1}}, apperr.InvalidParams},
		{"create_tasks", rpctest.Row{"data": []rpctest.Row{row("e"), row("f")}}, ""},
		{"create_project", rpctest.Row{"data": rpctest.Row{"name": "Moon"}}, apperr.AlreadyExists},
		{"update_task", rpctest.Row{"id": task["id"], "data": rpctest.Row{"title": "g"}}, ""},
		{"update_task", rpctest.Row{"id": task["id"], "data": rpctest.Row{"title": "h"}, "version": 1}, apperr.Conflict},
		{"update_tasks", rpctest.Row{"filters": rpctest.Row{"title": "g"}, "data": rpctest.Row{"done": true}}, ""},
		{"upsert_project", rpctest.Row{"data": rpctest.Row{"name": "Mars"}, "on": []string{"name"}}, ""},
		{"delete_project", rpctest.Row{"id": project["id"]}, apperr.Referenced},
		{"delete_task", rpctest.Row{"id": gone["id"]}, ""},
		{"delete_task", rpctest.Row{"id": gone["id"]}, apperr.NotFound},
		{"delete_tasks", rpctest.Row{"filters": rpctest.Row{"title": rpctest.Row{"$in": []string{"e", "f"}}}}, ""},
		{"delete_tasks", rpctest.Row{"filters": rpctest.Row{"title": "none"}}, ""},
	} {
		name := call.method + " " + string(call.kind)
		params := named(call.params)
		first := answered(t, s, c.Actor, call.method, params)
		switch {
		case call.kind == "" && !strings.Contains(first, `"result":`), call.kind != "" && !strings.Contains(first, `"kind":"`+string(call.kind)+`"`):
			t.Fatalf("%s: %s", name, first)
		}
		head := headOf(t, s)
		for range 2 {
			if again := answered(t, s, c.Actor, call.method, params); again != first {
				t.Errorf("%s: answered\n%s\nand then\n%s", name, first, again)
			}
		}
		if now := headOf(t, s); now != head {
			t.Errorf("%s: repeats changed something: the head went from %d to %d", name, head, now)
		}
		other := maps.Clone(params)
		for key := range other {
			if key != "mutation_id" {
				other[key] = map[string]any{"ids": []any{1, 2}, "on": []string{"other"}, "id": 77, "version": 77,
					"data": rpctest.Row{"title": "other"}, "filters": rpctest.Row{"id": 77}}[key]
			}
		}
		if strings.HasPrefix(call.method, "create_tasks") {
			other["data"] = []rpctest.Row{row("other")}
		}
		c.FailsAt(apperr.ValidationFailed, "params.mutation_id", call.method, other)
		c.FailsAt(apperr.ValidationFailed, "params.mutation_id", "delete_project", rpctest.Row{"id": 77, "mutation_id": params["mutation_id"]})
	}
	// What was refused stays refused, even if it could be done by now.
	late := named(rpctest.Row{"data": rpctest.Row{"name": "Venus"}})
	venus := rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": "Venus"}})
	c.Fails(apperr.AlreadyExists, "create_project", late)
	rpctest.Call[rpctest.Row](c, "delete_project", rpctest.Row{"id": venus["id"]})
	c.Fails(apperr.AlreadyExists, "create_project", late)
}

func headOf(t *testing.T, s *rpctest.Server) (head int64) {
	t.Helper()
	err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT count(*) FROM change`).Scan(&head)
	if err != nil {
		t.Fatal(err)
	}
	return head
}

func TestNamesOfMutations(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	create := func(id any) rpctest.Row {
		return rpctest.Row{"data": rpctest.Row{"name": fmt.Sprintf("%.90v", id)}, "mutation_id": id}
	}
	now := time.Now()
	for _, wrong := range []any{uuid.NewString(), uuid.Nil.String(), "x", 7, uuid.Max.String()} {
		c.FailsAt(apperr.InvalidParams, "params.mutation_id", "create_project", create(wrong))
	}
	for _, wrong := range []time.Time{now.Add(-30*24*time.Hour - time.Minute), now.Add(25 * time.Hour), time.UnixMilli(0)} {
		c.FailsAt(apperr.ValidationFailed, "params.mutation_id", "create_project", create(idOfTime(wrong).String()))
	}
	for _, right := range []time.Time{now.Add(-30*24*time.Hour + time.Minute), now.Add(23 * time.Hour)} {
		rpctest.Call[rpctest.Row](c, "create_project", create(idOfTime(right).String()))
	}
	// null is no name
	for n := range 2 {
		rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": rpctest.Name("null", n)}, "mutation_id": nil})
	}

	// Another user's mutation, and another tenant's, is another one.
	id := uuid.Must(uuid.NewV7()).String()
	made := map[string]bool{}
	for _, user := range []string{"demo1", "demo2", "admin", "other1"} {
		row := rpctest.Call[rpctest.Row](s.As(t, user), "create_project", rpctest.Row{"data": rpctest.Row{"name": "for " + user}, "mutation_id": id})
		made[row["name"].(string)] = true
	}
	if len(made) != 4 {
		t.Errorf("made %v", made)
	}
	// Members may come in any order, with any white space.
	params := `{"data":{"name":"spaced","owner_id":null},"mutation_id":"` + uuid.Must(uuid.NewV7()).String() + `"}`
	first := answered(t, s, c.Actor, "create_project", jsontext.Value(params))
	head, tail, _ := strings.Cut(params, `"data":{"name":"spaced","owner_id":null},`)
	if again := answered(t, s, c.Actor, "create_project", jsontext.Value(head+tail[:len(tail)-1]+` , "data":{ "owner_id" :null, "name":"sp\u0061ced" } }`)); again != first {
		t.Errorf("answered\n%s\nand then\n%s", first, again)
	}
	// Integers that are the same as a float64 are not the same.
	big := named(rpctest.Row{"id": jsontext.Value("9007199254740992")})
	c.Fails(apperr.NotFound, "delete_task", big)
	big["id"] = jsontext.Value("9007199254740993")
	c.FailsAt(apperr.ValidationFailed, "params.mutation_id", "delete_task", big)
}

// A credential that may not write anything leaves nothing in the ledger, and what it asked for can be asked for by another.
func TestReadersLeaveNoMutations(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	reader := *c.Actor
	reader.Scope = auth.ScopeRead
	params := named(rpctest.Row{"data": rpctest.Row{"name": "x"}})
	if a := answered(t, s, &reader, "create_project", params); !strings.Contains(a, `"FORBIDDEN"`) {
		t.Fatal(a)
	}
	rpctest.Call[rpctest.Row](c, "create_project", params)
	if a := answered(t, s, nil, "create_project", params); !strings.Contains(a, `"UNAUTHENTICATED"`) {
		t.Fatal(a)
	}
}

// A key's text is shown once, and it is nowhere in the database.
func TestRepeatedKeyIsNotShown(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	params := named(rpctest.Row{"data": rpctest.Row{"name": "x", "scopes": []string{"read"}}})
	first := rpctest.Call[rpctest.Row](c, "create_api_key", params)
	key, _ := first["key"].(string)
	if !strings.HasPrefix(key, "rck_") {
		t.Fatalf("%v", first)
	}
	delete(first, "key")
	if again := rpctest.Call[rpctest.Row](c, "create_api_key", params); fmt.Sprint(again) != fmt.Sprint(first) {
		t.Errorf("answered %v and then %v", first, again)
	}
	var there int
	err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT count(*) FROM mutation WHERE position($1::bytea in answer) > 0`, []byte(key)).Scan(&there)
	if err != nil || there > 0 {
		t.Errorf("the ledger has the key in %d rows (%v)", there, err)
	}
}

// Of the same mutation at once on two nodes one is done, and all are answered alike.
func TestMutationsAtOnce(t *testing.T) {
	t.Parallel()
	a := rpctest.New(t)
	nodes := []*rpctest.Server{a, rpctest.Over(t, a.DB)}
	c := a.As(t, "demo1")
	for round := range 20 {
		params := named(rpctest.Row{"data": rpctest.Row{"name": rpctest.Name("at once", round)}})
		if round%4 == 3 { // which is refused
			params["data"] = rpctest.Row{"name": rpctest.Name("at once", 0)}
		}
		before := headOf(t, a)
		answers := make([]string, 8)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = answered(t, nodes[i%2], c.Actor, "create_project", params) })
		}
		wg.Wait()
		for _, other := range answers[1:] {
			if other != answers[0] {
				t.Fatalf("answered\n%s\nand\n%s", answers[0], other)
			}
		}
		want := int64(1)
		if round%4 == 3 {
			want = 0
		}
		if n := headOf(t, a) - before; n != want {
			t.Fatalf("it was done %d times: %s", n, answers[0])
		}
	}
}

// In an atomic batch a mutation is kept with the rest, or not at all.
func TestMutationsOfAnAtomicBatch(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	ids := []string{uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()}
	batch := func(names ...string) string {
		var calls []string
		for i, name := range names {
			calls = append(calls, fmt.Sprintf(`{"id":%d,"method":"create_project","params":{"data":{"name":%q},"mutation_id":%q}}`, i, name, ids[i%2]))
		}
		return string(served(t, c.Actor, time.Now, []byte("["+strings.Join(calls, ",")+"]"), s.Mux.ServeAtomic))
	}
	if a := batch("one", ""); strings.Contains(a, `"result"`) {
		t.Fatal(a)
	}
	before := headOf(t, s)
	first := batch("one", "two") // the refusal before is not remembered
	var answers []struct {
		Result struct {
			Position int64 `json:"position"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(first), &answers); err != nil || len(answers) != 2 || answers[0].Result.Position == 0 ||
		answers[1].Result.Position != answers[0].Result.Position+1 || strings.Contains(first, `"error"`) {
		t.Fatal(first)
	}
	if again := batch("one", "two"); again != first {
		t.Errorf("answered\n%s\nand then\n%s", first, again)
	}
	if n := headOf(t, s) - before; n != 2 {
		t.Errorf("%d changes", n)
	}
	if a := batch("one", "two", "one"); strings.Contains(a, `"error"`) {
		t.Error(a) // they were all done before
	}
	ids = []string{uuid.Must(uuid.NewV7()).String(), uuid.Must(uuid.NewV7()).String()}
	if a := batch("three", "four", "three"); strings.Contains(a, `"result"`) {
		t.Error(a)
	}
}

// served serves a body on behalf of an actor and returns the answer without the request's id.
func served(t *testing.T, actor *auth.Actor, now func() time.Time, body []byte,
	serve func(context.Context, string, []byte) jsonrpc.Reply,
) []byte {
	t.Helper()
	ctx := auth.WithRequest(t.Context(), &auth.Request{ID: "the request", Now: now, Actor: actor, Address: "127.0.0.1"})
	return serve(ctx, "the request", body).Body
}

// What the platform does is done once, too: a repeat that comes late does not undo what has happened since.
func TestMutationsOfThePlatform(t *testing.T) {
	t.Parallel()
	a := rpctest.New(t)
	nodes := []*rpctest.Server{a, rpctest.Over(t, a.DB)}
	admin := a.As(t, "admin")
	user := a.As(t, "demo2").Actor.User
	suspend, resume := named(rpctest.Row{"id": user}), named(rpctest.Row{"id": user})
	before := headOf(t, a)
	answers := make([]string, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = answered(t, nodes[i%2], admin.Actor, "suspend_user", suspend) })
	}
	wg.Wait()
	for _, other := range answers[1:] {
		if other != answers[0] || !strings.Contains(other, `"suspended":true`) || strings.Contains(other, `"position":null`) {
			t.Fatalf("answered\n%s\nand\n%s", answers[0], other)
		}
	}
	resumed := answered(t, a, admin.Actor, "resume_user", resume)
	if again := answered(t, a, admin.Actor, "suspend_user", suspend); again != answers[0] {
		t.Errorf("answered\n%s\nand then\n%s", answers[0], again)
	}
	if again := answered(t, a, admin.Actor, "resume_user", resume); again != resumed || !strings.Contains(again, `"suspended":false`) {
		t.Errorf("answered\n%s\nand then\n%s", resumed, again)
	}
	if n := headOf(t, a) - before; n != 2 {
		t.Errorf("%d changes", n)
	}
	if now := rpctest.Call[rpctest.Row](admin, "get_user", rpctest.Row{"id": user}); now["suspended"] != false {
		t.Errorf("after all that: %v", now)
	}
	admin.FailsAt(apperr.ValidationFailed, "params.mutation_id", "suspend_user", resume)
	refused := named(rpctest.Row{"id": admin.Actor.User})
	for range 2 {
		admin.Fails(apperr.Forbidden, "suspend_user", refused)
	}
	refused["id"] = user
	admin.FailsAt(apperr.ValidationFailed, "params.mutation_id", "suspend_user", refused)
}

// The ledger answers for a change of a password, and has nothing by which the password could be guessed.
func TestRepeatedChangeOfPassword(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	const fresh = "correct horse battery staple"
	wrong := named(rpctest.Row{"pwd": "a wrong one", "new_pwd": fresh})
	params := named(rpctest.Row{"pwd": rpctest.Password, "new_pwd": fresh})
	for range 2 {
		c.Fails(apperr.Forbidden, "change_password", wrong)
	}
	first := answered(t, s, c.Actor, "change_password", params)
	if again := answered(t, s, c.Actor, "change_password", params); again != first || !strings.Contains(first, `"changed":true`) {
		t.Errorf("answered\n%s\nand then\n%s", first, again)
	}
	params["new_pwd"] = "another " + fresh
	c.FailsAt(apperr.ValidationFailed, "params.mutation_id", "change_password", params)
	params["new_pwd"] = fresh
	guess, err := ledger.Digest("change_password", params)
	if err != nil {
		t.Fatal(err)
	}
	var guessed int
	err = s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT count(*) FROM mutation WHERE digest = $1`, guess).Scan(&guessed)
	if err != nil || guessed > 0 {
		t.Errorf("who reads the ledger can guess the password (%v)", err)
	}
}
