package bus_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"rowcall/modules/bus"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

func TestMain(m *testing.M) { storetest.Main(m) }

// run lets a bus run until the test ends, or stop is called.
func run(t testing.TB, b bus.Bus) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

// heard is what a topic's handler is given.
type heard chan string

func listen(b bus.Bus, topic string) (heard, func()) {
	h := make(heard, 10_000)
	return h, b.Subscribe(topic, func(payload []byte) { h <- string(payload) })
}

// next returns the next payload.
func (h heard) next(t testing.TB) string {
	t.Helper()
	select {
	case payload := <-h:
		return payload
	case <-time.After(time.Minute):
		t.Fatal("nothing is heard")
		return ""
	}
}

// newPair returns two nodes' buses over one database that hear each other's topic "a".
func newPair(t testing.TB) (db *storetest.Database, a, b *bus.Postgres, onA, onB heard) {
	t.Helper()
	db = storetest.New(t, sqlscripts.Migrations())
	a, b = bus.NewPostgres(db.DB, db.PlatformURL, zap.NewNop()), bus.NewPostgres(db.DB, db.PlatformURL, zap.NewNop())
	onA, _ = listen(a, "a")
	onB, _ = listen(b, "a")
	run(t, a)
	run(t, b)
	if onA.next(t) != "" || onB.next(t) != "" { // they listen
		t.Fatal("something is heard that nobody said")
	}
	return db, a, b, onA, onB
}

func TestPostgres(t *testing.T) {
	t.Parallel()
	db, a, b, onA, onB := newPair(t)
	later, cancel := listen(b, "b") // while it runs
	if got := later.next(t); got != "" {
		t.Errorf("%q", got)
	}
	for _, payload := range []string{"one", "", "with spaces and ü", strings.Repeat("x", bus.MaxPayload)} {
		a.Publish("a", []byte(payload))
		if got := onB.next(t); got != payload {
			t.Errorf("%.100q, want %.100q", got, payload)
		}
	}
	for _, bad := range []string{"\xff", "a\x00b", strings.Repeat("x", bus.MaxPayload+1)} {
		a.Publish("a", []byte(bad))
	}
	a.Publish("b", []byte("other"))
	if got := later.next(t); got != "other" {
		t.Errorf("%q", got)
	}
	cancel()
	a.Publish("b", []byte("nobody"))
	db.Exec(t, `SELECT pg_notify('rowcall_a', '- by a trigger'), pg_notify('rowcall_a', '')`)
	if got := []string{onB.next(t), onB.next(t)}; !slices.Equal(got, []string{"by a trigger", ""}) {
		t.Errorf("%q", got)
	}
	if got := onA.next(t); got != "by a trigger" { // and nothing of its own
		t.Errorf("%q", got)
	}
	wait(t, "what a has counted", func() bool { return a.Stats() == bus.Stats{Sent: 6, Heard: 2, Lost: 3} })
	wait(t, "what b has counted", func() bool { return b.Stats() == bus.Stats{Heard: 8} })
	if len(later) > 0 {
		t.Error("a handler is called after its end")
	}
}

// Many messages go by few statements; who publishes faster than that loses some, and waits for nothing.
func TestPostgresUnderLoad(t *testing.T) {
	t.Parallel()
	_, a, _, _, onB := newPair(t)
	const all = 5000
	for i := range all {
		a.Publish("a", []byte{byte('a' + i%26), byte('a' + i/26%26), byte('a' + i/676)})
	}
	wait(t, "the sending", func() bool {
		s := a.Stats()
		return s.Sent+s.Lost == all
	})
	for range a.Stats().Sent {
		onB.next(t)
	}
}

func TestPostgresConnections(t *testing.T) {
	t.Parallel()
	db, a, b, _, onB := newPair(t)
	db.Exec(t, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'`)
	if got := onB.next(t); got != "" { // so that it looks for itself
		t.Errorf("%q", got)
	}
	wait(t, "the connections", func() bool { return a.Stats().Reconnects == 1 && b.Stats().Reconnects == 1 })
	a.Publish("a", []byte("again"))
	if got := onB.next(t); got != "again" {
		t.Errorf("%q", got)
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
