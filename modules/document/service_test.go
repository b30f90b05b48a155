package document_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/document"
	"rowcall/modules/textcrdt"
)

// Compaction goes on while others write and read, and changes nothing that they see.
func TestCompaction(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	doc := w.create(2)
	stop := make(chan struct{})
	var background sync.WaitGroup
	background.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if err := n.Compact(context.Background(), tenant, doc); err != nil {
				t.Error(err)
				return
			}
		}
	})
	f := n.follow(doc, 1, 0)
	follower := n.open(doc, 1)
	follower.Doc = textcrdt.New(0, 0) // from the beginning
	var clients sync.WaitGroup
	for user := int64(1); user <= 2; user++ {
		r := n.open(doc, user)
		clients.Go(func() {
			err := repeat(150, func(i int) error { return push(n, r, r.insert(r.Len()/2, strings.Repeat("x", i%4+1))) })
			if err != nil {
				t.Error(user, err)
			}
		})
	}
	for range 20 {
		n.open(doc, 1)
	}
	clients.Wait()
	close(stop)
	background.Wait()
	if err := n.Compact(context.Background(), tenant, doc); err != nil {
		t.Fatal(err)
	}
	text := n.whole(doc)
	if f.until(follower, n); follower.String() != text || len(text) != 2*(150*5/2-2) {
		t.Errorf("%d and %d characters", follower.Len(), len(text))
	}
	if rows := get[int](w, `SELECT count(*) FROM document_operation`); rows != 0 {
		t.Errorf("%d rows are left", rows)
	}
	position := int64(100)
	if length := len(n.text(doc, &position)); length < 100 {
		t.Errorf("%d characters at 100", length)
	}
	p, err := n.Read(as(1), doc, 7, 5)
	if err != nil || p.Position < 8 || p.Position > 12 || p.Head != 300 {
		t.Errorf("%d of %d, %v", p.Position, p.Head, err)
	}
	r := n.open(doc, 1) // whose room has not seen any of that
	r.push(n, r.insert(0, "y"))
	n.whole(doc)
}

// A log that has grown gets a snapshot without anybody asking for one, also if the node has gone that should have made it.
func TestSnapshots(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := &node{Hub: document.NewHub(document.Config{DB: w.DB, Touch: w.touch, Logger: zap.NewNop()}), w: w} // it does nothing in the background
	grow := func(n *node, runs int) *replica {
		t.Helper()
		r := n.open(w.create(), 1)
		for runs > 0 {
			var ops []textcrdt.Op
			for range min(runs, document.MaxRuns) {
				op, err := r.Insert(r.Len()/2, "x") // none follows the one before
				if err != nil {
					t.Fatal(err)
				}
				ops = append(ops, op...)
			}
			r.push(n, textcrdt.AppendOps(nil, ops))
			runs -= len(ops)
		}
		return r
	}
	left := grow(gone, 2*document.MaxTail+1)
	n := w.node()
	for _, r := range []*replica{left, grow(n, document.MaxTail+1)} {
		wait(t, "the snapshot", func() bool {
			return get[bool](w, `SELECT s.position = h.position FROM document_snapshot s JOIN document_head h USING (document_id)
				WHERE document_id = $1`, r.doc.String())
		})
		wait(t, "the document's row", func() bool {
			return get[bool](w, `SELECT d.position = h.position FROM document d JOIN document_head h ON h.document_id = d.id
				WHERE d.id = $1`, r.doc.String())
		})
		if text := n.whole(r.doc); text != r.String() {
			t.Errorf("%d characters, want %d", len(text), r.Len())
		}
	}
}

// Nobody waits for a follower who takes nothing.
func TestSlowFollower(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	r := n.open(doc, 1)
	slow, live := n.followWith(doc, 1, 0, 0), n.follow(doc, 1, 0)
	copied := &replica{Doc: textcrdt.New(0, 0), t: t, doc: doc, user: 1}
	for range 24 {
		live.to(copied, r.push(n, r.insert(0, strings.Repeat("x", 200<<10))))
	}
	if why := slow.end(); why != document.Resync {
		t.Errorf("%s", why)
	}
	if s := n.Stats(); s.Slow != 1 || s.Followers != 1 {
		t.Errorf("%+v", s)
	}
	again := n.follow(doc, 1, 0) // who comes later reads what was there
	fresh := &replica{Doc: textcrdt.New(0, 0), t: t, doc: doc, user: 1}
	if again.to(fresh, 24); fresh.Len() != copied.Len() || fresh.Len() != 24*200<<10 {
		t.Errorf("%d and %d characters", fresh.Len(), copied.Len())
	}
}

// Who is no longer a member sees nothing that is written after that, on any node, and writes nothing.
func TestMembers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	doc := w.create(2, 3)
	a, b := nodes[0].open(doc, 1), nodes[0].open(doc, 2)
	a.push(nodes[0], a.insert(0, "a"))
	b.push(nodes[0], b.insert(0, "b"))
	gone := []*follower{nodes[0].follow(doc, 2, 2), nodes[1].follow(doc, 2, 2)}
	stays := nodes[1].follow(doc, 3, 2)
	w.remove(doc, 2)
	wants(t, push(nodes[0], b, b.insert(0, "late")), apperr.NotFound, "")
	a.push(nodes[0], a.insert(0, "c"))
	for i, f := range gone {
		select {
		case why := <-f.ended:
			if why != document.Forbidden || len(f.frames) > 0 {
				t.Errorf("%d: %s with %d frames", i, why, len(f.frames))
			}
		case <-time.After(time.Minute):
			t.Fatal("it does not end")
		}
	}
	stays.to(nodes[1].open(doc, 3), 3)
	w.setRole(doc, 3, document.Reader)
	c := nodes[1].open(doc, 3)
	wants(t, push(nodes[1], c, c.insert(0, "x")), apperr.Forbidden, "")
	w.setRole(doc, 3, document.Editor)
	c = nodes[1].open(doc, 3)
	c.push(nodes[1], c.insert(0, "x"))
	_, err := nodes[0].Follow(as(2), doc, 0, stays)
	wants(t, err, apperr.NotFound, "")
	_, err = nodes[0].Follow(as(1), doc, 99, stays)
	wants(t, err, apperr.ResyncRequired, "")
	w.delete(doc)
	if why := stays.end(); why != document.Deleted {
		t.Errorf("%s", why)
	}
	wants(t, push(nodes[1], c, c.insert(0, "x")), apperr.NotFound, "")
	if rows := get[int](w, `SELECT count(*) FROM document_operation`); rows != 0 {
		t.Errorf("%d operations are left of it", rows)
	}
}

// What is sent waits until it is known whose login has ended by the time that it was committed; a commit that has proven a login knows it.
func TestLoginsThatEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked, known atomic.Bool
	here, there := w.node(), w.nodeWith(document.Config{DB: w.DB, Bus: deaf{}, Touch: w.touch, Logger: zap.NewNop(), Revoked: func(context.Context) error {
		asked.Store(true)
		if !known.Load() {
			return apperr.New(apperr.Unavailable, "not yet")
		}
		return nil
	}})
	doc := w.create()
	f, copied, l := there.follow(doc, 1, 0), there.open(doc, 1), w.login(1)
	for _, n := range []*node{here, there} {
		asked.Store(false)
		known.Store(false)
		r := n.open(doc, 1)
		position := r.push(n, r.insert(0, "x"))
		wait(t, "the question", asked.Load)
		if len(f.frames) > 0 {
			t.Error("it does not wait")
		}
		known.Store(true)
		f.to(copied, position)
	}
	asked.Store(false)
	r := there.open(doc, 1)
	position, err := there.Push(l.request(), doc, r.site, r.insert(0, "x"))
	if err != nil {
		t.Fatal(err)
	}
	if f.to(copied, position); asked.Load() {
		t.Error("it is asked in vain")
	}
}

// A document's row is written at most once a second, whatever many nodes do, and in the end it says how far the log has come.
func TestTouches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	doc := w.create(2)
	start := time.Now()
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i, n := range nodes {
		r := n.open(doc, int64(i+1))
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					r.push(n, r.insert(0, "x"))
				}
			}
		})
	}
	wait(t, "touches", func() bool { return w.touched.Load() >= 3 })
	if n, most := w.touched.Load(), int64(time.Since(start)/time.Second)+1; n > most {
		t.Errorf("%d touches, and at most %d are allowed", n, most)
	}
	close(stop)
	clients.Wait()
	wait(t, "the last", func() bool {
		return get[bool](w, `SELECT h.position = d.position FROM document_head h JOIN document d ON d.id = h.document_id`)
	})
	if n, most := w.touched.Load(), int64(time.Since(start)/time.Second)+1; n > most {
		t.Errorf("%d touches, and at most %d are allowed", n, most)
	}
}

// Who may not, or cannot be heard, changes nothing.
func TestScopes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create()
	r := n.open(doc, 1)
	batch := r.insert(0, "x")
	readOnly := auth.WithRequest(context.Background(), &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: tenant, User: 1, Role: auth.Member, Scope: auth.ScopeRead},
	})
	_, err := n.Push(readOnly, doc, r.site, batch)
	wants(t, err, apperr.Forbidden, "")
	if _, err := n.Read(readOnly, doc, 0, 0); err != nil {
		t.Error(err)
	}
	elsewhere := auth.WithRequest(context.Background(), &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: uuid.New(), User: 1, Role: auth.Owner, Scope: auth.ScopeAdmin},
	})
	_, err = n.Push(elsewhere, doc, r.site, batch)
	wants(t, err, apperr.NotFound, "")
	_, err = n.Open(elsewhere, doc, document.OpenOptions{})
	wants(t, err, apperr.NotFound, "")
	_, err = n.Open(context.Background(), doc, document.OpenOptions{})
	wants(t, err, apperr.Unauthenticated, "")
	gone, cancel := context.WithCancel(as(1))
	cancel()
	if _, err := n.Push(gone, doc, r.site, batch); err == nil {
		t.Log("it was faster than the end of its context")
	}
	r.push(n, batch)
	if text := n.whole(doc); text != "x" {
		t.Errorf("%q", text)
	}
}

// Those who have only read a document do not make it slower to open.
func TestManySites(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	doc := w.create()
	w.exec(`INSERT INTO document_site (tenant_id, document_id, site) SELECT $1, $2, i FROM generate_series(1, 20000) i`, tenant.String(), doc.String())
	w.exec(`ANALYZE document_site`)
	tx, err := w.Session(as(1))
	if err != nil {
		t.Fatal(err)
	}
	var plan []string
	err = tx.Select(&plan, `EXPLAIN SELECT site, seq FROM document_site WHERE tenant_id = $1 AND document_id = $2 AND written`, tenant.String(), doc.String())
	if text := strings.Join(plan, "\n"); err != nil || !strings.Contains(text, "document_site_written") {
		t.Errorf("%v\n%s", err, text)
	}
}

const presenceWait = 20 * time.Second // less than after which a presence is forgotten

func TestPresence(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	doc := w.create(2)
	a := nodes[0].open(doc, 1)
	here, there := nodes[0].follow(doc, 2, 0), nodes[1].follow(doc, 2, 0)
	show := func(text string) {
		t.Helper()
		if err := nodes[0].Show(as(1), doc, a.site, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	next := func(f *follower, name string) {
		t.Helper()
		for end := time.After(time.Minute); ; {
			select {
			case frame := <-f.frames:
				m := f.parse(frame)
				if m.Site != a.site || m.User != 1 || m.Document != doc {
					t.Errorf("%+v", m)
				}
				if m.Presence == nil && name == "" || m.Presence != nil && m.Presence.Name == name {
					return
				}
			case <-end:
				t.Fatal("nobody shows ", name)
			}
		}
	}
	wait(t, "the nodes to hear of each other", func() bool {
		show(`{"name": "Ann"}`)
		select {
		case frame := <-there.frames:
			return there.parse(frame).Presence.Name == "Ann"
		default:
			return false
		}
	})
	next(here, "Ann")
	late := nodes[1].follow(doc, 1, 0)
	next(late, "Ann")
	for range 100 {
		show(`{"name": "Bob"}`)
	}
	show(`{"name": "Cem"}`)
	next(there, "Cem")
	show(`null`)
	for _, f := range []*follower{here, there, late} {
		next(f, "")
	}

	// A node that had not had a document open learns who is there.
	other := w.create(2)
	if err := nodes[0].Show(as(1), other, nodes[0].open(other, 1).site, []byte(`{"name": "Dan"}`)); err != nil {
		t.Fatal(err)
	}
	b := nodes[1].open(doc, 2)
	wait(t, "the second node to hear of the first", func() bool {
		if err := nodes[1].Show(as(2), doc, b.site, []byte(`{"name": "Eve"}`)); err != nil {
			t.Fatal(err)
		}
		select {
		case <-here.frames:
			return true
		default:
			return false
		}
	})
	first := nodes[1].follow(other, 2, 0)
	select {
	case frame := <-first.frames:
		if m := first.parse(frame); m.Presence == nil || m.Presence.Name != "Dan" {
			t.Errorf("it has %+v", m)
		}
	case <-time.After(presenceWait):
		t.Error("nobody says that they are there")
	}
	wants(t, nodes[0].Show(as(2), doc, a.site, []byte(`{}`)), apperr.Forbidden, "")
	wants(t, nodes[0].Show(as(1), doc, a.site, []byte(`[]`)), apperr.ValidationFailed, "presence")
	wants(t, nodes[0].Show(as(9), doc, a.site, []byte(`{}`)), apperr.NotFound, "")
}
