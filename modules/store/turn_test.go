package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/auth"
)

// turns runs calls by groups of at most two, without a database.
type turns struct {
	*groups
	mu  sync.Mutex
	log []string // what ran, in order
	wg  sync.WaitGroup
}

func newTurns() *turns {
	ts := &turns{groups: newGroups(2, nil)}
	ts.run = func(group []*call) { ts.say(fmt.Sprint("a group of ", len(group))) }
	return ts
}

func (ts *turns) say(what string) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	ts.log = append(ts.log, what)
}

// write begins a call that takes so long by itself, and returns where its error will be.
func (ts *turns) write(ctx context.Context, tenant, name string, takes time.Duration) *error {
	err := new(error)
	c := &call{tx: &Tx{runner: runner{ctx: ctx}, tenant: tenant}}
	ts.wg.Go(func() {
		*err = ts.change(c, func() error {
			ts.say(name)
			time.Sleep(takes)
			return nil
		})
	})
	synctest.Wait()
	return err
}

func (ts *turns) ran(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if !slices.Equal(ts.log, want) {
		t.Errorf("%q ran, want %q", ts.log, want)
	}
}

func TestTurns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := newTurns(), t.Context()
		ts.write(ctx, "a", "first", patience/2)
		ts.write(ctx, "b", "of another tenant", 0)
		for range 4 {
			ts.write(ctx, "a", "waiting", 0)
		}
		ts.write(ctx, "a", "last", patience/2)
		ts.ran(t, "first", "of another tenant")
		ts.wg.Wait()
		ts.ran(t, "first", "of another tenant", "a group of 2", "a group of 2", "last")
		if len(ts.queues) != 0 {
			t.Errorf("%d queues are left", len(ts.queues))
		}
	})
}

// Followers hear of a group before its calls wait for anything else.
func TestAGroupIsToldOfAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := newTurns(), t.Context()
		ts.aside = func(_ context.Context, wait func()) {
			wait()
			time.Sleep(time.Hour)
			ts.say("again among those that run")
		}
		ts.run = func(group []*call) {
			group[0].head = 7
			group[0].tx.db = &DB{committed: func(_ uuid.UUID, position int64) { ts.say(fmt.Sprint("told of ", position)) }}
			group[0].tx.Actor = &auth.Actor{}
		}
		ts.write(ctx, "a", "first", patience/2)
		ts.write(ctx, "a", "waiting", 0)
		ts.write(ctx, "a", "waiting", 0)
		ts.wg.Wait()
		ts.ran(t, "first", "told of 7", "again among those that run", "again among those that run")
	})
}

func TestASlowTurnIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := newTurns(), t.Context()
		ts.write(ctx, "a", "slow", time.Hour)
		ts.write(ctx, "a", "beside it", 0)
		ts.write(ctx, "a", "beside it", 0)
		time.Sleep(patience / 2)
		ts.write(ctx, "a", "waiting longer", 0)
		time.Sleep(patience/2 - 1)
		ts.ran(t, "slow")
		time.Sleep(time.Nanosecond)
		ts.ran(t, "slow", "a group of 2", "waiting longer")
		ts.wg.Wait()
		if len(ts.queues) != 0 {
			t.Errorf("%d queues are left", len(ts.queues))
		}
	})
}

func TestWhoIsCancelledLeavesTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := newTurns(), t.Context()
		cancelled, cancel := context.WithCancel(ctx)
		ts.write(ctx, "a", "first", patience/2)
		err := ts.write(cancelled, "a", "cancelled", 0)
		ts.write(ctx, "a", "second", 0)
		cancel()
		synctest.Wait()
		if !errors.Is(*err, context.Canceled) {
			t.Errorf("%v", *err)
		}
		ts.wg.Wait()
		ts.ran(t, "first", "second")
	})
}

func TestAFullQueueBlocks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := newTurns(), t.Context()
		ts.write(ctx, "a", "first", patience/2)
		for range maxWaiting {
			ts.write(ctx, "a", "waiting", 0)
		}
		cancelled, cancel := context.WithCancel(ctx)
		left := ts.write(cancelled, "a", "cancelled", 0)
		blocked := ts.write(ctx, "a", "blocked", 0)
		if n := len(ts.queues["a"].waiting); n != maxWaiting {
			t.Errorf("%d wait", n)
		}
		cancel()
		synctest.Wait()
		if !errors.Is(*left, context.Canceled) {
			t.Errorf("%v", *left)
		}
		ts.wg.Wait()
		if *blocked != nil || len(ts.log) != 1+maxWaiting/2+1 || ts.log[len(ts.log)-1] != "blocked" {
			t.Errorf("%v, %d ran", *blocked, len(ts.log))
		}
	})
}

func TestCloseWaitsForTheQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ts, ctx := newTurns(), t.Context()
		ts.write(ctx, "a", "first", patience/2)
		ts.write(ctx, "a", "waiting", 0)
		ts.write(ctx, "a", "waiting", 0)
		ts.close()
		ts.ran(t, "first", "a group of 2")
		ts.write(ctx, "a", "after", time.Hour)
		ts.write(ctx, "a", "at once", 0)
		ts.ran(t, "first", "a group of 2", "after", "at once")
		ts.wg.Wait()
	})
}
