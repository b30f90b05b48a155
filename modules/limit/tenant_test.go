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
				ts.leave(acme)
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
		ts.leave(other)
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
				ts.leave(acme)
			}()
			synctest.Wait()
		}
		ts.leave(acme)
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
		ts.leave(acme)
		if _, err := ts.enter(t.Context(), acme); err != nil {
			t.Error(err)
		}
		ts.leave(acme)
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
					ts.leave(tenant)
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
