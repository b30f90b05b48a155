package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/semaphore"

	"rowcall/modules/apperr"
)

// maxWaiting is how many requests of one tenant wait for their turn, each with a body of up to a megabyte.
const maxWaiting = 200

// errCrowded is for those that cannot wait. When one of the others will be done is not known.
var errCrowded = apperr.Limited("Too many calls of this tenant run at once", time.Second)

// tenants lets so many requests of each tenant run at once.
type tenants struct {
	most    int // 0 for any number
	wait    time.Duration
	running atomic.Int64
	waiting atomic.Int64

	mu    sync.Mutex
	turns map[uuid.UUID]*turns // of the tenants that have a request here
}

// turns are those of one tenant.
type turns struct {
	free    *semaphore.Weighted // first come, first served
	present int                 // requests that run or wait
}

// enter waits for the tenant's turn, and tells whether it had to. RATE_LIMITED if too many others wait, or if it takes too long.
func (t *tenants) enter(ctx context.Context, tenant uuid.UUID) (waited bool, err error) {
	if t.most == 0 {
		return false, nil
	}
	own := t.join(tenant)
	if own == nil {
		return false, errCrowded
	}
	if !own.free.TryAcquire(1) {
		waited = true
		if err := t.queue(ctx, own); err != nil {
			t.part(tenant)
			return waited, err
		}
	}
	t.running.Add(1)
	return waited, nil
}

func (t *tenants) queue(ctx context.Context, own *turns) error {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	bounded, cancel := context.WithTimeout(ctx, t.wait)
	defer cancel()
	if err := own.free.Acquire(bounded, 1); err == nil {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return errCrowded
}

// leave gives the turn to the next, if the request still has it.
func (t *tenants) leave(tenant uuid.UUID, turn bool) {
	if t.most == 0 {
		return
	}
	own := t.part(tenant)
	if turn {
		t.running.Add(-1)
		own.free.Release(1)
	}
}

// aside lets others of the tenant have the request's turn while it waits. It tells whether the request has a turn again afterwards: not if
// its context has ended.
func (t *tenants) aside(ctx context.Context, tenant uuid.UUID, wait func()) (turn bool) {
	t.mu.Lock()
	own := t.turns[tenant]
	t.mu.Unlock()
	t.running.Add(-1)
	own.free.Release(1)
	wait()
	if err := own.free.Acquire(ctx, 1); err != nil {
		return false
	}
	t.running.Add(1)
	return true
}

// join counts a request among those of its tenant; nil if there are too many.
func (t *tenants) join(tenant uuid.UUID) *turns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.turns[tenant]
	if own == nil {
		own = &turns{free: semaphore.NewWeighted(int64(t.most))}
		t.turns[tenant] = own
	}
	if own.present == t.most+maxWaiting {
		return nil
	}
	own.present++
	return own
}

// part is the end of what join began. A tenant without requests is forgotten.
func (t *tenants) part(tenant uuid.UUID) *turns {
	t.mu.Lock()
	defer t.mu.Unlock()
	own := t.turns[tenant]
	if own.present--; own.present == 0 {
		delete(t.turns, tenant)
	}
	return own
}
