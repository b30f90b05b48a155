package document_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/document"
	"rowcall/modules/textcrdt"
)

var errUndone = errors.New("undone")

// What is written in a transaction is kept with it, or not at all, and followers see it after the commit only.
func TestTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	r, f := n.open(doc, 1), n.follow(doc, 1, 0)
	copied := n.open(doc, 1)
	r.push(n, r.insert(0, "abc"))
	pushed := r.insert(3, "def")
	type step = func(ctx context.Context) (int64, error)
	steps := []step{
		func(ctx context.Context) (int64, error) { return n.Push(ctx, doc, r.site, pushed) },
		func(ctx context.Context) (int64, error) {
			return n.Edit(ctx, doc, nil, []document.Edit{{Delete: 1, Insert: "A"}, {At: 6, Insert: "!"}})
		},
		func(ctx context.Context) (int64, error) { return n.Restore(ctx, doc, 1) },
		func(ctx context.Context) (int64, error) {
			return n.Edit(ctx, doc, new(int64(2)), []document.Edit{{At: 6, Insert: "?"}})
		},
	}
	together := func(undo error) (positions []int64, err error) {
		return positions, w.Atomic(as(1), func(ctx context.Context) error {
			for _, do := range steps {
				position, err := do(ctx)
				if err != nil {
					return err
				}
				positions = append(positions, position)
			}
			return undo
		})
	}
	if _, err := together(errUndone); !errors.Is(err, errUndone) {
		t.Fatal(err)
	}
	f.until(copied, n)
	if text := n.whole(doc); text != "abc" || copied.String() != text || f.at != 1 {
		t.Errorf("%q is kept, and a follower at %d has %q", text, f.at, copied)
	}
	positions, err := together(nil)
	if err != nil || !slices.IsSorted(positions) || positions[0] != 2 {
		t.Fatalf("at %v, %v", positions, err)
	}
	f.to(copied, positions[3])
	if text := n.whole(doc); text != "abc?" || copied.String() != text || f.at != positions[3] {
		t.Errorf("%q is kept, and a follower at %d, not %d, has %q", text, f.at, positions[3], copied)
	}
	if position := r.push(n, pushed); position != positions[3] { // which is there
		t.Errorf("again at %d", position)
	}
	r.read(n)
	r.push(n, r.insert(0, ">")) // by a room that has seen the rest
	f.until(copied, n)
	if text := n.whole(doc); text != ">abc?" || copied.String() != text {
		t.Errorf("%q, and a follower has %q", text, copied)
	}
}

// A push in a transaction takes what is not there yet of it, and is checked as any.
func TestPushInTransaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create(2, 3)
	w.setRole(doc, 3, document.Reader)
	r, other, reader := n.open(doc, 1), n.open(doc, 2), n.open(doc, 3)
	push := func(user int64, site textcrdt.Site, batch []byte) (position int64, err error) {
		return position, w.Atomic(as(user), func(ctx context.Context) (err error) {
			position, err = n.Push(ctx, doc, site, batch)
			return err
		})
	}
	r.push(n, r.insert(0, "ab"))
	ops, err := r.Insert(2, "cd")
	if err != nil {
		t.Fatal(err)
	}
	whole := textcrdt.Op{ID: textcrdt.ID{Site: r.site, Seq: 1}, Session: ops[0].Session, Sum: 1, N: 4, Text: "abcd"}
	for range 2 {
		if position, err := push(1, r.site, textcrdt.AppendOps(nil, []textcrdt.Op{whole})); err != nil || position != 2 {
			t.Errorf("at %d, %v", position, err)
		}
	}
	early := whole
	early.Seq, early.Sum, early.Ref = 6, 6, textcrdt.ID{Site: r.site, Seq: 5}
	_, err = push(1, r.site, textcrdt.AppendOps(nil, []textcrdt.Op{early}))
	wants(t, err, apperr.ValidationFailed, "operations[0]")
	_, err = push(1, other.site, other.insert(0, "x"))
	wants(t, err, apperr.Forbidden, "")
	_, err = push(3, reader.site, reader.insert(0, "x"))
	wants(t, err, apperr.Forbidden, "")
	_, err = push(4, reader.site, reader.insert(0, "x"))
	wants(t, err, apperr.NotFound, "")
	if text := n.whole(doc); text != "abcd" {
		t.Errorf("%q", text)
	}
}

// Edits of no replica, alone and in transactions, stand beside what many type on two nodes.
func TestEditsBesideTypists(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	doc := w.create(2, 3, 4, 5, 6, 7, 8, 9, 10)
	const typists, strokes, editors, edits = 10, 40, 4, 15
	var all sync.WaitGroup
	var replicas []*replica
	var followers []*follower
	for i := range typists {
		n, user := nodes[i%2], int64(i+1)
		r := n.open(doc, user)
		replicas, followers = append(replicas, r), append(followers, n.follow(doc, user, 0))
		all.Go(func() {
			err := repeat(strokes, func(i int) error { return push(n, r, r.insert(i*7%(r.Len()+1), "x")) })
			if err != nil {
				t.Error(user, err)
			}
		})
	}
	for i := range editors {
		n, user := nodes[i%2], int64(i+1)
		all.Go(func() {
			err := repeat(edits, func(k int) error {
				edit := func(ctx context.Context) error {
					_, err := n.Edit(ctx, doc, nil, []document.Edit{{Insert: "E"}})
					return err
				}
				if k%2 == 0 {
					return edit(as(user))
				}
				return w.Atomic(as(user), edit)
			})
			if err != nil {
				t.Error("editor", i, err)
			}
		})
	}
	all.Wait()
	text := nodes[0].whole(doc)
	if len(text) != typists*strokes+editors*edits || strings.Count(text, "E") != editors*edits {
		t.Errorf("%d characters, %d of edits", len(text), strings.Count(text, "E"))
	}
	for i, f := range followers {
		copied := &replica{Doc: textcrdt.New(0, 0), t: t, doc: doc, user: replicas[i].user}
		if f.until(copied, nodes[i%2]); copied.String() != text {
			t.Errorf("follower %d has %q", i, copied)
		}
	}
	if sites := get[int](w, `SELECT count(*) FROM document_site WHERE user_id IS NULL`); sites != 1 {
		t.Errorf("the server writes as %d sites", sites)
	}
	if n := get[int](w, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
}

// An edit that waits for the end of a role comes after it.
func TestEditAfterRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create(2)
	tx, err := w.owner.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if _, err := tx.ExecContext(t.Context(), `UPDATE document_member SET role = 'reader' WHERE document_id = $1 AND user_id = 2`, doc.String()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := n.Edit(as(2), doc, nil, []document.Edit{{Insert: "x"}})
		done <- err
	}()
	wait(t, "the edit to wait", func() bool {
		return get[bool](w, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock')`)
	})
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	wants(t, <-done, apperr.Forbidden, "")
	if text := n.whole(doc); text != "" {
		t.Errorf("%q", text)
	}
}

// A database that was restored from a backup has forgotten what the server wrote since, so it writes as another site.
func TestServerSite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	edit := func() {
		t.Helper()
		if _, err := n.Edit(as(1), doc, nil, []document.Edit{{Insert: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	sites := func(want int) {
		t.Helper()
		if sites := get[int](w, `SELECT count(DISTINCT site) FROM document_operation`); sites != want {
			t.Errorf("%d sites, want %d", sites, want)
		}
	}
	edit()
	edit()
	sites(1)
	w.exec(`CALL new_epoch()`)
	n.open(doc, 1) // is the first to be given a site
	edit()
	edit()
	sites(2)
	w.exec(`CALL new_epoch()`)
	edit()
	sites(3)
	if text := n.whole(doc); text != "xxxxx" {
		t.Errorf("%q", text)
	}
}

// What only edits have written gets a snapshot.
func TestSnapshotOfEdits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	for range 2 {
		edits := make([]document.Edit, document.MaxTail)
		for i := range edits {
			edits[i].Insert = "x"
		}
		if _, err := n.Edit(as(1), doc, nil, edits); err != nil {
			t.Fatal(err)
		}
	}
	wait(t, "the snapshot", func() bool {
		return get[bool](w, `SELECT s.position = h.position FROM document_snapshot s JOIN document_head h USING (document_id)`)
	})
	n.whole(doc)
}
