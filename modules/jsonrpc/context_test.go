package jsonrpc_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(jsonrpc.Options{Timeout: time.Second})
		wait := func(what func(ctx context.Context) error) func(context.Context, none) (none, error) {
			return func(ctx context.Context, _ none) (none, error) {
				<-ctx.Done()
				return none{}, what(ctx)
			}
		}
		jsonrpc.Handle(m, "heeds", wait(func(ctx context.Context) error { return ctx.Err() }))
		jsonrpc.Handle(m, "own_words", wait(func(context.Context) error { return errors.New("pq: canceling statement") }))
		jsonrpc.Handle(m, "own_kind", wait(func(context.Context) error { return apperr.New(apperr.NotFound, "There is no such task") }))
		jsonrpc.Handle(m, "in_time_after_all", wait(func(context.Context) error { return nil }))
		jsonrpc.Handle(m, "inner", func(ctx context.Context, _ none) (none, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			<-ctx.Done()
			return none{}, ctx.Err()
		})
		start := time.Now()
		got := summary(t, m, `[{"id":1,"method":"heeds"},{"id":2,"method":"own_words"},{"id":3,"method":"own_kind"},
			{"id":4,"method":"in_time_after_all"},{"id":5,"method":"inner"},{"id":6,"method":"ping"}]`)
		if want := `[1 TIMEOUT, 2 TIMEOUT, 3 NOT_FOUND, 4 {}, 5 TIMEOUT, 6 "pong"]`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if took := time.Since(start); took != 4*time.Second+time.Millisecond {
			t.Errorf("took %v", took)
		}
	})
}

func TestNothingRunsAfterTheCallerHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMux(jsonrpc.Options{Timeout: time.Hour})
		ctx, cancel := context.WithCancel(t.Context())
		jsonrpc.Handle(m, "leaves", func(ctx context.Context, _ none) (none, error) {
			time.AfterFunc(time.Second, cancel)
			<-ctx.Done()
			return none{}, errors.New("pq: canceling statement")
		})
		jsonrpc.Handle(m, "never", func(context.Context, none) (none, error) {
			t.Error("it ran")
			return none{}, nil
		})
		reply := m.Serve(ctx, requestID, []byte(`[{"id":1,"method":"ping"},{"id":2,"method":"leaves"},{"method":"never"},{"id":3,"method":"never"}]`))
		if got, want := summarize(read(t, reply)), `[1 "pong", 2 ABORTED, 3 ABORTED]`; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if len(reply.Calls) != 4 || reply.Calls[1].Duration != time.Second || reply.Calls[2].Kind != apperr.Aborted {
			t.Errorf("%+v", reply.Calls)
		}
	})
}

// What observes a call may take long before it, which is no part of the call.
func TestTimesOfCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []jsonrpc.Call
		m := newMux(jsonrpc.Options{MaxAnswer: 1, Observe: func(ctx context.Context, _ string) (context.Context, func(jsonrpc.Call)) {
			time.Sleep(time.Minute)
			return ctx, func(c jsonrpc.Call) { seen = append(seen, c) }
		}})
		jsonrpc.Handle(m, "sleep", func(context.Context, none) (none, error) {
			time.Sleep(time.Second)
			return none{}, nil
		})
		began := time.Now()
		m.Serve(t.Context(), requestID, []byte(`[{"id":1,"method":"sleep"},{"id":2,"method":"sleep"}]`))
		if len(seen) != 2 || !seen[0].Start.Equal(began.Add(time.Minute)) || seen[0].Duration != time.Second {
			t.Errorf("%+v", seen)
		}
		if !seen[1].Start.IsZero() || seen[1].Duration != 0 || seen[1].Kind != apperr.Aborted {
			t.Errorf("it did not run: %+v", seen[1])
		}
	})
}

func TestObserve(t *testing.T) {
	t.Parallel()
	type key struct{}
	var seen []string
	inOne := func(ctx context.Context, calls func(context.Context) error) error { return calls(ctx) }
	m := newMux(jsonrpc.Options{MaxAnswer: 600, Atomic: inOne, Observe: func(ctx context.Context, method string) (context.Context, func(jsonrpc.Call)) {
		begun := method
		return context.WithValue(ctx, key{}, &begun), func(c jsonrpc.Call) {
			seen = append(seen, begun+" "+c.Method+" "+string(c.ID)+" "+string(c.Kind))
		}
	}})
	jsonrpc.Handle(m, "mark", func(ctx context.Context, _ none) (string, error) {
		*ctx.Value(key{}).(*string) += " ran"
		return strings.Repeat("x", 600), nil
	})
	m.Serve(t.Context(), requestID, []byte(`[{"id":1,"method":"nonsense"},{"id":2},{"id":3,"method":"mark"},{"method":"mark"},{"id":4,"method":"mark"}]`))
	want := []string{" nonsense 1 METHOD_NOT_FOUND", "  2 INVALID_REQUEST", "mark ran mark 3 ", "mark ran mark  ", "mark mark 4 ABORTED"}
	if !slices.Equal(seen, want) {
		t.Errorf("%q, want %q", seen, want)
	}
	seen = nil
	m.ServeAtomic(t.Context(), requestID, []byte(`[{"id":1,"method":"ping"},{"id":2,"method":"boom"},{"id":3,"method":"mark"}]`))
	want = []string{"ping ping 1 ABORTED", "boom boom 2 INTERNAL", "mark mark 3 ABORTED"}
	if !slices.Equal(seen, want) {
		t.Errorf("atomic: %q, want %q", seen, want)
	}
}
