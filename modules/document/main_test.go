package document_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/bus"
	"rowcall/modules/document"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/modules/textcrdt"
	"rowcall/sqlscripts"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var tenant = uuid.MustParse("00000000-0000-4000-8000-00000000000a")

// world is a database with a tenant, whose users are 1 to 9, and its nodes.
type world struct {
	*storetest.Database
	t       testing.TB
	owner   *sql.DB
	touched atomic.Int64
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{Database: storetest.New(t, sqlscripts.Migrations()), t: t}
	w.owner = w.Owner(t)
	w.exec(`INSERT INTO tenant (id, slug, name) VALUES ($1, 'a', 'A')`, tenant.String())
	w.exec(`INSERT INTO account (id, username, name, pwd) SELECT i, i, i, '' FROM generate_series(1, 99) i`)
	w.exec(`INSERT INTO membership (tenant_id, user_id, role, cid, mid) SELECT $1, i, 'member', i, i FROM generate_series(1, 99) i`, tenant.String())
	return w
}

// exec runs a statement as the owner, around the fences.
func (w *world) exec(query string, args ...any) {
	w.t.Helper()
	if _, err := w.owner.ExecContext(context.Background(), query, args...); err != nil {
		w.t.Fatal(err)
	}
}

// get returns what a query of one value returns.
func get[T any](w *world, query string, args ...any) (v T) {
	w.t.Helper()
	if err := w.owner.QueryRowContext(context.Background(), query, args...).Scan(&v); err != nil {
		w.t.Fatal(err)
	}
	return v
}

// create makes a document of user 1, with others as editors.
func (w *world) create(editors ...int64) uuid.UUID {
	w.t.Helper()
	id := uuid.New()
	tx, err := w.owner.BeginTx(context.Background(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	_, err = tx.Exec(`INSERT INTO document (tenant_id, id, owner_id, title, position, edited_at, version, cid, ctime, mid, mtime)
		VALUES ($1, $2, 1, 'a text', 0, now() - interval '1 minute', 1, 1, now(), 1, now())`, tenant.String(), id.String())
	for _, user := range append([]int64{1}, editors...) {
		_, memberErr := tx.Exec(`INSERT INTO document_member (tenant_id, id, document_id, user_id, role, version, cid, ctime, mid, mtime)
			VALUES ($1, gen_random_uuid(), $2, $3, 'editor', 1, 1, now(), 1, now())`, tenant.String(), id.String(), user)
		err = errors.Join(err, memberErr)
	}
	if err := errors.Join(err, tx.Commit()); err != nil {
		w.t.Fatal(err)
	}
	return id
}

func (w *world) setRole(doc uuid.UUID, user int64, role document.Role) {
	w.t.Helper()
	w.exec(`UPDATE document_member SET role = $3 WHERE document_id = $1 AND user_id = $2`, doc.String(), user, string(role))
}

func (w *world) remove(doc uuid.UUID, user int64) {
	w.t.Helper()
	w.exec(`DELETE FROM document_member WHERE document_id = $1 AND user_id = $2`, doc.String(), user)
}

// delete deletes a document as its methods do.
func (w *world) delete(doc uuid.UUID) {
	w.t.Helper()
	w.exec(`WITH d AS (DELETE FROM document WHERE id = $1) DELETE FROM document_member WHERE document_id = $1`, doc.String())
}

// touch is what an application does.
func (w *world) touch(tx *store.Tx, doc uuid.UUID, version, position int64, at time.Time) error {
	n, err := tx.Exec(`UPDATE document SET position = $4, edited_at = $5, version = version + 1
		WHERE tenant_id = $1 AND id = $2 AND version = $3`, tx.Actor.Tenant.String(), doc.String(), version, position, at)
	if err == nil && n == 0 {
		err = apperr.New(apperr.Conflict, "another version")
	}
	if err == nil {
		w.touched.Add(1)
	}
	return err
}

// node is a running Hub.
type node struct {
	*document.Hub
	w    *world
	stop func() // and wait
}

func (w *world) node() *node {
	w.t.Helper()
	b := bus.NewPostgres(w.DB, w.PlatformURL, zap.NewNop())
	return w.nodeWith(document.Config{DB: w.DB, Bus: b, Touch: w.touch, Logger: zap.NewNop()}, b.Run)
}

func (w *world) nodeWith(cfg document.Config, others ...func(context.Context)) *node {
	w.t.Helper()
	n := &node{Hub: document.NewHub(cfg), w: w}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, run := range append(others, n.Run) {
		running.Go(func() { run(ctx) })
	}
	n.stop = func() {
		cancel()
		running.Wait()
	}
	w.t.Cleanup(n.stop)
	return n
}

func as(user int64) context.Context {
	return auth.WithRequest(context.Background(), &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: tenant, User: user, Role: auth.Member, Scope: auth.ScopeWrite},
	})
}

// replica is what a client has.
type replica struct {
	*textcrdt.Doc
	t    testing.TB
	doc  uuid.UUID
	user int64
	site textcrdt.Site
	at   int64 // position
}

// open begins a replica.
func (n *node) open(doc uuid.UUID, user int64) *replica {
	n.w.t.Helper()
	o, err := n.Open(as(user), doc, document.OpenOptions{})
	if err != nil {
		n.w.t.Fatal(err)
	}
	r := &replica{t: n.w.t, doc: doc, user: user, site: o.Site, at: o.SnapshotPosition}
	if o.Snapshot == nil {
		r.Doc = textcrdt.New(o.Site, o.Session)
	} else if r.Doc, err = textcrdt.Load(o.Site, o.Session, o.Snapshot); err != nil {
		n.w.t.Fatal(err)
	}
	r.take(o.Page)
	r.read(n)
	return r
}

// take applies a page.
func (r *replica) take(p document.Page) {
	r.t.Helper()
	if p.Operations != nil {
		ops, err := textcrdt.DecodeOps(p.Operations)
		if err != nil || int64(len(ops)) != p.Position-r.at {
			r.t.Fatalf("%d operations to %d, after %d: %v", len(ops), p.Position, r.at, err)
		}
		if err := r.Apply(ops, nil); err != nil {
			r.t.Fatal(err)
		}
	}
	r.at = p.Position
}

// read brings the replica to the head.
func (r *replica) read(n *node) {
	r.t.Helper()
	for {
		p, err := n.Read(as(r.user), r.doc, r.at, 0)
		if err != nil {
			r.t.Fatal(err)
		}
		if p.Head == r.at {
			return
		}
		r.take(p)
	}
}

// insert edits the replica, and returns what to push.
func (r *replica) insert(pos int, text string) []byte {
	r.t.Helper()
	ops, err := r.Insert(pos, text)
	if err != nil {
		r.t.Fatal(err)
	}
	return textcrdt.AppendOps(nil, ops)
}

func (r *replica) push(n *node, operations []byte) int64 {
	r.t.Helper()
	position, err := n.Push(as(r.user), r.doc, r.site, operations)
	if err != nil {
		r.t.Fatal(err)
	}
	return position
}

// text returns the text at a position as the database has it.
func (n *node) text(doc uuid.UUID, position *int64) string {
	n.w.t.Helper()
	text, _, err := n.TextAt(as(1), doc, position)
	if err != nil {
		n.w.t.Fatal(err)
	}
	return text
}

func wants(t testing.TB, err error, kind apperr.Kind, path string) {
	t.Helper()
	if err == nil || apperr.From(err).Kind != kind {
		t.Errorf("%v, want %s", err, kind)
		return
	}
	if issues := apperr.From(err).Issues(); path != "" && (len(issues) != 1 || issues[0].Path != path) {
		t.Errorf("%v, want an issue at %s", err, path)
	}
}

func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waiting for ", what)
		}
	}
}

// whole fails the test unless a document's log is dense, without overlaps, and gives the same text from the beginning as from its snapshot.
func (n *node) whole(doc uuid.UUID) string {
	n.w.t.Helper()
	all := &replica{Doc: textcrdt.New(0, 0), t: n.w.t, doc: doc, user: 1}
	all.read(n)
	text := n.text(doc, nil)
	if opened := n.open(doc, 1); opened.String() != text || all.String() != text {
		n.w.t.Errorf("%d characters from the snapshot, %d from the beginning, of %d", opened.Len(), all.Len(), len(text))
	}
	if head := get[int64](n.w, `SELECT position FROM document_head WHERE document_id = $1`, doc.String()); head != all.at {
		n.w.t.Errorf("the head is at %d, and the operations end at %d", head, all.at)
	}
	return text
}

func repeat(n int, do func(i int) error) error {
	for i := range n {
		if err := do(i); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
	}
	return nil
}
