package document_test

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/document"
	"rowcall/modules/textcrdt"
)

func TestPush(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	doc := w.create(2, 3)
	w.setRole(doc, 3, document.Commenter)
	a, b := n.open(doc, 1), n.open(doc, 2)
	if a.site == b.site {
		t.Fatal("both are site ", a.site)
	}
	hello, world := a.insert(0, "hello"), a.insert(5, " world")
	wants(t, push(n, a, world), apperr.ValidationFailed, "operations[0]") // early
	if p := a.push(n, hello); p != 1 {
		t.Errorf("at %d", p)
	}
	if p := a.push(n, hello); p != 1 {
		t.Errorf("a repeat is at %d", p)
	}
	both, err := a.Operations(nil) // one run of both, of which the first half is known
	if err != nil {
		t.Fatal(err)
	}
	if p := a.push(n, textcrdt.AppendOps(nil, both)); p != 2 {
		t.Errorf("the rest is at %d", p)
	}
	if p := a.push(n, world); p != 2 {
		t.Errorf("a repeat in other runs is at %d", p)
	}
	b.read(n)
	if b.String() != "hello world" {
		t.Errorf("%q", b.String())
	}
	ops, err := b.Delete(0, 6)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := textcrdt.Pack(textcrdt.AppendOps(nil, ops))
	if err != nil {
		t.Fatal(err)
	}
	b.push(n, packed)
	if text := n.whole(doc); text != "world" {
		t.Errorf("%q", text)
	}
	one := int64(1)
	if text := n.text(doc, &one); text != "hello" {
		t.Errorf("%q at 1", text)
	}

	reader := n.open(doc, 3)
	wants(t, push(n, reader, reader.insert(0, "x")), apperr.Forbidden, "")
	_, err = n.Push(as(4), doc, a.site, hello)
	wants(t, err, apperr.NotFound, "")
	_, err = n.Push(as(2), doc, a.site, hello)
	wants(t, err, apperr.Forbidden, "")
	_, err = n.Push(as(2), doc, b.site, hello)
	wants(t, err, apperr.ValidationFailed, "operations[0]")
	_, err = n.Push(as(2), doc, 77, textcrdt.AppendOps(nil, []textcrdt.Op{{ID: textcrdt.ID{Site: 77, Seq: 1}, Session: 1, Sum: 1, N: 1, Text: "x"}}))
	wants(t, err, apperr.Forbidden, "")
	wants(t, push(n, b, []byte("nothing")), apperr.ValidationFailed, "operations")
	wants(t, push(n, b, make([]byte, document.MaxPush+1)), apperr.ValidationFailed, "operations")
	vast := textcrdt.Op{ID: textcrdt.ID{Site: b.site, Seq: 1}, Sum: 2, N: document.MaxIDs + 1, Ref: textcrdt.ID{Site: a.site, Seq: 1}, Delete: true}
	wants(t, push(n, b, textcrdt.AppendOps(nil, []textcrdt.Op{vast})), apperr.ValidationFailed, "operations")

	// What says that it is too much is believed, and not unpacked to see.
	big := binary.AppendUvarint([]byte{'r', 'c', 'o', 1 | 1<<7}, document.MaxPush)
	big = binary.LittleEndian.AppendUint32(big, crc32.Checksum(big, crc32.MakeTable(crc32.Castagnoli)))
	if err := push(n, b, big); err == nil || !strings.Contains(err.Error(), "too many") {
		t.Error(err)
	}

	// A batch with something bad is refused whole.
	seq := b.Version()[b.site]
	good := textcrdt.Op{ID: textcrdt.ID{Site: b.site, Seq: seq + 1}, Session: 1, Sum: b.Clock() + 1, N: 1, Text: "y"}
	bad := good
	bad.Seq, bad.Sum, bad.Ref = good.Seq+1, good.Sum+1, textcrdt.ID{Site: 99, Seq: 1}
	wants(t, push(n, b, textcrdt.AppendOps(nil, []textcrdt.Op{good, bad})), apperr.ValidationFailed, "operations[1]")
	if text := n.whole(doc); text != "world" {
		t.Errorf("%q", text)
	}
	_, _, err = n.TextAt(as(1), doc, new(int64(4)))
	wants(t, err, apperr.InvalidParams, "position")
	_, err = n.Read(as(1), doc, 4, 0)
	wants(t, err, apperr.ResyncRequired, "")
	_, err = n.Open(as(2), doc, document.OpenOptions{Site: a.site})
	wants(t, err, apperr.Forbidden, "")
	o, err := n.Open(as(1), doc, document.OpenOptions{Site: a.site, Since: new(int64(2))})
	if err != nil || o.Site != a.site || o.Position != 3 || o.Head != 3 || o.Snapshot != nil || o.Version[a.site] != 11 {
		t.Errorf("%+v, %v", o, err)
	}
}

func push(n *node, r *replica, operations []byte) error {
	_, err := n.Push(as(r.user), r.doc, r.site, operations)
	return err
}

// Whatever many do on two nodes at once, all replicas come to the same text, and nothing acknowledged is lost when a node goes.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	doc := w.create(2, 3, 4, 5, 6)
	const each = 60
	var clients sync.WaitGroup
	for user := int64(1); user <= 6; user++ {
		n := nodes[user%2]
		f := n.follow(doc, user, 0)
		r := n.open(doc, user)
		clients.Go(func() {
			for i := range each {
				f.drain(r)
				var ops []textcrdt.Op
				var err error
				if length := r.Len(); i%4 == 3 && length > 2 {
					at := rand.IntN(length - 1)
					ops, err = r.Delete(at, 1+rand.IntN(min(3, length-at)))
				} else {
					ops, err = r.Insert(rand.IntN(length+1), strings.Repeat(string(rune('a'+user)), 1+i%3))
				}
				if err != nil {
					t.Error(err)
					return
				}
				batch := textcrdt.AppendOps(nil, ops)
				if err := push(nodes[(int(user)+i/20)%2], r, batch); err != nil { // it changes the node
					t.Error(user, i, err)
					return
				}
				if i%7 == 0 {
					if err := push(nodes[(int(user)+i/20+1)%2], r, batch); err != nil {
						t.Error("repeated: ", user, i, err)
					}
				}
			}
			f.until(r, nodes[0])
		})
	}
	clients.Wait()
	text := nodes[0].whole(doc)
	nodes[0].stop()
	if after := nodes[1].whole(doc); after != text || text == "" {
		t.Errorf("%q and %q", text, after)
	}
	s := nodes[1].Stats()
	t.Logf("%d operations in %d commits on one node", s.Operations, s.Commits)
}

// Documents of a tenant that are written at once are written together, and what is wrong with one of them does not touch the others.
func TestManyDocuments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	var clients sync.WaitGroup
	docs := make([]uuid.UUID, 24)
	for i := range docs {
		docs[i] = w.create(2)
		for user, n := range nodes {
			r := n.open(docs[i], int64(user+1))
			clients.Go(func() {
				err := repeat(25, func(i int) error {
					batch := r.insert(r.Len(), "x")
					if i%5 > 0 {
						return push(n, r, batch)
					}
					var other error
					var both sync.WaitGroup
					both.Go(func() { other = push(nodes[1-user], r, batch) })
					err := push(n, r, batch)
					both.Wait()
					return errors.Join(err, other)
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
	}
	clients.Wait()
	for _, doc := range docs {
		if text := nodes[0].whole(doc); len(text) != 50 {
			t.Errorf("%q", text)
		}
	}
	if n := get[int](w, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
	a, b := nodes[0].Stats(), nodes[1].Stats()
	t.Logf("of %d groups, %d were written with others", a.Commits+b.Commits, a.Together+b.Together)
}

// Of groups that are written together, one that cannot be written does not hurt the others.
func TestTogether(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	const many, alone = 12, 3
	replicas := make([]*replica, many)
	for i := range replicas {
		replicas[i] = n.open(w.create(), 1)
		replicas[i].push(n, replicas[i].insert(0, "a"))
	}
	bad := replicas[many-1]
	w.exec(`UPDATE document_site SET seq = 7 WHERE document_id = $1`, bad.doc.String())
	w.exec(`UPDATE document_member SET version = 2 WHERE document_id = $1`, replicas[many-2].doc.String()) // the room has to look again
	locked, err := w.owner.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Exec(`SELECT FROM document_head FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	errs := make([]error, many)
	var clients sync.WaitGroup
	for i, r := range replicas {
		clients.Go(func() { errs[i] = push(n, r, r.insert(1, "b")) })
		wait(t, "the writers", func() bool { return n.Writing(tenant) == i+1 })
	}
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	for i, r := range replicas[:many-1] {
		if errs[i] != nil || n.whole(r.doc) != "ab" {
			t.Errorf("%d: %v", i, errs[i])
		}
	}
	wants(t, errs[many-1], apperr.Internal, "")
	if s := n.Stats(); s.Together < many-alone {
		t.Errorf("%d were written together", s.Together)
	}
}

// The schema itself refuses operations that are there already or that leave some out, whoever adds them.
func TestNoOverlap(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	doc := w.create()
	r := n.open(doc, 1)
	r.push(n, r.insert(0, "abc"))
	for _, rows := range []string{
		`(2, 2, 4)`, `(2, 5, 5)`, `(2, 4, 4), (3, 6, 6)`, `(2, 4, 5), (3, 5, 5), (4, 7, 7)`, `(2, 4, 5), (3, 5, 6)`, `(2, 1, 3)`,
	} {
		_, err := w.owner.Exec(`INSERT INTO document_operation (tenant_id, document_id, position, site, seq, until, user_id, op)
			SELECT $1, $2, position, $3, seq, until, 1, '' FROM (VALUES `+rows+`) AS v (position, seq, until)`,
			tenant.String(), doc.String(), int64(r.site))
		if err == nil || !strings.Contains(err.Error(), "do not follow") {
			t.Errorf("%s: %v", rows, err)
		}
	}
	r.push(n, r.insert(3, "d"))
	if text := n.whole(doc); text != "abcd" {
		t.Errorf("%q", text)
	}
}
