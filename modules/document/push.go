package document

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// Push appends operations of one site, as textcrdt encodes them, packed or not, and returns a position by which all of them are committed.
// What is there already is not added again, so a push can be repeated. It is done whole or not at all: VALIDATION at "operations" or
// "operations[i]" for one that is malformed, that comes before what it builds upon, or that is too much (MaxPush, MaxRuns, MaxIDs); FORBIDDEN for a
// site of somebody else, and for all but editors. It cannot be a part of a transaction. A ctx that ends is not waited for: then,
// and after UNAVAILABLE or TIMEOUT, it is not known whether the operations were kept.
func (h *Hub) Push(ctx context.Context, document uuid.UUID, site textcrdt.Site, operations []byte) (position int64, err error) {
	ops, err := decodePush(site, operations)
	if err != nil {
		return 0, err
	}
	return h.push(ctx, document, &push{site: site, ops: ops})
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

// push puts a push into the room of its document, and waits for its commit.
func (h *Hub) push(ctx context.Context, document uuid.UUID, p *push) (int64, error) {
	tx, err := h.tx(ctx, auth.ScopeWrite)
	switch {
	case err != nil:
		return 0, err
	case tx.Joined():
		return 0, apperr.New(apperr.InvalidRequest, "What is done to a text cannot be a part of a transaction or of an atomic batch: do it by itself")
	}
	p.user, p.done = tx.Actor.User, make(chan outcome, 1)
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

// number gives the operations of a push of the server's own their ids.
func (r *room) number(tx *store.Tx, p *push, ahead textcrdt.Version) (err error) {
	if r.own == 0 {
		if r.own, r.session, err = giveSite(tx, r.document, 0); err != nil {
			return err
		}
	}
	session := max(r.session, r.doc.Session())
	seq, sum := max(r.persisted[r.own], ahead[r.own])+1, r.doc.Clock()+1
	ops := make([]textcrdt.Op, 0, len(p.ops))
	for _, op := range p.ops {
		op.ID, op.Session, op.Sum = textcrdt.ID{Site: r.own, Seq: seq}, session, sum
		ops = append(ops, split(op)...)
		seq += uint32(op.N)
		sum += uint32(op.N)
	}
	p.ops = ops
	return nil
}

// Edit does edits, whose positions are those of the text at a position, or as it is now if that is nil, to the text as it is now, and returns
// the position of the last operation. What others have inserted stays, and what they have deleted stays away. FORBIDDEN for all but
// editors, INVALID_PARAMS at "position", VALIDATION at "edits[i]" for an edit outside of the text or one that overlaps another, and at "edits" for
// too much. Errors besides as of Push.
func (h *Hub) Edit(ctx context.Context, document uuid.UUID, position *int64, edits []Edit) (int64, error) {
	tx, err := h.tx(ctx, auth.ScopeWrite)
	if err != nil {
		return 0, err
	}
	size := 0
	for i := range edits {
		size += len(edits[i].Insert)
	}
	if size > MaxPush || len(edits) > MaxRuns {
		return 0, apperr.Validation(apperr.Issue{
			Path: "edits", Reason: "are too many: there are at most " + strconv.Itoa(MaxRuns) + " with " + strconv.Itoa(MaxPush) + " bytes",
		})
	}
	s, err := h.loadAt(tx, document, position, Editor)
	if err != nil {
		return 0, err
	}
	ops, err := translate(s.doc, edits)
	if err != nil {
		return 0, err
	}
	return h.pushOwn(ctx, document, ops, s.position)
}

func (h *Hub) pushOwn(ctx context.Context, document uuid.UUID, ops []textcrdt.Op, position int64) (int64, error) {
	if len(ops) == 0 {
		return position, nil
	}
	return h.push(ctx, document, &push{ops: ops})
}

// translate returns the operations of edits to a replica's text, without their own ids. They refer to characters, so they mean the same in
// any later text.
func translate(doc *textcrdt.Doc, edits []Edit) ([]textcrdt.Op, error) {
	order := make([]int, len(edits))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return edits[a].At - edits[b].At })
	end := 0
	for _, i := range order {
		e, issue := edits[i], ""
		switch {
		case e.At < 0 || e.Delete < 0 || e.At > doc.Len() || e.Delete > doc.Len()-e.At:
			issue = "is outside of the text"
		case e.At < end:
			issue = "overlaps another"
		case !utf8.ValidString(e.Insert):
			issue = "is not UTF-8"
		}
		if issue != "" {
			return nil, apperr.Validation(apperr.Issue{Path: apperr.Index("edits", i), Reason: issue})
		}
		end = e.At + e.Delete
	}
	var ops []textcrdt.Op
	for _, i := range slices.Backward(order) { // of what is inserted at one place, the last comes to stand first
		e := edits[i]
		if e.Insert != "" {
			ops = append(ops, textcrdt.Op{N: utf8.RuneCountInString(e.Insert), Ref: doc.Anchor(e.At, false).ID, Text: e.Insert})
		}
		for at := e.At; at < e.At+e.Delete; at++ {
			ops = appendDelete(ops, doc.Anchor(at, true).ID)
		}
	}
	return ops, nil
}

// appendDelete appends the deletion of a character, to that of the one before it if it can.
func appendDelete(ops []textcrdt.Op, id textcrdt.ID) []textcrdt.Op {
	if len(ops) > 0 {
		op := &ops[len(ops)-1]
		if op.Delete && op.Ref.Site == id.Site && op.Ref.Seq+uint32(op.N) == id.Seq {
			op.N++
			return ops
		}
	}
	return append(ops, textcrdt.Op{N: 1, Ref: id, Delete: true})
}

// Restore makes the text what it was at a position, by new operations, and returns the position of the last. Errors as of Edit.
func (h *Hub) Restore(ctx context.Context, document uuid.UUID, position int64) (int64, error) {
	tx, err := h.tx(ctx, auth.ScopeWrite)
	if err != nil {
		return 0, err
	}
	then, err := h.loadAt(tx, document, &position, Editor)
	if err != nil {
		return 0, err
	}
	now, err := h.loadAt(tx, document, nil, Editor)
	if err != nil {
		return 0, err
	}
	ops, err := translate(now.doc, between(now.doc, then.doc))
	if err != nil {
		return 0, err
	}
	return h.pushOwn(ctx, document, ops, now.position)
}

// between returns what makes one text of a document an earlier one. Characters that are in both are in the same order, and whichever is there
// now and was known then is in both, as none comes back. What was deleted and then restored has become other characters, which are left as
// they are where they say the same.
func between(now, then *textcrdt.Doc) []Edit {
	is, was, known := characters(now), characters(then), then.Version()
	var edits []Edit
	i, j := 0, 0
	for i < len(is) || j < len(was) {
		from, at := j, i
		for i < len(is) && is[i].Seq > known[is[i].Site] {
			i++
		}
		for j < len(was) && (i == len(is) || was[j] != is[i]) {
			j++
		}
		if j > from || i > at {
			if e, differs := trim(at, now.AppendText(nil, at, i), then.AppendText(nil, from, j)); differs {
				edits = append(edits, e)
			}
			continue
		}
		i, j = i+1, j+1
	}
	return edits
}

// trim returns what makes one text at a position another, without what both begin and end with.
func trim(at int, is, was []byte) (e Edit, differs bool) {
	for len(is) > 0 && len(was) > 0 {
		r, size := utf8.DecodeRune(is)
		if other, _ := utf8.DecodeRune(was); r != other {
			break
		}
		is, was = is[size:], was[size:]
		at++
	}
	for len(is) > 0 && len(was) > 0 {
		r, size := utf8.DecodeLastRune(is)
		if other, _ := utf8.DecodeLastRune(was); r != other {
			break
		}
		is, was = is[:len(is)-size], was[:len(was)-size]
	}
	return Edit{At: at, Delete: utf8.RuneCount(is), Insert: string(was)}, len(is) > 0 || len(was) > 0
}

// characters returns the ids of the characters of a text.
func characters(doc *textcrdt.Doc) []textcrdt.ID {
	ids := make([]textcrdt.ID, doc.Len())
	for i := range ids {
		ids[i] = doc.Anchor(i, true).ID
	}
	return ids
}
