package interop_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/creachadair/jrpc2"
	"github.com/creachadair/jrpc2/jhttp"
)

// bearer is an HTTP client that sends a token; "" for none.
type bearer string

func (b bearer) Do(r *http.Request) (*http.Response, error) {
	if b != "" {
		r.Header.Set("Authorization", "Bearer "+string(b))
	}
	return http.DefaultClient.Do(r)
}

func newJRPC2(t *testing.T, s *server, token string) *jrpc2.Client {
	c := jrpc2.NewClient(jhttp.NewChannel(s.endpoint, &jhttp.ChannelOptions{Client: bearer(token)}), nil)
	t.Cleanup(func() { _ = c.Close() }) // a client that was stopped says so again
	return c
}

func testJRPC2(t *testing.T, s *server) {
	type params = map[string]any
	c := newJRPC2(t, s, s.token)

	t.Run("results", func(t *testing.T) {
		var made, got result[row]
		err := c.CallResult(t.Context(), "create_task", params{"data": params{"project_id": s.project, "title": "by jrpc2"}}, &made)
		if err != nil || made.Data.Title != "by jrpc2" || made.Data.Version != 1 {
			t.Fatalf("%+v %v", made, err)
		}
		byID := struct {
			ID int64 `json:"id"`
		}{made.Data.ID}
		if err := c.CallResult(t.Context(), "get_task", byID, &got); err != nil || got != made {
			t.Errorf("%+v %v, made %+v", got, err, made)
		}
		var all result[[]row]
		if err := c.CallResult(t.Context(), "list_tasks", nil, &all); err != nil || len(all.Data) < 2 {
			t.Errorf("%+v %v", all, err)
		}
	})

	t.Run("errors", func(t *testing.T) {
		for _, e := range []struct {
			method string
			params any
			code   jrpc2.Code
			want   failure
		}{
			{"nonsense", nil, jrpc2.MethodNotFound, failure{Kind: "METHOD_NOT_FOUND"}},
			{"get_task", params{"id": 1 << 50}, 4040, failure{Kind: "NOT_FOUND", Entity: "task"}},
			{"get_task", params{"id": "x"}, jrpc2.InvalidParams, failure{Kind: "INVALID_PARAMS"}},
			{"get_task", []int{1}, jrpc2.InvalidParams, failure{Kind: "INVALID_PARAMS"}},
			{"list_tasks", []int{}, jrpc2.InvalidParams, failure{Kind: "INVALID_PARAMS"}},
		} {
			_, err := c.Call(t.Context(), e.method, e.params)
			checkJRPC2(t, err, e.code, e.want)
		}
		_, err := newJRPC2(t, s, "").Call(t.Context(), "list_tasks", nil)
		checkJRPC2(t, err, 4010, failure{Kind: "UNAUTHENTICATED"})
	})

	t.Run("batch", func(t *testing.T) {
		answers, err := c.Batch(t.Context(), []jrpc2.Spec{
			{Method: "get_task", Params: params{"id": s.task}},
			{Method: "count_tasks", Notify: true},
			{Method: "nonsense"},
			{Method: "get_task", Params: params{"id": 1 << 50}},
			{Method: "list_tasks"},
		})
		if err != nil || len(answers) != 4 {
			t.Fatalf("%v %v", answers, err)
		}
		var got result[row]
		if err := answers[0].UnmarshalResult(&got); err != nil || got.Data.ID != s.task {
			t.Errorf("%+v %v", got, err)
		}
		checkJRPC2(t, answers[1].Error(), jrpc2.MethodNotFound, failure{Kind: "METHOD_NOT_FOUND"})
		checkJRPC2(t, answers[2].Error(), 4040, failure{Kind: "NOT_FOUND", Entity: "task"})
		if err := answers[3].Error(); err != nil {
			t.Error(err)
		}
	})

	t.Run("notifications", func(t *testing.T) {
		c := newJRPC2(t, s, s.token)
		id := s.create(t, "task", params{"project_id": s.project, "title": "before"})
		if err := c.Notify(t.Context(), "update_task", params{"id": id, "data": params{"title": "after"}}); err != nil {
			t.Error(err)
		}
		if err := c.Notify(t.Context(), "nonsense", nil); err != nil {
			t.Error(err)
		}
		if answers, err := c.Batch(t.Context(), []jrpc2.Spec{{Method: "list_tasks", Notify: true}, {Method: "nonsense", Notify: true}}); err != nil || len(answers) != 0 {
			t.Errorf("%v %v", answers, err)
		}
		if _, err := c.Call(t.Context(), "list_tasks", nil); err != nil {
			t.Errorf("after notifications: %v", err)
		}
		if err := c.Close(); err != nil { // waits until they are answered
			t.Error(err)
		}
		if got := s.get(t, id); got.Title != "after" {
			t.Errorf("%+v", got)
		}
	})

	t.Run("concurrent calls", func(t *testing.T) {
		var group sync.WaitGroup
		for n := range 32 {
			group.Go(func() {
				title := fmt.Sprintf("concurrent %d", n)
				var made result[row]
				err := c.CallResult(t.Context(), "create_task", params{"data": params{"project_id": s.project, "title": title}}, &made)
				if err != nil || made.Data.Title != title {
					t.Errorf("%+v %v, want %s", made, err, title)
				}
			})
		}
		group.Wait()
	})

	t.Run("a call that is given up", func(t *testing.T) {
		c := newJRPC2(t, s, s.token)
		release := s.lock(t, `SELECT FROM task WHERE id = $1 FOR UPDATE`, s.task)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		if _, err := c.Call(ctx, "update_task", params{"id": s.task, "data": params{"done": true}}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		if _, err := c.Call(t.Context(), "get_task", params{"id": s.task}); err != nil {
			t.Errorf("while it still runs: %v", err)
		}
		release()
		if err := c.Close(); err != nil { // waits until it is answered
			t.Error(err)
		}
		if got := s.get(t, s.task); got.Version != 2 {
			t.Errorf("it did not go on: %+v", got)
		}
	})

	// The client does not look into answers of another status than 200, and stops.
	t.Run("a status", func(t *testing.T) {
		c := newJRPC2(t, s, "nonsense")
		if _, err := c.Call(t.Context(), "list_tasks", nil); err == nil || !strings.Contains(err.Error(), "401") || !c.IsStopped() {
			t.Errorf("%v", err)
		}
	})
}

func checkJRPC2(t *testing.T, err error, code jrpc2.Code, want failure) {
	t.Helper()
	e := (*jrpc2.Error)(nil)
	if !errors.As(err, &e) {
		t.Errorf("%v, want %v", err, want)
		return
	}
	got := readFailure(t, []byte(e.Data))
	if e.Code != code || e.Message == "" || got.Kind != want.Kind || got.Entity != want.Entity || (code == jrpc2.InvalidParams) != (len(got.Issues) > 0) {
		t.Errorf("%+v %+v, want %d %+v", e, got, code, want)
	}
}
