package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/modules/bus"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

var errAway = errors.New("the broker is away")

// exchange is a broker in memory.
type exchange struct {
	mu    sync.Mutex
	away  bool
	conns map[*conn]bool
	sent  int
}

// conn is a connection to an exchange.
type conn struct {
	x    *exchange
	got  chan []byte
	lost chan struct{} // closed when the exchange goes away
}

func (x *exchange) dial(context.Context) (bus.Connection, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.away {
		return nil, errAway
	}
	c := &conn{x, make(chan []byte, 1000), make(chan struct{})}
	x.conns[c] = true
	return c, nil
}

// turn lets the exchange go away, with all connections, or come back.
func (x *exchange) turn(away bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.away = away
	if away {
		for c := range x.conns {
			close(c.lost)
		}
		clear(x.conns)
	}
}

func (x *exchange) connected() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.conns)
}

func (c *conn) Send(_ context.Context, body []byte) error {
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	if c.x.away {
		return errAway
	}
	c.x.sent++
	for to := range c.x.conns {
		to.got <- body
	}
	return nil
}

func (c *conn) Receive(ctx context.Context) ([]byte, error) {
	select {
	case body := <-c.got:
		return body, nil
	case <-c.lost:
		return nil, errAway
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *conn) Close(context.Context) error {
	c.x.mu.Lock()
	defer c.x.mu.Unlock()
	delete(c.x.conns, c)
	return nil
}

func TestBroker(t *testing.T) {
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	x := &exchange{conns: map[*conn]bool{}}
	logs, logged := observer.New(zapcore.WarnLevel)
	node := func() *bus.Broker {
		return bus.NewBroker(x.dial, bus.NewPostgres(db.DB, db.PlatformURL, zap.NewNop()), zap.New(logs))
	}
	a, b := node(), node()
	onA, _ := listen(a, "a")
	onB, _ := listen(b, "a")
	onOther, cancel := listen(b, "b")
	x.turn(true) // not there yet
	run(t, a)
	stopB := run(t, b)
	wait(t, "that they notice", func() bool { return logged.FilterMessageSnippet("is away").Len() >= 2 })
	x.turn(false)
	for _, h := range []heard{onA, onB, onOther} { // they listen to the broker, and to triggers
		for range 2 {
			if got := h.next(t); got != "" {
				t.Fatalf("%q is heard, which nobody said", got)
			}
		}
	}

	a.Publish("a", []byte("one"))
	a.Publish("b", []byte("other"))
	a.Publish("a", nil)
	if got := []string{onB.next(t), onB.next(t), onOther.next(t)}; fmt.Sprint(got) != "[one  other]" {
		t.Errorf("%q", got)
	}
	db.Exec(t, `SELECT pg_notify('rowcall_a', '- by a trigger')`)
	if onA.next(t) != "by a trigger" || onB.next(t) != "by a trigger" { // and a has heard nothing of its own
		t.Error("not what the trigger said")
	}
	cancel()

	// What is not a node's is of no account.
	c, err := x.dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "hello", `{"node":1}`, `{"messages":[{"topic":"none","payload":"x"}]}`} {
		if err := c.Send(t.Context(), []byte(bad)); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close(t.Context())
	wait(t, "the last of it", func() bool { return a.Stats().Heard == 2 && b.Stats().Heard == 5 })

	// While it is away, messages are lost, and nobody waits; when it is back, everybody looks.
	logged.TakeAll()
	x.turn(true)
	for i := range 3000 {
		a.Publish("a", fmt.Append(nil, "lost ", i))
	}
	wait(t, "that they notice", func() bool { return logged.FilterMessageSnippet("is away").Len() >= 4 })
	x.turn(false)
	wait(t, "the connections", func() bool { return a.Stats().Reconnects == 1 && b.Stats().Reconnects == 1 })
	if got := onB.next(t); got != "" {
		t.Errorf("%q", got)
	}
	onA.next(t)
	a.Publish("a", []byte("again"))
	if got := onB.next(t); got != "again" {
		t.Errorf("%q", got)
	}
	wait(t, "what a has counted", func() bool { return a.Stats() == bus.Stats{Sent: 4, Heard: 2, Lost: 3000, Reconnects: 1} })

	// Many go together.
	before := x.sent
	for i := range 500 {
		b.Publish("a", fmt.Append(nil, i))
	}
	for i := range 500 {
		if got := onA.next(t); got != fmt.Sprint(i) {
			t.Fatalf("%q, want %d", got, i)
		}
	}
	t.Logf("500 messages in %d", x.sent-before)

	start := time.Now()
	stopB()
	if took := time.Since(start); x.connected() != 1 || took > 10*time.Second {
		t.Errorf("%d connections are open after %v", x.connected(), took)
	}
}
