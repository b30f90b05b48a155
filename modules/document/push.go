package document

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/textcrdt"
)

// Push appends operations of one site, as textcrdt encodes them, packed or not, and returns a position by which all of them are committed.
// What is there already is not added again, so a push can be repeated. It is done whole or not at all: VALIDATION at "operations" or
// "operations[i]" for one that is malformed, that comes before what it builds upon, or that is too much (MaxPush, MaxRuns, MaxIDs); FORBIDDEN for a
// site of somebody else, and for all but editors. If ctx is that of a transaction, it is a part of that, and others who write the document
// wait for the end of it. Otherwise a ctx that ends is not waited for: then, and after UNAVAILABLE or TIMEOUT, it is not known whether
// the operations were kept.
func (h *Hub) Push(ctx context.Context, document uuid.UUID, site textcrdt.Site, operations []byte) (position int64, err error) {
	ops, err := decodePush(site, operations)
	if err != nil {
		return 0, err
	}
	tx, err := h.tx(ctx, auth.ScopeWrite)
	switch {
	case err != nil:
		return 0, err
	case tx.Joined():
		return h.appendPush(tx, document, site, ops)
	}
	p := &push{user: tx.Actor.User, site: site, ops: ops, done: make(chan outcome, 1)}
	r := h.enter(key{tx.Actor.Tenant, document})
	r.pushes, r.written = append(r.pushes, p), time.Now()
	r.wake()
	r.mu.Unlock()
	var result outcome
	h.Aside(ctx, func() {
		select {
		case result = <-p.done:
		case <-ctx.Done():
			result.err = ctx.Err()
		}
	})
	return result.position, result.err
}

func decodePush(site textcrdt.Site, operations []byte) ([]textcrdt.Op, error) {
	tooMuch := apperr.Validation(apperr.Issue{
		Path:   "operations",
		Reason: fmt.Sprintf("are too many: a push has at most %d, with %d ids, in %d bytes", MaxRuns, MaxIDs, MaxPush),
	})
	if len(operations) > MaxPush {
		return nil, tooMuch
	}
	if size, err := textcrdt.UnpackedSize(operations); err == nil && size > MaxPush {
		return nil, tooMuch
	}
	ops, err := textcrdt.DecodeOps(operations)
	switch {
	case err != nil:
		return nil, apperr.Wrap(apperr.ValidationFailed, "Validation failed: operations are malformed", err).
			With("issues", []apperr.Issue{{Path: "operations", Reason: "are malformed"}})
	case len(ops) > MaxRuns:
		return nil, tooMuch
	}
	ids := 0
	for i := range ops {
		if ops[i].Site != site || site == 0 {
			return nil, apperr.Validation(apperr.Issue{Path: apperr.Index("operations", i), Reason: "is of another site"})
		}
		if ids += ops[i].N; ids > MaxIDs { // which are at most 1<<31 each
			return nil, tooMuch
		}
	}
	return ops, nil
}
