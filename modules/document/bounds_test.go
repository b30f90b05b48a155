package document_test

import (
	"context"
	"strings"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/document"
)

func TestDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	n.Bound(1000, 1<<20)
	doc := w.create()
	r := n.open(doc, 1)
	first := r.insert(0, strings.Repeat("a", 990))
	r.push(n, first)
	_, err := n.Push(as(1), doc, r.site, r.insert(0, strings.Repeat("é", 6)))
	wants(t, err, apperr.ValidationFailed, "operations")
	_, err = n.Edit(as(1), doc, nil, []document.Edit{{Insert: strings.Repeat("x", 11)}})
	wants(t, err, apperr.ValidationFailed, "edits")
	err = w.Atomic(as(1), func(ctx context.Context) error {
		_, err := n.Push(ctx, doc, r.site, first)
		if err != nil {
			t.Errorf("what is there: %v", err)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	// What is there already needs no room, and what deletes makes some.
	other := n.open(doc, 1)
	other.push(n, other.insert(0, strings.Repeat("é", 5)))
	if _, err := n.Push(as(1), doc, r.site, first); err != nil {
		t.Error(err)
	}
	_, err = n.Edit(as(1), doc, nil, []document.Edit{{Delete: 500}})
	if err != nil {
		t.Fatal(err)
	}
	other.push(n, other.insert(0, strings.Repeat("b", 400)))
	if got := n.whole(doc); got != strings.Repeat("b", 400)+strings.Repeat("a", 495) {
		t.Errorf("%q", got)
	}
}

func TestRunsOfDocumentsAreBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	const most = 1000
	n.Bound(1<<20, most)
	doc := w.create()
	r := n.open(doc, 1)
	r.push(n, r.insert(0, strings.Repeat("a", 4*most)))
	var err error
	pushed := 0
	for ; err == nil && pushed < most; pushed++ {
		_, err = n.Push(as(1), doc, r.site, r.insert(3*pushed+1, "x"))
	}
	wants(t, err, apperr.ValidationFailed, "operations")
	if pushed < most/6 { // each insertion cuts one in two, and a third of the room is in use at least
		t.Errorf("after %d", pushed)
	}
	_, err = n.Edit(as(1), doc, nil, []document.Edit{{At: 5, Delete: 1}})
	wants(t, err, apperr.ValidationFailed, "edits")
	_, err = n.Restore(as(1), doc, 1)
	wants(t, err, apperr.ValidationFailed, "")
	if text := n.whole(doc); len(text) != 4*most+pushed-1 {
		t.Errorf("%d characters after %d", len(text), pushed)
	}
}
