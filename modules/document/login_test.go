package document_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/textcrdt"
)

// login is a user's, as a node remembers it.
type login struct {
	w      *world
	user   int64
	tag    atomic.Pointer[string] // nil: it is not remembered
	ended  atomic.Bool
	unsure atomic.Bool // nobody can prove it now
	proofs atomic.Int64
}

func (w *world) login(user int64) *login {
	l := &login{w: w, user: user}
	l.remember()
	return l
}

func (l *login) remember() {
	tag := get[string](l.w, `SELECT auth_tag()`)
	l.tag.Store(&tag)
}

// change is something that happens to other logins.
func (w *world) change() { w.exec(`UPDATE tenant SET name = gen_random_uuid()::text`) }

func (l *login) actor() *auth.Actor {
	return &auth.Actor{Tenant: tenant, User: l.user, Role: auth.Member, Scope: auth.ScopeWrite}
}

func (l *login) Tag() (string, bool) {
	tag := l.tag.Load()
	if tag == nil {
		return "", false
	}
	return *tag, true
}

func (l *login) Prove(context.Context) (*auth.Actor, error) {
	l.proofs.Add(1)
	if l.unsure.Load() {
		return nil, apperr.New(apperr.Unavailable, "lost")
	}
	if l.ended.Load() {
		l.tag.Store(nil)
		return nil, apperr.New(apperr.Unauthenticated, "ended")
	}
	l.remember()
	return l.actor(), nil
}

// request is one that has been let in by the memory of the login.
func (l *login) request() context.Context {
	return auth.WithRequest(context.Background(), &auth.Request{Now: time.Now, Actor: l.actor(), Memory: l})
}

func TestTheCommitProvesLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	doc := w.create(2)
	one, two := n.open(doc, 1), n.open(doc, 2)
	l := w.login(1)
	push := func(what string, operations []byte, proofs int64) error {
		t.Helper()
		before := l.proofs.Load()
		_, err := n.Push(l.request(), doc, one.site, operations)
		if got := l.proofs.Load() - before; got != proofs {
			t.Errorf("%s: %d proofs, want %d", what, got, proofs)
		}
		return err
	}
	done := func(what string, operations []byte, proofs int64) {
		t.Helper()
		if err := push(what, operations, proofs); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	a, b, c := one.insert(0, "a"), one.insert(1, "b"), one.insert(2, "c")
	done("remembered", a, 0)
	replica := n.Replica(t.Context(), tenant, doc)
	w.change()
	done("after a change of others", b, 1)
	if n.Replica(t.Context(), tenant, doc) != replica {
		t.Error("the replica has been loaded again, for a change of others")
	}
	done("and once more", c, 0)
	done("what is committed already", c, 1)
	l.tag.Store(nil)
	done("not remembered", one.insert(3, "d"), 1)

	// What a commit has proven holds for the rest of the request.
	l.remember()
	whole := l.request()
	for i := range 2 {
		before := l.proofs.Load()
		if _, err := n.Push(whole, doc, one.site, one.insert(4+i, "e")); err != nil || l.proofs.Load() != before {
			t.Errorf("push %d of a request: %v, %d proofs", i, err, l.proofs.Load()-before)
		}
		w.change()
	}
	if actor, err := auth.ActorFrom(whole); err != nil || actor.User != 1 {
		t.Errorf("%v, %v", actor, err)
	}

	// Who is remembered as one who may not write is asked about first.
	reader := l.request()
	auth.RequestFrom(reader).Actor.Scope = auth.ScopeRead
	l.remember()
	before := l.proofs.Load()
	if _, err := n.Push(reader, doc, one.site, one.insert(6, "f")); err != nil || l.proofs.Load() != before+1 {
		t.Errorf("as a reader: %v, %d proofs", err, l.proofs.Load()-before)
	}

	// What is refused is refused to those whose login holds.
	wants(t, push("malformed", []byte("?"), 1), apperr.ValidationFailed, "operations")
	one.insert(7, "not pushed")
	wants(t, push("early", one.insert(17, "x"), 1), apperr.ValidationFailed, "operations[0]")
	stranger := n.open(doc, 2)
	_, err := n.Push(l.request(), doc, stranger.site, stranger.insert(0, "x"))
	wants(t, err, apperr.Forbidden, "")

	w.change()
	l.ended.Store(true)
	fresh := n.open(doc, 1)
	one.site = fresh.site
	lost := fresh.insert(0, "lost")
	l.unsure.Store(true)
	wants(t, push("not to be proven", lost, 2), apperr.Unavailable, "")
	builds := n.open(doc, 2)
	ops, err := textcrdt.DecodeOps(lost)
	if err == nil {
		err = builds.Apply(ops, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = n.Push(as(2), doc, builds.site, builds.insert(1, "upon what may be lost"))
	wants(t, err, apperr.ValidationFailed, "operations[0]")
	l.unsure.Store(false)
	for _, proofs := range []int64{2, 1} { // remembered as of an old tag, by the room too, and then not at all
		wants(t, push("ended", lost, proofs), apperr.Unauthenticated, "")
		wants(t, push("ended, and malformed", []byte("?"), 1), apperr.Unauthenticated, "")
	}
	// Nothing of that has been left where others could build upon it.
	two.read(n)
	two.push(n, two.insert(0, "z"))
	if err := two.Apply(ops, nil); err != nil {
		t.Fatal(err)
	}
	_, err = n.Push(as(2), doc, two.site, two.insert(3, "upon what is lost"))
	wants(t, err, apperr.ValidationFailed, "operations[0]")
	if got := n.whole(doc); got != "zabcdeef" {
		t.Errorf("the text is %q", got)
	}
}

// Logins change all the time, and some end: what is acknowledged is there once, and nothing is that was pushed after the end.
func TestLoginsEndWhileTheirUsersWrite(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	var users []int64
	for user := range int64(8) {
		users = append(users, user+1)
	}
	doc := w.create(users[1:]...)
	other := w.create(users[1:]...) // whose groups go together with those of the first
	stop := make(chan struct{})
	var changes, writers sync.WaitGroup
	changes.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.change()
			}
		}
	})
	logins := map[int64]*login{}
	for _, user := range users {
		logins[user] = w.login(user)
	}
	var acknowledged, proofs atomic.Int64
	for i, user := range users {
		writers.Go(func() {
			n, l, id := nodes[i%2], logins[user], doc
			if i%3 == 0 {
				id = other
			}
			r := n.open(id, user)
			for k := range 24 {
				over := l.ended.Load()
				_, err := n.Push(l.request(), id, r.site, r.insert(r.Len(), fmt.Sprintf("%d ", k)))
				switch {
				case err == nil && over:
					t.Errorf("%d has written after the end of their login", user)
				case err == nil:
					acknowledged.Add(1)
				case apperr.From(err).Kind != apperr.Unauthenticated:
					t.Error(err)
				default:
					return
				}
				if user%2 == 0 && k == 10+i {
					l.ended.Store(true)
					w.change() // which tells of it
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	changes.Wait()
	for _, l := range logins {
		proofs.Add(l.proofs.Load())
	}
	committed := get[int64](w, `SELECT count(*) FROM document_operation`)
	if got := acknowledged.Load(); got != committed || proofs.Load() == 0 {
		t.Errorf("%d pushes are acknowledged, and %d are there; %d proofs", got, committed, proofs.Load())
	}
	nodes[0].whole(doc)
	nodes[1].whole(other)
}

// Of groups that are written together, each is proven by itself.
func TestTogetherProvesLogins(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	gone := w.login(1)
	w.change()
	gone.ended.Store(true)
	here := w.login(1)
	const many, alone = 7, 3
	replicas, errs := make([]*replica, many), make([]error, many)
	for i := range replicas {
		replicas[i] = n.open(w.create(), 1)
		replicas[i].push(n, replicas[i].insert(0, "a"))
	}
	locked, err := w.owner.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Exec(`SELECT FROM document_head FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	for i, r := range replicas {
		ctx := here.request()
		if i >= alone && i%2 == 0 {
			ctx = gone.request()
		}
		clients.Go(func() { _, errs[i] = n.Push(ctx, r.doc, r.site, r.insert(1, "b")) })
		wait(t, "the writers", func() bool { return n.Writing(tenant) == i+1 })
	}
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	for i, r := range replicas {
		want, text := apperr.Kind(""), "ab"
		if i >= alone && i%2 == 0 {
			want, text = apperr.Unauthenticated, "a"
		}
		if got := n.whole(r.doc); got != text || errs[i] == nil && want != "" || errs[i] != nil && apperr.From(errs[i]).Kind != want {
			t.Errorf("%d: %q, %v", i, got, errs[i])
		}
	}
	if s := n.Stats(); s.Together < many-alone || here.proofs.Load() > 0 {
		t.Errorf("%d were written together, with %d proofs", s.Together, here.proofs.Load())
	}
}

// A group is as old as the oldest memory in it.
func TestGroupsAreProvenForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	doc := w.create(2)
	gone := w.login(1)
	w.change()
	gone.ended.Store(true)
	here := w.login(2)
	one, two, busy := n.open(doc, 1), n.open(doc, 2), n.open(doc, 2)
	locked, err := w.owner.BeginTx(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := locked.Exec(`SELECT FROM document_head FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	var clients sync.WaitGroup
	clients.Go(func() { busy.push(n, busy.insert(0, "c")) })
	wait(t, "the writer", func() bool { return n.Writing(tenant) == 1 })
	clients.Go(func() {
		_, err := n.Push(gone.request(), doc, one.site, one.insert(0, "a"))
		wants(t, err, apperr.Unauthenticated, "")
	})
	wait(t, "the first", func() bool { return n.Waiting(tenant, doc) == 1 })
	clients.Go(func() {
		if _, err := n.Push(here.request(), doc, two.site, two.insert(0, "b")); err != nil {
			t.Error(err)
		}
	})
	wait(t, "the second", func() bool { return n.Waiting(tenant, doc) == 2 })
	if err := locked.Rollback(); err != nil {
		t.Fatal(err)
	}
	clients.Wait()
	if got := n.whole(doc); len(got) != 2 || strings.Contains(got, "a") {
		t.Errorf("the text is %q", got)
	}
}
