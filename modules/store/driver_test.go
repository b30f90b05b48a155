package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

// terminate ends every connection of the tenants' login.
func terminate(t *testing.T, db *storetest.Database) {
	t.Helper()
	const connections = `FROM pg_stat_activity WHERE datname = current_database() AND usename LIKE '%\_tenant\_login'`
	owner := db.Owner(t)
	for left, query := 1, `SELECT count(pg_terminate_backend(pid)) `; left > 0; query = `SELECT count(*) ` {
		if err := owner.QueryRowContext(t.Context(), query+connections).Scan(&left); err != nil {
			t.Fatal(err)
		}
	}
}

// A connection that the server closed while it lay in the pool is noticed before it is used: no call fails.
func TestIdleConnectionsThatAreClosedDoNoHarm(t *testing.T) {
	t.Parallel()
	p, db := through(t, newDB(t))
	for range 3 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if _, err := session(t, db, tenantA).Exec(`SELECT pg_sleep($1)`, 0.01); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		terminate(t, db)
		for p.open.Load() > 0 { // a backend is off the list of those that there are just before its socket is closed
			time.Sleep(time.Millisecond)
		}
	}
}

// A write whose connection is lost under way may have been executed. It must not be tried again behind the caller's back.
func TestLostConnectionsAreNotRetried(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	// The statement counts its executions outside of the transaction that dies with the connection.
	db.Exec(t, `CREATE SEQUENCE executions; GRANT USAGE ON SEQUENCE executions TO rowcall_tenant;
		CREATE FUNCTION die(text) RETURNS bool LANGUAGE plpgsql SECURITY DEFINER AS
		$$ BEGIN PERFORM nextval('executions'); PERFORM pg_terminate_backend(pg_backend_pid()); RETURN $1 = 'x'; END $$`)
	_, err := tx.Exec(`SELECT die($1)`, "x")
	wantKind(t, apperr.Unavailable, err)
	var executions int
	if err := db.Owner(t).QueryRowContext(t.Context(), `SELECT last_value FROM executions`).Scan(&executions); err != nil || executions != 1 {
		t.Fatalf("executed %d times (%v)", executions, err)
	}
	must[thing](t)(things.Create(tx, thing{Label: "the next one works"}))
}

func TestCancelledCallsEndTheirStatements(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx, cancel := context.WithTimeout(as(t.Context(), tenantA, 1, auth.Member), 50*time.Millisecond)
	defer cancel()
	tx := must[*store.Tx](t)(db.Session(ctx))
	_, err := tx.Exec(`SELECT pg_sleep($1)`, 600)
	wantKind(t, apperr.Timeout, err)
	owner := db.Owner(t)
	for deadline := time.Now().Add(time.Minute); ; {
		var running int
		err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND state = 'active' AND query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()`).Scan(&running)
		if err != nil {
			t.Fatal(err)
		}
		if running == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the statement goes on")
		}
		time.Sleep(10 * time.Millisecond)
	}
	must[thing](t)(things.Create(session(t, db, tenantA), thing{Label: "a"}))
}

// A statement that takes too long is ended by the database, and its connection serves on.
func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	created := newDB(t)
	db, err := store.Open(t.Context(), store.Config{
		TenantURL: created.TenantURL, PlatformURL: created.PlatformURL, TenantConns: 1, PlatformConns: 1, StatementTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // of a test
	type runner interface {
		Get(dest any, query string, args ...any) error
		Exec(query string, args ...any) (int64, error)
	}
	tenant, err := db.Session(as(t.Context(), tenantA, 1, auth.Member))
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range map[string]runner{"tenant": tenant, "platform": db.Platform(t.Context())} {
		var before, after int
		if err := r.Get(&before, `SELECT pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
		_, err := r.Exec(`SELECT pg_sleep($1)`, 60)
		wantKind(t, apperr.Timeout, err)
		if err := r.Get(&after, `SELECT pg_backend_pid()`); err != nil || after != before {
			t.Errorf("%s: the connection is another afterwards (%v)", name, err)
		}
	}
	// A list that is under way, and a transaction.
	err = db.InTx(as(t.Context(), tenantA, 1, auth.Member), func(tx *store.Tx) error {
		var numbers []int64
		return tx.Select(&numbers, `SELECT n FROM generate_series(1, 1000000000) AS s (n) WHERE n < $1 OR pg_sleep(0.001) IS NOT NULL`, 10)
	})
	wantKind(t, apperr.Timeout, err)
}

// More shapes than the caches hold, in a few rounds.
func TestStatementCachesAreBounded(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	must[thing](t)(things.Create(tx, thing{Label: "a"}))
	for range 2 {
		for n := range 300 {
			raw := `{"$or":[` + strings.TrimSuffix(strings.Repeat(`{"n":1},`, n%150), ",") + `]}`
			if n >= 150 {
				raw = `{"$not":` + raw + `}`
			}
			f := must[*filter.Filter](t)(filter.Parse(jsontext.Value(raw), things.Schema(), ""))
			page := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Filter: f}))
			if want := n / 150; len(page.Rows) != want {
				t.Fatalf("%s: %d rows, want %d", raw, len(page.Rows), want)
			}
		}
	}
	var most int
	if err := tx.Get(&most, `SELECT count(*) FROM pg_prepared_statements`); err != nil || most > 256 || most < 200 {
		t.Fatalf("%d statements are prepared on a connection (%v)", most, err)
	}
}

func TestChangedTablesAreSurvived(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	made := must[thing](t)(things.Create(tx, thing{Label: "a"}))
	must[thing](t)(things.Get(tx, made.ID))
	db.Exec(t, `ALTER TABLE thing ALTER COLUMN n TYPE int`)
	failures := 0
	for range 20 {
		if _, err := things.Get(tx, made.ID); err != nil {
			failures++
		}
	}
	if failures > 1 { // one connection knew the old table
		t.Fatalf("%d of 20 calls failed", failures)
	}
}

// A server that goes silent, without closing its connections, holds no call for ever.
func TestSilentDatabase(t *testing.T) {
	t.Parallel()
	p, silent := through(t, newDB(t))
	ctx := as(t.Context(), tenantA, 1, auth.Member)
	must[int64](t)(things.Count(must[*store.Tx](t)(silent.Session(ctx)), nil)) // by a connection that the next takes
	p.freeze()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tx := must[*store.Tx](t)(silent.Session(ctx))
	done := make(chan error, 1)
	go func() { done <- second(things.Count(tx, nil)) }()
	select {
	case err := <-done:
		wantKind(t, apperr.Timeout, err)
	case <-time.After(time.Minute):
		t.Fatal("the call goes on")
	}
}

// through opens the database once more, with a proxy before the tenants' login.
func through(t *testing.T, db *storetest.Database) (*proxy, *storetest.Database) {
	t.Helper()
	target, err := url.Parse(db.TenantURL)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, target.Host)
	target.Host = p.address
	query := target.Query()
	query.Set("connect_timeout", "10") // which also bounds the request to cancel a statement
	target.RawQuery = query.Encode()
	opened, err := store.Open(t.Context(), store.Config{TenantURL: target.String(), PlatformURL: db.PlatformURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = opened.Close() })
	return p, &storetest.Database{DB: opened, OwnerURL: db.OwnerURL}
}

// proxy forwards connections until it is frozen.
type proxy struct {
	address string
	frozen  chan struct{}
	open    atomic.Int64 // connections that Postgres has not closed
}

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{address: l.Addr().String(), frozen: make(chan struct{})}
	var wg sync.WaitGroup
	ended := make(chan struct{})
	wg.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", target)
			if err != nil {
				_ = in.Close()
				continue
			}
			wg.Go(func() { p.copy(out, in) })
			p.open.Add(1)
			wg.Go(func() {
				p.copy(in, out)
				p.open.Add(-1)
			})
			wg.Go(func() {
				<-ended
				_, _ = in.Close(), out.Close()
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

func (p *proxy) freeze() { close(p.frozen) }

func (p *proxy) copy(to, from net.Conn) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			_ = to.Close()
			return
		}
		select {
		case <-p.frozen: // what comes now is lost
		default:
			_, _ = to.Write(buf[:n])
		}
	}
}

func TestUnreachableDatabase(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	must[thing](t)(things.Create(tx, thing{Label: "a"}))
	name := strings.TrimPrefix(db.OwnerURL[strings.LastIndex(db.OwnerURL, "/"):], "/")
	name, _, _ = strings.Cut(name, "?")
	owner := db.Owner(t)
	exec := func(format string) {
		t.Helper()
		if _, err := owner.ExecContext(t.Context(), fmt.Sprintf(format, name)); err != nil {
			t.Fatal(err)
		}
	}
	exec(`ALTER DATABASE %s CONNECTION LIMIT 0`)
	terminate(t, db)
	wantKind(t, apperr.Unavailable, second(things.Count(tx, nil)))
	wantKind(t, apperr.Unavailable, db.InTx(tx.Context(), func(*store.Tx) error { return errors.New("not reached") }))
	exec(`ALTER DATABASE %s CONNECTION LIMIT -1`)
	must[int64](t)(things.Count(tx, nil))
}
