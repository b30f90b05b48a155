package changelog

import (
	"context"
	"sync"

	"go.uber.org/zap"
)

// reads are the feeds that are to be read. One statement brings what is new of all of them: where many tenants write a little each, a
// statement for every hint would cost the writers more than the subscribers do.
type reads struct {
	ready chan struct{}

	mu  sync.Mutex
	due []*feed
}

func (r *reads) add(f *feed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.due = append(r.due, f)
	wake(r.ready)
}

func (r *reads) take() []*feed {
	r.mu.Lock()
	defer r.mu.Unlock()
	due := r.due
	r.due = nil
	return due
}

// read reads the feeds that have been hinted at, until ctx ends.
func (h *Hub) read(ctx context.Context) {
	for {
		select {
		case <-h.reads.ready:
		case <-ctx.Done():
			return
		}
		for due := h.reads.take(); len(due) > 0; due = append(due, h.reads.take()...) {
			together := due[:min(len(due), readTogether)]
			due = append(due[len(together):], h.readOnce(ctx, together)...)
		}
	}
}

// readTogether is how many feeds a statement reads.
const readTogether = 256

// The entries of several tenants, each after a position of its own. The platform's login sees those of all.
const news = `
	SELECT w.i, c.position, c.at, c.actor, c.method, c.entity, c.row_id, c.op, c.version, c.before, c.data
	FROM unnest($1::uuid[], $2::bigint[]) WITH ORDINALITY AS w(tenant, since, i)
	CROSS JOIN LATERAL (
		SELECT * FROM change WHERE tenant_id = w.tenant AND position > w.since ORDER BY position LIMIT $3
	) c
	ORDER BY w.i, c.position`

// readOnce reads the feeds once, and returns those of which there is more. After a failure the next poll starts them again.
func (h *Hub) readOnce(ctx context.Context, feeds []*feed) (more []*feed) {
	tenants, since := make([]string, len(feeds)), make([]int64, len(feeds))
	for i, f := range feeds {
		tenants[i], since[i] = f.tenant.String(), f.position()
	}
	got := make([][]*item, len(feeds))
	var (
		e    Entry
		i    int
		size int
		full bool
	)
	h.counts.reads.Add(1)
	err := h.DB.Platform(ctx).Each(news, []any{tenants, since, max(1, pageEntries/len(feeds))},
		[]any{&i, &e.Position, &e.At, &e.Actor, &e.Method, &e.Entity, &e.RowID, &e.Op, &e.Version, (*[]byte)(&e.Before), (*[]byte)(&e.Data)},
		func() bool {
			if full = size > maxBytes; full {
				return false
			}
			size += len(e.Before) + len(e.Data)
			e.At = e.At.UTC()
			got[i-1] = append(got[i-1], &item{Entry: e})
			return true
		})
	if err == nil && size > 0 && h.Revoked != nil {
		err = h.Revoked(ctx) // a login that ended before these were committed has ended before they are delivered
	}
	if err != nil && ctx.Err() == nil {
		h.Logger.Warn("the change log could not be read", zap.Error(err))
	}
	for i, f := range feeds {
		if f.take(got[i], err, full) {
			more = append(more, f)
		}
	}
	return more
}

// take adds what has been read, wakes the subscribers, and tells whether there is more to read. What was read is not all if it is partial.
func (f *feed) take(items []*item, err error, partial bool) (more bool) {
	f.mu.Lock()
	switch {
	case err != nil:
		f.reading = false
		f.mu.Unlock()
		return false
	case len(items) == 0 && !partial: // a hint of what is not there
		f.hinted = f.last
	}
	f.append(items)
	f.reading = f.hinted > f.last
	more = f.reading
	f.mu.Unlock()
	for _, s := range f.subscriptions() {
		s.kick()
	}
	return more
}
