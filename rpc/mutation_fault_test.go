package rpc_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/rpc/rpctest"
)

// lossy forwards connections to a Postgres and loses some of them during a commit: before the server gets it, or before the client gets
// the answer.
type lossy struct {
	address      string
	lose         atomic.Bool
	before, lost atomic.Int64
}

func newLossy(t *testing.T, target string) *lossy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &lossy{address: l.Addr().String()}
	var wg sync.WaitGroup
	ended := make(chan struct{})
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			var committing atomic.Bool
			wg.Go(func() {
				copyWhile(server, client, func(sent []byte) bool {
					if !p.lose.Load() || !bytes.Contains(sent, []byte("COMMIT")) || rand.IntN(4) > 0 {
						return true
					}
					if rand.IntN(2) == 0 {
						p.before.Add(1)
						return false
					}
					committing.Store(true)
					return true
				})
			})
			wg.Go(func() {
				copyWhile(client, server, func([]byte) bool {
					if committing.Load() {
						p.lost.Add(1)
						return false
					}
					return true
				})
			})
			wg.Go(func() {
				<-ended
				_, _ = client.Close(), server.Close()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		close(ended)
		wg.Wait()
	})
	return p
}

// copyWhile copies as long as goOn allows it, and then closes both.
func copyWhile(to, from net.Conn, goOn func([]byte) bool) {
	defer to.Close()   //nolint:errcheck // of a connection that is cut
	defer from.Close() //nolint:errcheck // of a connection that is cut
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || !goOn(buf[:n]) {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// through returns a Server that reaches the database by a lossy way.
func through(t *testing.T, s *rpctest.Server) (*rpctest.Server, *lossy) {
	t.Helper()
	to, err := url.Parse(s.DB.TenantURL)
	if err != nil {
		t.Fatal(err)
	}
	p := newLossy(t, to.Host)
	to.Host = p.address
	db, err := store.Open(t.Context(), store.Config{TenantURL: to.String(), PlatformURL: s.DB.PlatformURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(db.Close()) }) // of connections that may be cut
	return rpctest.Over(t, &storetest.Database{DB: db, OwnerURL: s.DB.OwnerURL, TenantURL: to.String(), PlatformURL: s.DB.PlatformURL}), p
}

// Whoever asks until there is an answer gets what they asked for once, whether the database was lost before a commit or after it.
func TestMutationsWhoseCommitIsLost(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	node, p := through(t, s)
	p.lose.Store(true)
	ask := func(method string, params rpctest.Row) string {
		for range 100 {
			text := answered(t, node, c.Actor, method, params)
			if !strings.Contains(text, `"UNAVAILABLE"`) {
				return text
			}
		}
		t.Fatal("the database is always lost")
		return ""
	}
	before := headOf(t, s)
	for i := range 40 {
		params := named(rpctest.Row{"data": rpctest.Row{"name": rpctest.Name("project", i)}})
		first := ask("create_project", params)
		if !strings.Contains(first, `"result"`) {
			t.Fatal(first)
		}
		if again := ask("create_project", params); again != first {
			t.Fatalf("answered\n%s\nand then\n%s", first, again)
		}
	}
	if n := headOf(t, s) - before; n != 40 {
		t.Errorf("40 mutations made %d changes", n)
	}
	before = headOf(t, s)
	var queue []rpctest.Row
	for i := range 6 {
		queue = append(queue, mutation("create", "project", rpctest.Row{"data": rpctest.Row{"name": rpctest.Name("pushed", i)}}))
	}
	ask("sync_push", rpctest.Row{"mutations": queue})
	if n := headOf(t, s) - before; n != 6 {
		t.Errorf("6 mutations made %d changes", n)
	}
	if p.before.Load() == 0 || p.lost.Load() == 0 {
		t.Errorf("nothing was lost: %d commits and %d answers", p.before.Load(), p.lost.Load())
	}
}

// What is forgotten is not done again, whatever the clock of the server says, and whatever its retention is.
func TestForgottenMutations(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	old, young := time.Now().Add(-29*24*time.Hour), time.Now()
	call := func(at time.Time, id uuid.UUID) string {
		body := fmt.Appendf(nil, `{"id":1,"method":"create_project","params":{"data":{"name":"%s"},"mutation_id":"%[1]s"}}`, id)
		return string(served(t, c.Actor, func() time.Time { return at }, body, s.Mux.Serve))
	}
	ids := []uuid.UUID{idOfTime(old), idOfTime(young)}
	first := []string{call(young, ids[0]), call(young, ids[1])}
	head := headOf(t, s)
	s.DB.Exec(t, `UPDATE mutation_floor SET id = $1`, idOfTime(old.Add(time.Minute)).String())
	if again := call(young, ids[0]); again != first[0] {
		t.Errorf("it is still known, and is answered by %s", again)
	}
	s.DB.Exec(t, `DELETE FROM mutation WHERE id < (SELECT id FROM mutation_floor)`)
	for _, clock := range []time.Time{young, old, old.Add(-40 * 24 * time.Hour), young.Add(40 * 24 * time.Hour)} {
		if again := call(clock, ids[0]); !strings.Contains(again, `"VALIDATION"`) || !strings.Contains(again, `"params.mutation_id"`) {
			t.Errorf("by the clock of %v: %s", clock, again)
		}
	}
	if again := call(young, ids[1]); again != first[1] {
		t.Errorf("answered\n%s\nand then\n%s", first[1], again)
	}
	if again := call(old, ids[1]); !strings.Contains(again, `"VALIDATION"`) { // its clock was set back
		t.Errorf("of the future: %s", again)
	}
	if now := headOf(t, s); now != head {
		t.Errorf("the head went from %d to %d", head, now)
	}
}
