package interop_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/rpc"
)

func newGoEthereum(t *testing.T, s *server, token string) *rpc.Client {
	t.Helper()
	options := []rpc.ClientOption{rpc.WithHTTPClient(http.DefaultClient)}
	if token != "" {
		options = append(options, rpc.WithHeader("Authorization", "Bearer "+token))
	}
	c, err := rpc.DialOptions(t.Context(), s.endpoint, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Arguments go into an array, whatever they are: only methods that need no params can be called.
func testGoEthereum(t *testing.T, s *server) {
	c := newGoEthereum(t, s, s.token)

	t.Run("results", func(t *testing.T) {
		var all result[[]row]
		if err := c.CallContext(t.Context(), &all, "list_tasks"); err != nil || len(all.Data) < 1 {
			t.Errorf("%+v %v", all, err)
		}
		if err := c.CallContext(t.Context(), nil, "count_tasks"); err != nil {
			t.Error(err)
		}
	})

	t.Run("errors", func(t *testing.T) {
		for _, e := range []struct {
			method string
			args   []any
			code   int
			want   failure
		}{
			{"nonsense", nil, -32601, failure{Kind: "METHOD_NOT_FOUND"}},
			{"get_task", nil, -32602, failure{Kind: "INVALID_PARAMS"}},
			{"get_task", []any{map[string]any{"id": s.task}}, -32602, failure{Kind: "INVALID_PARAMS"}},
			{"list_tasks", []any{}, -32602, failure{Kind: "INVALID_PARAMS"}},
		} {
			checkGoEthereum(t, c.CallContext(t.Context(), nil, e.method, e.args...), e.code, e.want)
		}
		checkGoEthereum(t, newGoEthereum(t, s, "").CallContext(t.Context(), nil, "list_tasks"), 4010, failure{Kind: "UNAUTHENTICATED"})
	})

	t.Run("batch", func(t *testing.T) {
		var all, none result[[]row]
		var count result[struct {
			Count int64 `json:"count"`
		}]
		batch := []rpc.BatchElem{
			{Method: "list_tasks", Result: &all},
			{Method: "nonsense", Result: &none},
			{Method: "get_task", Args: []any{map[string]any{"id": s.task}}, Result: &none},
			{Method: "count_tasks", Result: &count},
		}
		if err := c.BatchCallContext(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		if batch[0].Error != nil || batch[3].Error != nil || len(all.Data) == 0 || int64(len(all.Data)) != count.Data.Count {
			t.Errorf("%v %v: %+v %+v", batch[0].Error, batch[3].Error, all, count)
		}
		checkGoEthereum(t, batch[1].Error, -32601, failure{Kind: "METHOD_NOT_FOUND"})
		checkGoEthereum(t, batch[2].Error, -32602, failure{Kind: "INVALID_PARAMS"})
	})

	// It expects an answer even to a notification. That there is none does no harm.
	t.Run("notifications", func(t *testing.T) {
		if err := c.Notify(t.Context(), "list_tasks"); !errors.Is(err, io.EOF) {
			t.Errorf("%v", err)
		}
		if err := c.CallContext(t.Context(), nil, "list_tasks"); err != nil {
			t.Error(err)
		}
	})

	t.Run("concurrent calls", func(t *testing.T) {
		var group sync.WaitGroup
		for range 32 {
			group.Go(func() {
				var all result[[]row]
				if err := c.CallContext(t.Context(), &all, "list_tasks"); err != nil || len(all.Data) == 0 {
					t.Errorf("%+v %v", all, err)
				}
			})
		}
		group.Wait()
	})

	t.Run("a call that is given up", func(t *testing.T) {
		release := s.lock(t, `LOCK TABLE task IN ACCESS EXCLUSIVE MODE`)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		if err := c.CallContext(ctx, nil, "list_tasks"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		release()
		if err := c.CallContext(t.Context(), nil, "list_tasks"); err != nil {
			t.Error(err)
		}
	})

	t.Run("a status", func(t *testing.T) {
		e := rpc.HTTPError{}
		err := newGoEthereum(t, s, "nonsense").CallContext(t.Context(), nil, "list_tasks")
		if !errors.As(err, &e) || e.StatusCode != http.StatusUnauthorized {
			t.Fatalf("%v", err)
		}
	})

	t.Run("a batch that is too large", func(t *testing.T) {
		batch := make([]rpc.BatchElem, 101)
		for i := range batch {
			batch[i] = rpc.BatchElem{Method: "count_tasks", Result: new(result[any])}
		}
		if err := c.BatchCallContext(t.Context(), batch); err == nil {
			t.Error("it passed")
		}
		if err := c.BatchCallContext(t.Context(), batch[:100]); err != nil || batch[99].Error != nil {
			t.Errorf("%v %v", err, batch[99].Error)
		}
	})
}

func checkGoEthereum(t *testing.T, err error, code int, want failure) {
	t.Helper()
	var coded rpc.Error
	var detailed rpc.DataError
	if !errors.As(err, &coded) || !errors.As(err, &detailed) {
		t.Errorf("%v, want %v", err, want)
		return
	}
	got := readFailure(t, detailed.ErrorData())
	if coded.ErrorCode() != code || coded.Error() == "" || got.Kind != want.Kind || (code == -32602) != (len(got.Issues) > 0) {
		t.Errorf("%d %v %+v, want %d %+v", coded.ErrorCode(), coded, got, code, want)
	}
}
