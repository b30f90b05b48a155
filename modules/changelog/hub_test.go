package changelog_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/bus"
	"rowcall/modules/changelog"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

// plain shows every entry of two entities to everybody, and counts how often it does.
type plain struct{ appended atomic.Int64 }

func (*plain) Entities() []string                                           { return []string{"even", "odd"} }
func (p *plain) NewReader(*store.Tx, []uuid.UUID) (changelog.Reader, error) { return p, nil }
func (*plain) Sees(*changelog.Entry) (changelog.Sight, error)               { return changelog.Whole, nil }
func (p *plain) Append(b []byte, e *changelog.Entry, _ auth.Role, _ changelog.Sight) ([]byte, error) {
	p.appended.Add(1)
	return append(strconv.AppendInt(append(b, `"id":`...), e.Position, 10), `,"entity":`+strconv.Quote(e.Entity)...), nil
}

// hub is a running Hub.
type hub struct {
	*changelog.Hub
	t     testing.TB
	db    *storetest.Database
	bus   *bus.Postgres
	views *plain
}

func newHub(t testing.TB, db *storetest.Database) *hub {
	t.Helper()
	h := &hub{t: t, db: db, bus: bus.NewPostgres(db.DB, db.PlatformURL, zap.NewNop()), views: &plain{}}
	h.Hub = changelog.NewHub(changelog.HubConfig{
		DB: db.DB, Log: changelog.New(), Views: h.views, Bus: h.bus, Logger: zap.NewNop(),
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() { h.bus.Run(ctx) })
	running.Go(func() { h.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return h
}

// follower takes what a subscription brings.
type follower struct {
	*changelog.Subscription
	t       testing.TB
	changes chan changelog.Change // one that is full blocks
	ended   chan changelog.Ending
	epoch   string
	gone    chan struct{}
}

func (f *follower) Deliver(changes []changelog.Change) error {
	for _, c := range changes {
		select {
		case f.changes <- c:
		case <-f.gone:
			return errors.New("gone")
		}
	}
	return nil
}

func (f *follower) End(why changelog.Ending) { f.ended <- why }

// follow starts a subscription whose follower has room for so many changes.
func (h *hub) follow(tenant uuid.UUID, of changelog.Interest, room int) *follower {
	h.t.Helper()
	f, _, err := h.subscribe(tenant, of, room)
	if err != nil {
		h.t.Fatal(err)
	}
	f.Start()
	return f
}

func (h *hub) subscribe(tenant uuid.UUID, of changelog.Interest, room int) (*follower, changelog.Head, error) {
	f := &follower{t: h.t, changes: make(chan changelog.Change, room), ended: make(chan changelog.Ending, 1), gone: make(chan struct{})}
	ctx := auth.WithRequest(context.WithoutCancel(h.t.Context()), &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: tenant, User: 7, Role: auth.Member, Scope: auth.ScopeRead},
	})
	sub, head, err := h.Subscribe(ctx, of, f)
	if err == nil {
		f.Subscription, f.epoch = sub, head.Epoch
		h.t.Cleanup(func() {
			close(f.gone)
			sub.Close()
		})
	}
	return f, head, err
}

// next returns the next change.
func (f *follower) next() changelog.Change {
	f.t.Helper()
	select {
	case c := <-f.changes:
		return c
	case why := <-f.ended:
		f.t.Fatal("it ended: ", why)
	case <-time.After(time.Minute):
		f.t.Fatal("nothing comes")
	}
	return changelog.Change{}
}

// all fails the test unless the next changes are those after one position up to another.
func (f *follower) all(after, to int64) {
	f.t.Helper()
	for p := after + 1; p <= to; p++ {
		if c := f.next(); c.Position != p || c.Prev != p-1 {
			f.t.Fatalf("%+v, want %d", c, p)
		}
	}
}

// end returns why the subscription ended, whatever comes before.
func (f *follower) end() changelog.Ending {
	f.t.Helper()
	for {
		select {
		case <-f.changes:
		case why := <-f.ended:
			return why
		case <-time.After(time.Minute):
			f.t.Fatal("it does not end")
		}
	}
}

// grow appends entries to a log that fill has made, and returns its head.
func (h *hub) grow(tenant uuid.UUID, n int) (head int64) {
	h.t.Helper()
	err := h.db.Owner(h.t).QueryRowContext(h.t.Context(), `
		WITH h AS (UPDATE change_head SET head = head + $2 WHERE tenant_id = $1 RETURNING head),
		e AS (INSERT INTO change (tenant_id, position, at, actor, method, entity, row_id, op, version, data)
			SELECT $1, p, now(), 7, '', CASE p % 2 WHEN 1 THEN 'odd' ELSE 'even' END, p, 'create', 1, '{}'
			FROM h, generate_series(h.head - $2 + 1, h.head) p)
		SELECT head FROM h`, tenant.String(), n).Scan(&head)
	if err != nil {
		h.t.Fatal(err)
	}
	return head
}

func TestSubscriptions(t *testing.T) {
	t.Parallel()
	h := newHub(t, newDB(t))
	fill(t, h.db, tenantA, 3000, 1)
	fill(t, h.db, tenantB, 5, 1)
	fromStart, live := h.follow(tenantA, changelog.Interest{Since: new(int64(0))}, 10), h.follow(tenantA, changelog.Interest{}, 10)
	other := h.follow(tenantB, changelog.Interest{}, 10)
	odd := h.follow(tenantA, changelog.Interest{Since: new(int64(2990)), Entities: []string{"odd"}}, 100)
	fromStart.all(0, 3000)
	head := h.grow(tenantA, 5)
	h.Wake(tenantA, head)
	fromStart.all(3000, head)
	live.all(3000, head)
	prev := int64(2990)
	for p := int64(2991); p <= head; p += 2 {
		if c := odd.next(); c.Position != p || c.Prev != prev || string(c.Text) != fmt.Sprintf(`"id":%d,"entity":"odd"`, p) {
			t.Fatalf("%+v %s, want %d after %d", c, c.Text, p, prev)
		}
		prev = p
	}
	wait(t, "the position", func() bool { return live.Position() == head && odd.Position() == head })
	h.Wake(tenantB, h.grow(tenantB, 1)) // a wake-up for each tenant: had another's entry come, it would be first
	other.all(5, 6)

	for _, of := range []changelog.Interest{{Since: new(head + 1)}, {Epoch: "another"}} {
		if _, _, err := h.subscribe(tenantA, of, 0); apperr.From(err) == nil || apperr.From(err).Kind != apperr.ResyncRequired {
			t.Errorf("%+v: %v", of, err)
		}
	}
	if _, _, err := h.subscribe(tenantA, changelog.Interest{Entities: []string{"odd", "nothing"}}, 0); len(apperr.From(err).Issues()) != 1 {
		t.Errorf("an unknown entity: %v", err)
	}
}

func TestEntriesAreEncodedOnceAndMemoryIsBounded(t *testing.T) {
	t.Parallel()
	h := newHub(t, newDB(t))
	fill(t, h.db, tenantA, 1, 1)
	var all []*follower
	for range 20 {
		all = append(all, h.follow(tenantA, changelog.Interest{}, 10))
	}
	for range 5 {
		h.Wake(tenantA, h.grow(tenantA, 2))
	}
	for _, f := range all {
		f.all(1, 11)
	}
	if n := h.views.appended.Load(); n != 10 {
		t.Errorf("10 entries were encoded %d times", n)
	}
	head := h.grow(tenantA, 2*changelog.MaxTail)
	h.Wake(tenantA, head)
	all[0].all(11, head)
	if n, _ := h.Tail(tenantA); n > changelog.MaxTail {
		t.Errorf("%d entries are kept", n)
	}
	for _, f := range all {
		f.Close()
	}
	if n, _ := h.Tail(tenantA); n >= 0 || h.Stats().Open != 0 {
		t.Errorf("%d entries are kept of a tenant without subscribers, and %d are open", n, h.Stats().Open)
	}
}

// Nobody waits for a subscriber who takes nothing, and in the end they are let go.
func TestSlowSubscribers(t *testing.T) {
	t.Parallel()
	h := newHub(t, newDB(t))
	fill(t, h.db, tenantA, 1, 1)
	slow, live := h.follow(tenantA, changelog.Interest{}, 0), h.follow(tenantA, changelog.Interest{}, 1000)
	var head int64 = 1
	for range 3 {
		before := head
		head = h.grow(tenantA, 300)
		h.Wake(tenantA, head)
		live.all(before, head)
	}
	slow.all(1, head) // they have missed nothing
	h.Wake(tenantA, h.grow(tenantA, 10))
	before := head + 10
	wait(t, "a delivery that blocks", func() bool { return live.Position() == before })
	live.Close()
	head = h.grow(tenantA, changelog.MaxBehind+1)
	h.Wake(tenantA, head)
	wait(t, "the reader", func() bool {
		_, position := h.Tail(tenantA)
		return position == head
	})
	if why := slow.end(); why != changelog.Slow {
		t.Errorf("%s", why)
	}
	if s := h.Stats(); s.Slow != 1 {
		t.Errorf("%+v", s)
	}
}

func TestSubscriptionsThatMustStartOver(t *testing.T) {
	t.Parallel()
	h := newHub(t, newDB(t))
	fill(t, h.db, tenantA, 100, 1)
	behind, _, err := h.subscribe(tenantA, changelog.Interest{Since: new(int64(10))}, 200)
	if err != nil {
		t.Fatal(err)
	}
	prune(t, h.db, tenantA, 20) // between the subscription and its first entry
	behind.Start()
	if why := behind.end(); why != changelog.Pruned {
		t.Errorf("after pruning: %s", why)
	}
	live := h.follow(tenantA, changelog.Interest{}, 10)
	h.db.Exec(t, `CALL new_epoch()`)
	if why := live.end(); why != changelog.Epoch {
		t.Errorf("in another epoch: %s", why)
	}
	wait(t, "the new epoch", func() bool { // the log asks for it from time to time
		f, head, err := h.subscribe(tenantB, changelog.Interest{}, 0)
		if err == nil {
			f.Close()
		}
		return err == nil && head.Position == 0
	})
	wait(t, "an end of what has ended", func() bool { return h.Stats().Open == 0 })
}

// Nobody waits for a subscriber who does not take that it has ended.
func TestEndsThatBlock(t *testing.T) {
	t.Parallel()
	h := newHub(t, newDB(t))
	fill(t, h.db, tenantA, 1, 1)
	blocked := h.follow(tenantA, changelog.Interest{}, 0)
	blocked.ended = make(chan changelog.Ending) // for which nobody waits yet
	h.db.Exec(t, `CALL new_epoch()`)
	wait(t, "the end", func() bool { return h.Stats().Resyncs == 1 })
	var live *follower
	wait(t, "the new epoch", func() bool { // the log asks for it from time to time
		f, head, err := h.subscribe(tenantA, changelog.Interest{}, 10)
		if err != nil || head.Epoch == blocked.epoch {
			return false
		}
		live = f
		return true
	})
	live.Start()
	h.grow(tenantA, 1) // of which nobody is told
	live.all(1, 2)
	if why := blocked.end(); why != changelog.Epoch {
		t.Errorf("%s", why)
	}
}

// What another node says is a hint; what it does not say, the poll finds.
func TestNodes(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	a, b := newHub(t, db), newHub(t, db)
	fill(t, db, tenantA, 1, 1)
	onA, onB := a.follow(tenantA, changelog.Interest{}, 10), b.follow(tenantA, changelog.Interest{}, 10)
	wait(t, "each to hear of the other", func() bool { return a.bus.Stats().Heard > 0 && b.bus.Stats().Heard > 0 })
	heard := b.bus.Stats().Heard
	a.Wake(tenantA, a.grow(tenantA, 1))
	onA.all(1, 2)
	onB.all(1, 2)
	wait(t, "the notification", func() bool { return b.bus.Stats().Heard > heard })
	a.grow(tenantA, 1) // of which nobody is told
	onA.all(2, 3)
	onB.all(2, 3)

	db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
	a.Wake(tenantA, a.grow(tenantA, 1))
	onB.all(3, 4)
	wait(t, "the connections", func() bool { return a.bus.Stats().Reconnects > 0 && b.bus.Stats().Reconnects > 0 })
}

func wait(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(4 * time.Minute); !done(); time.Sleep(time.Millisecond) { // some wait for 65,536 entries to be read
		if time.Now().After(end) {
			t.Fatal("waiting for ", what)
		}
	}
}
