package document_test

import (
	"context"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/bus"
	"rowcall/modules/document"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := newProxy(t, w.TenantURL)
	db, err := store.Open(t.Context(), store.Config{TenantURL: p.url, PlatformURL: w.PlatformURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	b := bus.NewPostgres(w.DB, w.PlatformURL, zap.NewNop())
	n := w.nodeWith(document.Config{DB: db, Bus: b, Touch: w.touch, Logger: zap.NewNop()}, b.Run)
	doc := w.create()
	r := n.open(doc, 1)
	f := n.follow(doc, 1, 0)
	other := n.open(doc, 1)
	for i := range 6 {
		batch := r.insert(r.Len(), "ab")
		p.lose.Store(i%2 == 1) // the answer to the next statement
		if position := r.push(n, batch); position != int64(i+1) {
			t.Errorf("at %d, want %d", position, i+1)
		}
	}
	if p.lost.Load() != 3 {
		t.Errorf("%d answers were lost", p.lost.Load())
	}
	if text := n.whole(doc); text != strings.Repeat("ab", 6) {
		t.Errorf("%q", text)
	}
	if f.to(other, 6); other.String() != r.String() {
		t.Errorf("a follower has %q", other.String())
	}
}

// proxy forwards connections to Postgres.
type proxy struct {
	url  string
	lose atomic.Bool // the connection of the next answer, and that
	lost atomic.Int64
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	network, address := "tcp", u.Host
	if dir := u.Query().Get("host"); dir != "" {
		network, address = "unix", dir+"/.s.PGSQL."+u.Query().Get("port")
		q := u.Query()
		q.Del("host")
		q.Del("port")
		u.RawQuery = q.Encode()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u.Host = l.Addr().String()
	p := &proxy{url: u.String()}
	var running sync.WaitGroup
	ended := make(chan struct{})
	running.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial(network, address)
			if err != nil {
				_ = in.Close()
				continue
			}
			running.Go(func() { p.copy(out, in, false) })
			running.Go(func() { p.copy(in, out, true) })
			running.Go(func() {
				<-ended
				_, _ = in.Close(), out.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(ended)
		running.Wait()
	})
	return p
}

func (p *proxy) copy(to, from net.Conn, answers bool) {
	defer to.Close()   //nolint:errcheck // it is the end
	defer from.Close() //nolint:errcheck // it is the end
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if answers && p.lose.CompareAndSwap(true, false) {
			p.lost.Add(1)
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// What was acknowledged is there, whenever a node goes.
func TestCrash(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n, doc := w.node(), w.create(2, 3, 4)
	var acknowledged sync.Map
	var clients sync.WaitGroup
	var pushed atomic.Int64
	for user := int64(1); user <= 4; user++ {
		r := n.open(doc, user)
		clients.Go(func() {
			for {
				if err := push(n, r, r.insert(r.Len(), "x")); err != nil {
					wants(t, err, apperr.Unavailable, "")
					return
				}
				acknowledged.Store(r.site, r.Version()[r.site])
				pushed.Add(1)
			}
		})
	}
	wait(t, "some pushes", func() bool { return pushed.Load() > 100 })
	n.stop()
	clients.Wait()
	n = w.node()
	version := n.open(doc, 1).Version()
	acknowledged.Range(func(site, seq any) bool {
		if version[site.(textcrdt.Site)] < seq.(uint32) {
			t.Errorf("site %v has %d, and %v were acknowledged", site, version[site.(textcrdt.Site)], seq)
		}
		return true
	})
	n.whole(doc)
	head := get[int64](w, `SELECT position FROM document_head`)
	w.exec(`UPDATE document SET position = 1, edited_at = now() - interval '1 minute'`)
	if err := n.Sweep(context.Background()); err != nil {
		t.Fatal(err)
	}
	wait(t, "the document's row", func() bool { return get[int64](w, `SELECT position FROM document`) == head })
}

// What is wrong with a document stays its own.
func TestFailure(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := w.node()
	bad, good := w.create(), w.create()
	r, other := n.open(bad, 1), n.open(good, 1)
	r.push(n, r.insert(0, "abc"))
	other.push(n, other.insert(0, "def"))
	onBad := n.follow(bad, 1, 1)

	n.Panic(tenant, bad)
	wants(t, push(n, r, r.insert(0, "x")), apperr.Internal, "")
	if why := onBad.end(); why != document.Failed {
		t.Errorf("after a panic: %s", why)
	}
	again := n.open(bad, 1)
	again.push(n, again.insert(0, "y"))
	if text := n.whole(bad); text != "yabc" {
		t.Errorf("%q", text)
	}

	n.stop()
	n = w.node()
	onGood := n.follow(good, 1, 1)
	w.exec(`UPDATE document_operation SET op = '\x00' WHERE document_id = $1 AND position = 1`, bad.String())
	wants(t, push(n, again, again.insert(0, "z")), apperr.Internal, "")
	onBad = n.follow(bad, 1, 0)
	if why := onBad.end(); why != document.Failed {
		t.Errorf("of bad bytes: %s", why)
	}
	_, _, err := n.TextAt(as(1), bad, nil)
	wants(t, err, apperr.Internal, "")
	if n.Compact(context.Background(), tenant, bad) == nil {
		t.Error("what cannot be read is compacted")
	}
	other.push(n, other.insert(3, "g"))
	if onGood.to(other, 2); n.whole(good) != "defg" {
		t.Error("the other document is hurt")
	}
}

// panics is a follower that cannot take anything.
type panics struct{ ended chan document.Ending }

func (panics) Deliver([]*document.Frame) error { panic("a follower's") }
func (p panics) End(why document.Ending)       { p.ended <- why }

// A panic of who follows, or of the application, ends what it happens to, and not the node.
func TestPanics(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var once sync.Once
	n := w.nodeWith(document.Config{DB: w.DB, Bus: deaf{}, Logger: zap.NewNop(), Touch: func(tx *store.Tx, doc uuid.UUID, version, position int64, at time.Time) error {
		once.Do(func() { panic("the application's") })
		return w.touch(tx, doc, version, position, at)
	}})
	doc := w.create()
	r := n.open(doc, 1)
	f := n.follow(doc, 1, 0)
	p := panics{make(chan document.Ending, 1)}
	if _, err := n.Follow(as(1), doc, 0, p); err != nil {
		t.Fatal(err)
	}
	r.push(n, r.insert(0, "a"))
	select {
	case why := <-p.ended:
		if why != document.Failed {
			t.Errorf("%s", why)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
	f.to(n.open(doc, 1), r.push(n, r.insert(1, "b")))
	wait(t, "the document's row", func() bool { return get[int64](w, `SELECT position FROM document`) == 2 })
}

// deaf is a bus that loses everything.
type deaf struct{}

func (deaf) Publish(string, []byte)                         {}
func (deaf) Subscribe(string, func([]byte)) (cancel func()) { return func() {} }

// parrot is a bus that says whatever a test wants, to a hub that listens.
type parrot struct {
	deaf
	say chan func(payload []byte)
}

func (p parrot) Subscribe(_ string, handle func([]byte)) (cancel func()) {
	p.say <- handle
	return func() {}
}

// Whatever the bus says does no harm: what no node says is not heard, and the rest is in the form of this one's own.
func TestOddMessages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := parrot{say: make(chan func([]byte), 1)}
	n := w.nodeWith(document.Config{DB: w.DB, Bus: b, Touch: w.touch, Logger: zap.NewNop()})
	say := <-b.say
	doc := w.create()
	f := n.follow(doc, 1, 0)
	name := tenant.String() + "/" + doc.String()
	for _, message := range []string{
		"", "?", "open up", "head", "head " + name, "head " + name + ":x", "head /:1", "who", "who " + name + "x",
		"here", "here " + name, "here " + name + " 1", "here " + name + " 1 1 {", "here " + name + " 1 1 7", "here " + name + ` 1 1 {"name":"a","name":"b"}`,
		"here " + name + " 4294967296 1 {}", "here " + name + " -1 1 {}", "here " + name + ` 1 1 {"name":"` + strings.Repeat("x", document.MaxPresence) + `"}`,
		"here " + name + " 7 1 {\n\n\"name\": \"Ann\"}",
	} {
		say([]byte(message))
	}
	select {
	case frame := <-f.frames:
		if m := f.parse(frame); m.Site != 7 || m.Presence == nil || m.Presence.Name != "Ann" || strings.Contains(string(frame.Text), "\n") {
			t.Errorf("%s", frame.Text)
		}
	case <-time.After(time.Minute):
		t.Error("what is right is not heard")
	}
	r := n.open(doc, 1)
	f.to(r, r.push(n, r.insert(0, "a")))
}

// What the bus loses, the poll finds.
func TestLostHints(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cfg := document.Config{DB: w.DB, Bus: deaf{}, Touch: w.touch, Logger: zap.NewNop()}
	here, there := w.nodeWith(cfg), w.nodeWith(cfg)
	doc := w.create(2)
	r := here.open(doc, 1)
	f, leaves := there.follow(doc, 1, 0), there.follow(doc, 2, 0)
	copied := there.open(doc, 1)
	for range 2 {
		f.to(copied, r.push(here, r.insert(0, "x")))
	}
	w.remove(doc, 2)
	if why := leaves.end(); why != document.Forbidden {
		t.Errorf("%s", why)
	}

	// A database that was restored from a backup has less than the followers.
	w.exec(`UPDATE document_head SET position = 1`)
	if why := f.end(); why != document.Failed {
		t.Errorf("%s", why)
	}
}

// A document can be deleted whatever goes on with it.
func TestDeletion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	nodes := []*node{w.node(), w.node()}
	for range 5 {
		doc := w.create()
		var busy sync.WaitGroup
		var pushed atomic.Int64
		until := func(what string, do func(n *node) error) {
			for _, n := range nodes {
				busy.Go(func() {
					for {
						if err := do(n); err != nil {
							if apperr.From(err).Kind != apperr.NotFound {
								t.Error(what, err)
							}
							return
						}
					}
				})
			}
		}
		until("open: ", func(n *node) error {
			_, err := n.Open(as(1), doc, document.OpenOptions{})
			return err
		})
		until("edit: ", func(n *node) error {
			_, err := n.Edit(as(1), doc, nil, []document.Edit{{Insert: "x"}})
			pushed.Add(1)
			return err
		})
		compacted := make(chan struct{})
		busy.Go(func() {
			for {
				select {
				case <-compacted:
					return
				default:
				}
				if err := nodes[0].Compact(context.Background(), tenant, doc); err != nil {
					t.Error("compact: ", err)
					return
				}
			}
		})
		wait(t, "some edits", func() bool { return pushed.Load() > 20 })
		w.delete(doc)
		close(compacted)
		busy.Wait()
	}
	for _, table := range []string{"head", "site", "operation", "history", "snapshot"} {
		if n := get[int](w, `SELECT count(*) FROM document_`+table); n > 0 {
			t.Errorf("%d rows of document_%s are left", n, table)
		}
	}
	if n := get[int](w, `SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()`); n > 0 {
		t.Errorf("%d deadlocks", n)
	}
}
