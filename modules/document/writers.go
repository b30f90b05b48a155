package document

import (
	"slices"
	"sync"

	"github.com/google/uuid"

	"rowcall/modules/store"
)

// Bounds of what the rooms of a tenant write at once.
const (
	maxWriters  = 3 // statements
	maxTogether = 64
	maxBytes    = 1 << 20 // of operations, but for a group that has more by itself
)

// writers are the groups of all tenants that are being written. Those that come while enough others of the tenant are go together: a statement
// for many costs little more than for one.
type writers struct {
	mu     sync.Mutex
	queues map[uuid.UUID]*queue // of tenants with somebody who writes
}

type queue struct {
	running int
	waiting []*write
}

// write writes a group, alone or with others.
func (h *Hub) write(tx *store.Tx, w *write) {
	ws, tenant := &h.writers, tx.Actor.Tenant
	all := []*write{w}
	if !ws.enter(tenant, w) {
		if all = <-w.turn; all == nil {
			return
		}
	}
	defer ws.leave(tenant)
	if len(all) == 1 {
		w.alone(tx)
		return
	}
	defer func() {
		for _, w := range all[1:] {
			close(w.turn)
		}
	}()
	err := together(tx, all)
	for _, w := range all {
		if w.err = err; err != nil && !passing(err) { // one of them is to blame, and nothing is written
			w.alone(tx)
		}
	}
	h.counts.together.Add(int64(len(all)))
}

// enter tells whether there is room for another writer; else the group waits for its turn.
func (ws *writers) enter(tenant uuid.UUID, w *write) bool {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	q := ws.queues[tenant]
	if q == nil {
		q = &queue{}
		ws.queues[tenant] = q
	}
	if q.running < maxWriters {
		q.running++
		return true
	}
	w.turn = make(chan []*write, 1)
	q.waiting = append(q.waiting, w)
	return false
}

// leave hands the turn to those who wait.
func (ws *writers) leave(tenant uuid.UUID) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	q := ws.queues[tenant]
	if len(q.waiting) == 0 {
		if q.running--; q.running == 0 {
			delete(ws.queues, tenant)
		}
		return
	}
	n, size := 0, 0
	for _, w := range q.waiting {
		if size += len(w.group.bytes); n == maxTogether || n > 0 && size > maxBytes {
			break
		}
		n++
	}
	all := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	all[0].turn <- all
}
