package web_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/store/storetest"
	"rowcall/rpc/rpctest"
	"rowcall/web"
)

// A thousand requests that no honest client sends, several hundred of them at once. Afterwards the server serves, and its
// goroutines and connections are as many as before.
func TestAbuseLeavesNothingBehind(t *testing.T) { // not parallel: it counts goroutines
	s := start(t)
	token := s.login("demo1").Token
	for range 50 { // warm up the pools
		s.post("/api/rpc", list, bearer(token)...)
	}
	http.DefaultClient.CloseIdleConnections()
	before := settled(t, s.DB)

	var wg sync.WaitGroup
	slots := make(chan struct{}, 300)
	for i := range 1000 {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			abuse(t, s.addr, token, i)
		})
	}
	wg.Wait()

	if a := s.post("/api/rpc", list, bearer(token)...); a.status != http.StatusOK || a.kind() != "" {
		t.Fatalf("afterwards: %d %s", a.status, a.body)
	}
	http.DefaultClient.CloseIdleConnections()
	deadline := time.Now().Add(time.Minute)
	for {
		after := settled(t, s.DB)
		if after.goroutines <= before.goroutines+2 && after.busy == 0 {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%+v before, %+v after\n%s", before, after, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// abuse sends one request that is wrong in one way.
func abuse(t *testing.T, addr, token string, i int) {
	r := rand.New(rand.NewPCG(7, uint64(i)))
	c, err := (&net.Dialer{Timeout: time.Minute}).Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close() //nolint:errcheck // of an abused connection
	head := func(length int) string {
		return fmt.Sprintf("POST /api/rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", token, length)
	}
	whole := func(body string) string { return head(len(body)) + body }
	sleep := `{"id":1,"method":"list_tasks","params":{"filters":{"title":{"$contains":"x"}}}}`
	switch i % 10 {
	case 0: // malformed
		body := []byte(sleep)
		body[r.IntN(len(body))] = byte(r.IntN(256))
		_, _ = io.WriteString(c, whole(string(body)))
	case 1: // oversized
		_, _ = io.WriteString(c, head(64<<20))
		_, _ = io.WriteString(c, strings.Repeat("x", 2<<20))
	case 2: // deeply nested
		_, _ = io.WriteString(c, whole(strings.Repeat("[", 400_000)))
	case 3: // deeply nested filters
		_, _ = io.WriteString(c, whole(`{"id":1,"method":"list_tasks","params":{"filters":`+strings.Repeat(`{"$not":`, 5_000)+`{}`+strings.Repeat(`}`, 5_000)+`}}`))
	case 4: // slow headers
		_, _ = io.WriteString(c, "POST /api/rpc HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		return
	case 5: // slow body
		_, _ = io.WriteString(c, head(1000)+`{"id":1,`)
		time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
		return
	case 6: // aborted before the answer
		_, _ = io.WriteString(c, whole(sleep))
		return
	case 7: // reset in the middle of the answer
		_, _ = io.WriteString(c, whole(sleep))
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		return
	case 8: // a wide batch
		_, _ = io.WriteString(c, whole("["+strings.TrimSuffix(strings.Repeat(sleep+",", 150), ",")+"]"))
	case 9: // not HTTP
		b := make([]byte, 2000)
		for j := range b {
			b[j] = byte(r.IntN(256))
		}
		_, _ = c.Write(b)
	}
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, _ = io.CopyN(io.Discard, c, 1<<16)
}

type population struct{ goroutines, busy int }

// settled counts goroutines, and connections to the database that are at work.
func settled(t *testing.T, db *storetest.Database) (p population) {
	t.Helper()
	time.Sleep(50 * time.Millisecond)
	owner := db.Owner(t)
	err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid() AND state <> 'idle'`).Scan(&p.busy)
	if err != nil {
		t.Fatal(err)
	}
	_ = owner.Close()
	p.goroutines = runtime.NumGoroutine()
	return p
}

// Slow headers are cut off by the server itself.
func TestSlowHeadersAreCutOff(t *testing.T) {
	t.Parallel()
	s := start(t)
	c, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close() //nolint:errcheck // of a test
	if _, err := io.WriteString(c, "POST /api/rpc HTTP/1.1\r\nHost: x\r\nX-Slow: "); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := io.Copy(io.Discard, c); err != nil {
		t.Fatalf("the connection is still open: %v", err)
	}
}

// A client that goes away ends its query.
func TestQueriesOfAbsentClientsEnd(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	// A lock keeps the query from ending by itself.
	owner := s.DB.Owner(t)
	tx, err := owner.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback() //nolint:errcheck // it is released then
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE task IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+"/api/rpc", strings.NewReader(list))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_ = resp.Body.Close()
		}
	}()
	waiting := func() (n int) {
		err := s.DB.Owner(t).QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, func() bool { return waiting() == 1 })
	cancel()
	<-done
	until(t, func() bool { return waiting() == 0 })
}

// Postgres drops every connection and takes none for a while, under load.
func TestDatabaseGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	s := start(t)
	token := s.login("demo1").Token
	owner := s.DB.Owner(t)
	var name string
	if err := owner.QueryRowContext(t.Context(), `SELECT current_database()`).Scan(&name); err != nil {
		t.Fatal(err)
	}
	exec := func(query string) {
		t.Helper()
		if _, err := owner.ExecContext(t.Context(), query); err != nil {
			t.Error(err)
		}
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[apperr.Kind]int{}
	for range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				kind := s.post("/api/rpc", list, bearer(token)...).kind()
				mu.Lock()
				seen[kind]++
				mu.Unlock()
			}
		})
	}
	down := func(min int) {
		until(t, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return seen[apperr.Unavailable] >= min
		})
	}
	exec(`ALTER DATABASE ` + name + ` CONNECTION LIMIT 0`)
	exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	down(20)
	if a := s.send("GET", "/readyz", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("readyz meanwhile: %d %s", a.status, a.body)
	}
	exec(`ALTER DATABASE ` + name + ` CONNECTION LIMIT -1`)
	until(t, func() bool { return s.post("/api/rpc", list, bearer(token)...).kind() == "" })
	close(stop)
	wg.Wait()
	if a := s.send("GET", "/readyz", ""); a.status != http.StatusOK {
		t.Errorf("readyz afterwards: %d %s", a.status, a.body)
	}
	for kind, n := range seen {
		if kind != "" && kind != apperr.Unavailable {
			t.Errorf("%d calls failed with %s", n, kind)
		}
	}
}

// blocked starts a call that waits for a lock, and returns its answer to come and what releases the lock.
func (s *server) blocked(t *testing.T) (answers chan answer, release func()) {
	t.Helper()
	token := s.login("demo1").Token
	tx, err := s.DB.Owner(t).BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE task IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	answers = make(chan answer, 1)
	go func() { answers <- s.post("/api/rpc", list, bearer(token)...) }()
	until(t, func() bool {
		var n int
		err := tx.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_locks WHERE NOT granted
			AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`).Scan(&n)
		return err == nil && n == 1
	})
	return answers, func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// A stop lets running calls finish.
func TestStop(t *testing.T) {
	t.Parallel()
	s := serve(t, rpctest.New(t), func(cfg *web.Config) { cfg.StopTimeout = time.Minute })
	answers, release := s.blocked(t)
	s.stop()
	until(t, func() bool { return s.send("GET", "/readyz", "").status == http.StatusServiceUnavailable })
	if a := s.post("/api/rpc", list); a.status != http.StatusServiceUnavailable || a.kind() != apperr.Unavailable {
		t.Errorf("another call meanwhile: %d %s", a.status, a.body)
	}
	release()
	if a := <-answers; a.status != http.StatusOK || a.kind() != "" {
		t.Errorf("the running call: %d %s", a.status, a.body)
	}
}

// A call that does not end is cancelled, and answered all the same.
func TestStopIsBounded(t *testing.T) {
	t.Parallel()
	s := serve(t, rpctest.New(t), func(cfg *web.Config) { cfg.StopTimeout = 100 * time.Millisecond })
	answers, release := s.blocked(t)
	defer release()
	s.stop()
	if a := <-answers; a.kind() != apperr.Aborted {
		t.Errorf("the running call: %d %s", a.status, a.body)
	}
}

func until(t *testing.T, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come to that")
		}
	}
}
