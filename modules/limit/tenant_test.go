package limit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/auth"
)

func newTenants(most int, wait time.Duration) *tenants {
	return &New(Config{Concurrency: most, Wait: wait}).tenants
}

// A tenant floods with slow requests; another's goes through at once.
func TestATenantCannotStarveAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(3, time.Hour)
		var running, most atomic.Int64
		var wg sync.WaitGroup
		for range 183 {
			wg.Go(func() {
				if _, err := ts.enter(t.Context(), acme); err != nil {
					t.Error(err)
					return
				}
				most.Store(max(most.Load(), running.Add(1)))
				time.Sleep(time.Second)
				running.Add(-1)
				ts.leave(acme, true)
			})
		}
		synctest.Wait()
		if ts.running.Load() != 3 || ts.waiting.Load() != 180 {
			t.Errorf("%d run, %d wait", ts.running.Load(), ts.waiting.Load())
		}
		start := time.Now()
		if _, err := ts.enter(t.Context(), other); err != nil || time.Since(start) != 0 {
			t.Errorf("the other tenant: %v after %v", err, time.Since(start))
		}
		ts.leave(other, true)
		wg.Wait()
		if most.Load() != 3 || time.Since(start) != 61*time.Second {
			t.Errorf("%d at once, %v in all", most.Load(), time.Since(start))
		}
		if len(ts.turns) != 0 || ts.running.Load() != 0 || ts.waiting.Load() != 0 {
			t.Errorf("%d tenants are remembered, %d run, %d wait", len(ts.turns), ts.running.Load(), ts.waiting.Load())
		}
	})
}

func TestTurnsAreInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(1, time.Hour)
		if _, err := ts.enter(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		var order []int
		for i := range 20 {
			go func() {
				if _, err := ts.enter(t.Context(), acme); err != nil {
					t.Error(err)
				}
				order = append(order, i)
				ts.leave(acme, true)
			}()
			synctest.Wait()
		}
		ts.leave(acme, true)
		synctest.Wait()
		if len(order) != 20 || !slices.IsSorted(order) {
			t.Error(order)
		}
	})
}

func TestTheWaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTenants(1, 3*time.Second)
		if _, err := ts.enter(t.Context(), acme); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := ts.enter(t.Context(), acme); !errors.Is(err, errCrowded) || time.Since(start) != 3*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		// A client that goes away leaves its place.
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := ts.enter(ctx, acme); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 4*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		ctx, leave := context.WithCancel(t.Context())
		for range maxWaiting {
			go func() { _, _ = ts.enter(ctx, acme) }()
		}
		synctest.Wait()
		if _, err := ts.enter(t.Context(), acme); !errors.Is(err, errCrowded) || time.Since(start) != 4*time.Second {
			t.Errorf("%v after %v, when all places are taken", err, time.Since(start))
		}
		leave()
		synctest.Wait()
		ts.leave(acme, true)
		if _, err := ts.enter(t.Context(), acme); err != nil {
			t.Error(err)
		}
		ts.leave(acme, true)
		if len(ts.turns) != 0 {
			t.Error("a tenant is remembered")
		}
	})
}

// Every way in and out at once, for the race detector; nothing may be left.
func TestTurnsUnderLoad(t *testing.T) {
	ts := newTenants(2, time.Millisecond)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			tenant := uuid.UUID{byte(i % 3)}
			for j := range 500 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(j%5)*100*time.Microsecond)
				if _, err := ts.enter(ctx, tenant); err == nil {
					ts.leave(tenant, true)
				}
				cancel()
			}
		})
	}
	wg.Wait()
	if len(ts.turns) != 0 || ts.running.Load() != 0 || ts.waiting.Load() != 0 {
		t.Errorf("%d tenants are remembered, %d run, %d wait", len(ts.turns), ts.running.Load(), ts.waiting.Load())
	}
}

// Who waits beside has lent its turn, and goes on when it has one again.
func TestAside(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Concurrency: 1, Wait: time.Hour})
		enter := func(ctx context.Context) (context.Context, func()) {
			t.Helper()
			inside, leave, err := l.Enter(auth.WithRequest(ctx, &auth.Request{Actor: &auth.Actor{Tenant: acme}}))
			if err != nil {
				t.Fatal(err)
			}
			return inside, leave
		}
		together := make(chan struct{})
		var wg sync.WaitGroup
		for range 5 { // all of them wait at once, though one may run
			wg.Go(func() {
				ctx, leave := enter(t.Context())
				defer leave()
				Aside(ctx, func() { <-together })
				if n := l.tenants.running.Load(); n != 1 {
					t.Errorf("%d run", n)
				}
				time.Sleep(time.Second)
			})
		}
		synctest.Wait()
		if n := l.tenants.running.Load(); n != 0 {
			t.Errorf("%d run while all wait", n)
		}
		start := time.Now()
		close(together)
		wg.Wait()
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("they ran one after another in %v", took)
		}

		// One whose context ends beside has no turn to give back.
		ctx, cancel := context.WithCancel(t.Context())
		inside, leave := enter(ctx)
		var otherDone atomic.Bool
		Aside(inside, func() {
			_, leaveOther := enter(t.Context())
			cancel()
			wg.Go(func() {
				time.Sleep(time.Second)
				otherDone.Store(true)
				leaveOther()
			})
		})
		if otherDone.Load() {
			t.Error("it waited for the other")
		}
		leave()
		wg.Wait()
		_, leave = enter(t.Context())
		leave()
		if n := l.tenants.running.Load(); n != 0 || len(l.tenants.turns) != 0 {
			t.Errorf("%d run at the end, %d tenants are remembered", n, len(l.tenants.turns))
		}
		waited := false
		Aside(t.Context(), func() { waited = true }) // outside of any request
		if !waited {
			t.Error("it did not wait")
		}
	})
}
