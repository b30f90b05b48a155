package document

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

const (
	touchEvery = time.Second // at most, of one document
	sweepEvery = 5 * time.Minute
	maxSwept   = 1000 // documents of one sweep
)

// touches are the documents whose rows do not say yet how far they have come.
type touches struct {
	ready chan struct{}

	mu  sync.Mutex
	due map[key]time.Time
}

func (t *touches) add(k key, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there := t.due[k]; !there {
		t.due[k] = at
		wake(t.ready)
	}
}

// take returns those that are due, and when the next is.
func (t *touches) take(now time.Time) (due []key, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	next = now.Add(time.Hour)
	for k, at := range t.due {
		switch {
		case !at.After(now):
			due = append(due, k)
			delete(t.due, k)
		case at.Before(next):
			next = at
		}
	}
	return due, next
}

// touch brings documents' rows up to date until ctx ends.
func (h *Hub) touch(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-h.touches.ready:
		case <-ctx.Done():
			h.touchAll(h.ctx, time.Now().Add(touchEvery)) //nolint:contextcheck // its own has ended; as far as it goes now
			return
		}
		timer.Reset(time.Until(h.touchAll(ctx, time.Now())))
	}
}

// touched is a document whose log is ahead of its row.
type touched struct {
	Tenant   uuid.UUID `db:"tenant_id"`
	Document uuid.UUID `db:"document_id"`
	Position int64     `db:"position"`
	Version  int64     `db:"version"`
	User     int64     `db:"user_id"`
	At       time.Time `db:"at"`
	Wait     float64   `db:"wait"` // seconds until it may be touched again
}

// touchAll touches the documents that are due by then, and returns when the next is.
func (h *Hub) touchAll(ctx context.Context, by time.Time) (next time.Time) {
	due, next := h.touches.take(by)
	if len(due) == 0 {
		return next
	}
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	again := func(k key, after time.Duration) {
		at := time.Now().Add(after)
		h.touches.add(k, at)
		if at.Before(next) {
			next = at
		}
	}
	tenants, documents := names(due)
	var rows []touched
	err := h.DB.Platform(ctx).Select(&rows, `
		SELECT h.tenant_id, h.document_id, h.position, d.version, coalesce(m.user_id, d.owner_id) AS user_id, now() AS at,
		       extract(epoch FROM d.edited_at + $3 * interval '1 millisecond' - now())::float8 AS wait
		FROM unnest($1::uuid[], $2::uuid[]) AS k (tenant_id, document_id)
		JOIN document_head h USING (tenant_id, document_id)
		JOIN document d ON d.tenant_id = h.tenant_id AND d.id = h.document_id
		LEFT JOIN document_member m ON m.tenant_id = h.tenant_id AND m.document_id = h.document_id AND m.user_id = h.editor_id AND m.role = 'editor'
		WHERE d.position < h.position`, tenants, documents, touchEvery.Milliseconds())
	if err != nil {
		h.Logger.Warn("documents could not be looked at", zap.Error(err))
		for _, k := range due {
			again(k, touchEvery)
		}
		return next
	}
	for i := range rows {
		t := &rows[i]
		k := key{t.Tenant, t.Document}
		if t.Wait > 0 {
			again(k, min(touchEvery, time.Duration(t.Wait*float64(time.Second))+time.Millisecond))
			continue
		}
		if err := h.touchOne(ctx, t); err != nil {
			if apperr.From(err).Kind != apperr.Conflict {
				h.Logger.Warn("a document's row could not be brought up to date", zap.Stringer("document", t.Document), zap.Error(err))
			}
			again(k, touchEvery)
		}
	}
	return next
}

func (h *Hub) touchOne(ctx context.Context, t *touched) (err error) {
	defer caught(&err)
	tx, err := h.DB.Session(auth.WithRequest(ctx, &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: t.Tenant, User: t.User, Role: auth.Member, Scope: auth.ScopeWrite},
	}))
	if err != nil {
		return err
	}
	h.counts.touches.Add(1)
	return h.Touch(tx, t.Document, t.Version, t.Position, t.At)
}

// sweep finds what a node that was stopped has left undone.
func (h *Hub) sweep(ctx context.Context) {
	ticks := time.NewTicker(sweepEvery)
	defer ticks.Stop()
	for ctx.Err() == nil {
		if err := h.sweepOnce(ctx); err != nil && ctx.Err() == nil {
			h.Logger.Warn("documents could not be swept", zap.Error(err))
		}
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
}

// left is a document with something to do.
type left struct {
	Tenant   uuid.UUID `db:"tenant_id"`
	Document uuid.UUID `db:"document_id"`
	Touch    bool      `db:"touch"`
	Compact  bool      `db:"compact"`
}

func (h *Hub) sweepOnce(ctx context.Context) error {
	var rows []left
	err := h.DB.Platform(ctx).Select(&rows, `
		SELECT * FROM (
			SELECT h.tenant_id, h.document_id, h.position > d.position AS touch,
			       h.position - s.position > $1 + octet_length(s.snapshot) / 512 AS compact
			FROM document_head h
			JOIN document d ON d.tenant_id = h.tenant_id AND d.id = h.document_id
			JOIN document_snapshot s ON s.tenant_id = h.tenant_id AND s.document_id = h.document_id
		) t WHERE touch OR compact LIMIT $2`, 2*maxTail, maxSwept)
	for _, l := range rows {
		k := key{l.Tenant, l.Document}
		if l.Touch {
			h.touches.add(k, time.Now().Add(touchEvery))
		}
		if l.Compact {
			h.compactions.add(k)
		}
	}
	return err
}

// names are the documents' keys as arguments of a statement.
func names(keys []key) (tenants, documents []string) {
	for _, k := range keys {
		tenants, documents = append(tenants, k.tenant.String()), append(documents, k.document.String())
	}
	return tenants, documents
}
