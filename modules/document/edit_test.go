package document_test

import (
	"strings"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/document"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

func TestEdit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create(2, 3)
	w.setRole(doc, 3, document.Reader)
	edit := func(position *int64, edits ...document.Edit) int64 {
		t.Helper()
		at, err := n.Edit(as(2), doc, position, edits)
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	f, r := n.follow(doc, 1, 0), n.open(doc, 1)
	is := func(want string) {
		t.Helper()
		f.until(r, n)
		if text := n.whole(doc); text != want || r.String() != want {
			t.Errorf("%q, and %q for a follower, want %q", text, r.String(), want)
		}
	}
	first := edit(nil, document.Edit{Insert: "one two three"})
	is("one two three")
	edit(nil, document.Edit{At: 8, Delete: 5, Insert: "3"}, document.Edit{At: 0, Delete: 3, Insert: "1"}, document.Edit{At: 4, Insert: "a"}, document.Edit{At: 4, Insert: "b"})
	is("1 abtwo 3")
	r.push(n, r.insert(0, "é€😀 "))
	is("é€😀 1 abtwo 3")
	edit(&first, document.Edit{At: 4, Delete: 4, Insert: "2 "}) // in a text that is no more
	is("é€😀 1 2 ab3")
	edit(nil, document.Edit{At: 2, Delete: 1})
	is("é€ 1 2 ab3")
	edit(nil)
	is("é€ 1 2 ab3")
	at, err := n.Restore(as(2), doc, first)
	if err != nil {
		t.Fatal(err)
	}
	is("one two three")
	if at != f.at {
		t.Errorf("restored at %d, and the head is %d", at, f.at)
	}
	if again, err := n.Restore(as(2), doc, first); err != nil || again != at {
		t.Errorf("again at %d, %v", again, err)
	}
	if at, err = n.Restore(as(2), doc, 0); err != nil {
		t.Fatal(err)
	}
	is("")

	for _, bad := range []struct {
		edits []document.Edit
		path  string
	}{
		{[]document.Edit{{At: 1}}, "edits[0]"},
		{[]document.Edit{{Insert: "a"}, {Delete: 1}}, "edits[1]"},
		{[]document.Edit{{Insert: "\xff"}}, "edits[0]"},
		{[]document.Edit{{At: -1}}, "edits[0]"},
		{[]document.Edit{{Insert: strings.Repeat("x", document.MaxPush+1)}}, "edits"},
	} {
		_, err := n.Edit(as(2), doc, nil, bad.edits)
		wants(t, err, apperr.ValidationFailed, bad.path)
	}
	_, err = n.Edit(as(2), doc, &first, []document.Edit{{Delete: 2}, {At: 1, Delete: 1}})
	wants(t, err, apperr.ValidationFailed, "edits[1]")
	_, err = n.Edit(as(2), doc, new(at+1), nil)
	wants(t, err, apperr.InvalidParams, "position")
	_, err = n.Edit(as(3), doc, nil, []document.Edit{{Insert: "a"}})
	wants(t, err, apperr.Forbidden, "")
	_, err = n.Edit(as(3), doc, nil, nil)
	wants(t, err, apperr.Forbidden, "")
	_, err = n.Restore(as(3), doc, 0) // as it is
	wants(t, err, apperr.Forbidden, "")
	_, err = n.Restore(as(4), doc, first)
	wants(t, err, apperr.NotFound, "")
}

// A site can say that its session is any; whatever the server does comes after it.
func TestEditAfterSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	edit := func(e document.Edit) {
		t.Helper()
		if _, err := n.Edit(as(1), doc, nil, []document.Edit{e}); err != nil {
			t.Fatal(err)
		}
	}
	edit(document.Edit{Insert: "a"})
	o, err := n.Open(as(1), doc, document.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	op := textcrdt.Op{ID: textcrdt.ID{Site: o.Site, Seq: 1}, Session: 1 << 30, Sum: 2, N: 1, Ref: textcrdt.ID{Site: 1, Seq: 1}, Text: "b"}
	if _, err := n.Push(as(1), doc, o.Site, textcrdt.AppendOps(nil, []textcrdt.Op{op})); err != nil {
		t.Fatal(err)
	}
	edit(document.Edit{At: 2, Insert: "c"})
	if text := n.whole(doc); text != "abc" {
		t.Errorf("%q", text)
	}
}

func TestBegin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	text := strings.Repeat("a€", document.RunText/2)
	begin := func(text string) error {
		return w.InTx(as(1), func(tx *store.Tx) error { return document.Begin(tx, doc, text) })
	}
	wants(t, begin("\xff"), apperr.ValidationFailed, "text")
	if err := begin(text); err != nil {
		t.Fatal(err)
	}
	if n.whole(doc) != text {
		t.Error("another text")
	}
	for _, position := range []int64{0, 2} { // without the text, and with some of it again
		if _, err := n.Restore(as(1), doc, position); err != nil {
			t.Fatal(err)
		}
	}
	if then := n.text(doc, new(int64(2))); n.whole(doc) != then || len(then) <= document.RunText {
		t.Error("another text is restored")
	}
	for p, err := n.Read(as(1), doc, 0, 0); ; p, err = n.Read(as(1), doc, p.Position, 0) {
		if err != nil {
			t.Fatal(err)
		}
		ops, err := textcrdt.DecodeOps(p.Operations)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops { // which are stored each in a row, and read some at a time
			if len(op.Text) > document.RunText {
				t.Errorf("an operation has %d bytes of text", len(op.Text))
			}
		}
		if p.Position == p.Head {
			break
		}
	}
}
