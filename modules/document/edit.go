package document

import (
	"context"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/textcrdt"
)

// Edit does edits, whose positions are those of the text at a position, or as it is now if that is nil, to the text as it is now, and returns
// the position of the last operation. What others have inserted stays, and what they have deleted stays away. FORBIDDEN for all but
// editors, INVALID_PARAMS at "position", VALIDATION at "edits[i]" for an edit outside of the text or one that overlaps another, and at "edits" for
// too much. Edits of one document come one after another; it is a part of the transaction that ctx is of, if it is of one.
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
	var ops []textcrdt.Op
	if position != nil {
		if ops, err = translate(s.doc, edits); err != nil {
			return 0, err
		}
	}
	return h.appendOwn(tx, document, &s, func() (_ []textcrdt.Op, err error) {
		if position == nil { // of what it is now that nobody else writes
			ops, err = translate(s.doc, edits)
		}
		if err == nil {
			err = h.bounds.check(s.doc, "edits", ops)
		}
		return ops, err
	})
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
	return h.appendOwn(tx, document, &now, func() ([]textcrdt.Op, error) {
		if err := h.bounds.check(now.doc, "", nil); err != nil { // its text has been in bounds
			return nil, err
		}
		return translate(now.doc, between(now.doc, then.doc))
	})
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
