package document

import (
	"context"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
)

const (
	pollEvery   = 800 * time.Millisecond // so that a lost hint costs less than a second
	pollTimeout = 5 * time.Second

	// A room that nobody needs is kept for those who come back.
	idleFor  = 30 * time.Second
	maxRooms = 1000 // that are kept so
)

// poll looks at the heads of the documents that are open, and after what is in their rooms.
func (h *Hub) poll(ctx context.Context) {
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for {
		if err := h.pollOnce(ctx); err != nil && ctx.Err() == nil {
			h.Logger.Warn("the heads of the documents could not be read", zap.Error(err))
		}
		select {
		case <-ticks.C:
		case <-h.polls:
		case <-ctx.Done():
			return
		}
	}
}

type polledHead struct {
	Tenant         uuid.UUID `db:"tenant_id"`
	Document       uuid.UUID `db:"document_id"`
	Position       int64     `db:"position"`
	MembersVersion int64     `db:"members_version"`
}

func (h *Hub) pollOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	rooms := map[key]*room{}
	was := map[key]int64{}
	keys := []key{}
	idle := maxRooms
	for _, r := range h.all() {
		if used := r.tidy(time.Now()); !used {
			if idle--; idle < 0 || r.idle(time.Now()) {
				h.drop(r)
				continue
			}
		}
		rooms[r.key], was[r.key] = r, r.seen()
		keys = append(keys, r.key)
	}
	if len(keys) == 0 {
		return nil
	}
	h.Bus.Publish(Topic, []byte("open"))
	tenants, documents := names(keys)
	var heads []polledHead
	err := h.DB.Platform(ctx).Select(&heads, `
		SELECT h.tenant_id, h.document_id, h.position, h.members_version
		FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, document_id) JOIN document_head h USING (tenant_id, document_id)`,
		tenants, documents)
	if err != nil {
		return err
	}
	for _, head := range heads {
		k := key{head.Tenant, head.Document}
		if head.Position >= was[k] {
			rooms[k].hint(state{head.Position, head.MembersVersion})
			delete(rooms, k)
		}
	}
	for _, r := range rooms { // which have been deleted, or the database is an older one
		r.hint(state{})
	}
	return nil
}

// seen returns the position up to which the room knows the log.
func (r *room) seen() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at.position
}

// tidy lets go what the room has too long, and tells whether somebody uses the room.
func (r *room) tidy(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.expire(now)
	if !r.working && now.Sub(r.written) > idleFor {
		r.doc = nil
	}
	return r.working || len(r.followers) > 0 || len(r.presence) > 0
}

func (r *room) idle(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return now.Sub(r.used) > idleFor
}

// drop forgets a room, unless somebody has begun to use it.
func (h *Hub) drop(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed && !r.working && len(r.followers) == 0 {
		r.closed = true
		delete(h.rooms, r.key)
	}
}
