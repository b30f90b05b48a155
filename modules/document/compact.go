package document

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"

	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// Bounds of one chunk of the history, and of how many are made for one snapshot.
const (
	chunkRuns  = 5000
	chunkBytes = 512 << 10
	maxChunks  = 20
)

// compactTimeout bounds a transaction that compacts.
const compactTimeout = time.Minute

// compactions are the documents that should have another snapshot.
type compactions struct {
	ready chan struct{}

	mu      sync.Mutex
	waiting map[key]struct{}
}

func (c *compactions) add(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting[k] = struct{}{}
	wake(c.ready)
}

func (c *compactions) take() (k key, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k = range c.waiting {
		delete(c.waiting, k)
		return k, true
	}
	return k, false
}

// compact makes snapshots until ctx ends, one at a time.
func (h *Hub) compact(ctx context.Context) {
	for {
		select {
		case <-h.compactions.ready:
		case <-ctx.Done():
			return
		}
		for k, ok := h.compactions.take(); ok && ctx.Err() == nil; k, ok = h.compactions.take() {
			if err := h.compactNow(ctx, k); err != nil && ctx.Err() == nil {
				h.Logger.Error("a document could not be compacted", zap.Stringer("document", k.document), zap.Error(err))
			}
		}
	}
}

// compactNow makes a snapshot of a document as it is now, and moves the operations that are in it to where they take less room. It blocks as
// long as that takes; writers do not wait for it. If another node is at it, it does nothing.
func (h *Hub) compactNow(ctx context.Context, k key) (err error) {
	defer caught(&err)
	for more := true; more && err == nil; {
		more, err = h.compactPart(ctx, k)
	}
	return err
}

// compactPart compacts some of a log, and tells whether there is more.
func (h *Hub) compactPart(ctx context.Context, k key) (more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, compactTimeout)
	defer cancel()
	tx, err := h.session(ctx, k.tenant)
	if err != nil {
		return false, err
	}
	err = tx.InTx(func(tx *store.Tx) error {
		s, err := lockSnapshot(tx, k)
		if err != nil || s.doc == nil {
			return err
		}
		chunks := 0
		for more = true; more && chunks < maxChunks; chunks++ {
			if more, err = s.compactChunk(tx, k); err != nil {
				return err
			}
		}
		if s.runs == 0 {
			return nil
		}
		snapshot, err := textcrdt.Pack(s.doc.AppendSnapshot(nil))
		if err != nil {
			return err
		}
		h.counts.compactions.Add(1)
		_, err = tx.Exec(`UPDATE document_snapshot SET position = $3, snapshot = $4 WHERE tenant_id = $1 AND document_id = $2`,
			k.tenant.String(), k.document.String(), s.position, snapshot)
		return err
	})
	return more, err
}

// lockSnapshot returns the replica of the newest snapshot, and keeps others from making the next; none if another node is at it.
func lockSnapshot(tx *store.Tx, k key) (s saved, err error) {
	var snapshot []byte
	mine := false
	err = tx.Each(`
		SELECT s.position, s.snapshot FROM document_head h JOIN document_snapshot s USING (tenant_id, document_id)
		WHERE tenant_id = $1 AND document_id = $2 FOR KEY SHARE OF h FOR UPDATE OF s SKIP LOCKED`,
		[]any{k.tenant.String(), k.document.String()}, []any{&s.position, &snapshot}, func() bool { mine = true; return true })
	if err == nil && mine {
		s.doc, err = loadSnapshot(snapshot)
	}
	return s, err
}

// compactChunk moves the rows after the replica's position into a chunk of the history, and tells whether there are more.
func (s *saved) compactChunk(tx *store.Tx, k key) (more bool, err error) {
	part := stretch{since: s.position}
	var p piece
	var at time.Time
	err = tx.Each(`
		SELECT position, op, at FROM (
			SELECT position, op, at, sum(octet_length(op)) OVER (ORDER BY position ROWS UNBOUNDED PRECEDING) - octet_length(op) AS size
			FROM document_operation WHERE tenant_id = $1 AND document_id = $2 AND position > $3 ORDER BY position LIMIT $4
		) o WHERE size < $5 ORDER BY position`, []any{k.tenant.String(), k.document.String(), s.position, chunkRuns, chunkBytes},
		[]any{&p.last, &p.operations, &at}, func() bool {
			p.first = p.last
			part.pieces = append(part.pieces, p)
			return true
		})
	if err != nil || len(part.pieces) == 0 {
		return false, err
	}
	ops, size, err := part.decode()
	if err == nil {
		err = s.apply(ops)
	}
	if err != nil {
		return false, err
	}
	history, err := textcrdt.Pack(textcrdt.AppendOps(nil, ops))
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(`
		WITH old AS (
			DELETE FROM document_operation WHERE tenant_id = $1 AND document_id = $2 AND position <= $4
		)
		INSERT INTO document_history (tenant_id, document_id, first, position, at, operations) VALUES ($1, $2, $3 + 1, $4, $5, $6)`,
		k.tenant.String(), k.document.String(), part.since, s.position, at, history)
	return len(ops) == chunkRuns || size >= chunkBytes, err
}
