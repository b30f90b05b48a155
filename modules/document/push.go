package document

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/textcrdt"
)

// Push appends operations of one site, as textcrdt encodes them, packed or not, and returns a position by which all of them are committed.
// What is there already is not added again, so a push can be repeated. It is done whole or not at all: VALIDATION at "operations" or
// "operations[i]" for one that is malformed, that comes before what it builds upon, or that is too much (MaxPush, MaxRuns, MaxIDs, MaxText, MaxTextRuns); FORBIDDEN for a
// site of somebody else, and for all but editors. If ctx is that of a transaction, it is a part of that, and others who write the document
// wait for the end of it. Otherwise a ctx that ends is not waited for: then, and after UNAVAILABLE or TIMEOUT, it is not known whether
// the operations were kept.
//
// The commit proves the login of a request with an [auth.Memory]. What does not come to one is refused only when that is proven.
func (h *Hub) Push(ctx context.Context, document uuid.UUID, site textcrdt.Site, operations []byte) (position int64, err error) {
	ops, err := decodePush(site, operations)
	request := auth.RequestFrom(ctx)
	if err == nil && request.Memory != nil && request.Actor.Can(auth.Member, auth.ScopeWrite) == nil {
		p := &push{memory: request.Memory, site: site, ops: ops}
		if position, err = h.push(ctx, request.Actor, document, p); err == nil {
			request.Memory = nil // it is proven, for the rest of the request too
			return position, nil
		}
	}
	tx, unproven := h.tx(ctx, auth.ScopeWrite)
	switch {
	case unproven != nil:
		return 0, unproven
	case err != nil && !errors.Is(err, errUnproven):
		return 0, err
	case tx.Joined():
		return h.appendPush(tx, document, site, ops)
	}
	return h.push(ctx, tx.Actor, document, &push{site: site, ops: ops})
}

// push waits until a room has committed operations of an actor.
func (h *Hub) push(ctx context.Context, actor *auth.Actor, document uuid.UUID, p *push) (position int64, err error) {
	p.user, p.done = actor.User, make(chan outcome, 1)
	r := h.enter(key{actor.Tenant, document})
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
