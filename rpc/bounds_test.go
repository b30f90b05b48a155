package rpc_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

// A row that others refer to is read once and written for each of them: the answer has a bound of its own.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	project := newProject(c, "of large tasks")
	large := map[string]any{"x": strings.Repeat("x", 200_000)}
	for range 20 {
		rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": "large", "meta": large}})
	}
	list := func(limit int) rpctest.Row {
		tasks := rpctest.Row{"tasks": rpctest.Row{"fields": []string{"meta"}}}
		return rpctest.Row{"list_options": rpctest.Row{
			"fields": []string{"id"}, "limit": limit, "include": rpctest.Row{"project": rpctest.Row{"include": tasks}},
		}}
	}
	if _, failed := c.Do("list_tasks", list(2)); failed != nil {
		t.Error(failed)
	}
	c.FailsAt(apperr.InvalidParams, "params", "list_tasks", list(20)) // 80 MB
}

// Postgres takes quadratic time for the words of a search, and gives up at many negations.
func TestSearchesAreBounded(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	search := func(words string) rpctest.Row { return rpctest.Row{"filters": rpctest.Row{"$search": words}} }
	for _, words := range []string{strings.Repeat("a ", 600), strings.Repeat("-", 40) + "a", strings.Repeat("- ", 40) + "a", strings.Repeat("-a ", 21)} {
		c.FailsAt(apperr.InvalidParams, "params.filters.$search", "count_tasks", search(words))
	}
	for _, words := range []string{strings.Repeat("-a ", 20), strings.Repeat("-", 20) + "a", strings.Repeat("a-", 499), strings.Repeat(`"`, 999), strings.Repeat("or ", 333), strings.Repeat("x", 1000)} {
		if _, failed := c.Do("count_tasks", search(words)); failed != nil {
			t.Errorf("%.40s…: %+v", words, failed)
		}
	}
}

// A get among others is the get that it would be alone.
func TestGetsThatDiffer(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	var body strings.Builder
	for i, further := range []string{``, ``, `,"fields":null`, `,"include":null`, `,"fields":["name"]`, `,"include":["owner"]`} {
		fmt.Fprintf(&body, `,{"id":%d,"method":"get_project","params":{"id":%v%s}}`, i, newProject(c, fmt.Sprint("p", i)), further)
	}
	ctx := auth.WithRequest(t.Context(), &auth.Request{ID: "r", Now: time.Now, Actor: c.Actor})
	for i, call := range s.Mux.Serve(ctx, "r", []byte("["+body.String()[1:]+"]")).Calls {
		if call.Kind != "" {
			t.Errorf("call %d: %s", i, call.Kind)
		}
	}
}
