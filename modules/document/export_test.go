package document

import (
	"context"

	"github.com/google/uuid"

	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

const (
	MaxTail   = maxTail
	MaxQueued = maxQueued
	Patience  = patience
	RunText   = runText
)

func (h *Hub) Compact(ctx context.Context, tenant, document uuid.UUID) error {
	return h.compactNow(ctx, key{tenant, document})
}

func (h *Hub) Sweep(ctx context.Context) error { return h.sweepOnce(ctx) }

// Bound bounds the documents of the hub, which must not be in use yet.
func (h *Hub) Bound(text, runs int) { h.bounds = bounds{text, runs} }

// Panic lets the next work of a document's room panic.
func (h *Hub) Panic(tenant, document uuid.UUID) {
	r := h.enter(key{tenant, document})
	defer r.mu.Unlock()
	r.sites = nil // a write to it panics
	r.members = map[int64]Role{}
}

// Admit lets somebody follow a document from its head, without a database.
func (h *Hub) Admit(tenant, document uuid.UUID, to Follower) *Following {
	r := h.enter(key{tenant, document})
	r.mu.Unlock()
	f := &Following{room: r, to: to, done: make(chan struct{})}
	r.members = map[int64]Role{f.user: Editor}
	if err := r.admit(f, 0); err != nil {
		panic(err)
	}
	return f
}

// Broadcast sends a frame to those who follow a document.
func (h *Hub) Broadcast(tenant, document uuid.UUID, frame *Frame) {
	r := h.enter(key{tenant, document})
	defer r.mu.Unlock()
	r.broadcast(frame)
}

// Replica returns that of a document's room, to be compared only.
func (h *Hub) Replica(ctx context.Context, tenant, document uuid.UUID) (doc *textcrdt.Doc) {
	r := h.enter(key{tenant, document})
	_ = r.ask(ctx, false, func(*store.Tx) error { doc = r.doc; return nil })
	return doc
}

// Waiting returns how many pushes wait for a document's room.
func (h *Hub) Waiting(tenant, document uuid.UUID) int {
	r := h.enter(key{tenant, document})
	defer r.mu.Unlock()
	return len(r.pushes)
}

// Writing returns how many groups of a tenant are being written, or wait for that.
func (h *Hub) Writing(tenant uuid.UUID) int {
	h.writers.mu.Lock()
	defer h.writers.mu.Unlock()
	if q := h.writers.queues[tenant]; q != nil {
		return q.running + len(q.waiting)
	}
	return 0
}
