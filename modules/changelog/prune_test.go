package changelog_test

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"rowcall/modules/changelog"
	"rowcall/modules/ledger"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

const (
	hour = time.Hour
	day  = 24 * hour
)

// logs are change logs of a database of the test's own.
type logs struct {
	*storetest.Database
	t     *testing.T
	owner *sql.DB
}

func newLogs(t *testing.T) *logs {
	t.Helper()
	t.Parallel()
	db := storetest.New(t, sqlscripts.Migrations())
	return &logs{db, t, db.Owner(t)}
}

// tenant makes a tenant with a user, who is the log's first entry, from long ago.
func (l *logs) tenant(slug string) (id uuid.UUID, user int64) {
	l.t.Helper()
	err := l.owner.QueryRowContext(l.t.Context(), `
		WITH t AS (INSERT INTO tenant (slug, name) VALUES ($1, $1) RETURNING id),
		     a AS (INSERT INTO account (username, name, pwd) VALUES ($1, $1, '#02#') RETURNING id)
		INSERT INTO membership (tenant_id, user_id, role, cid, mid) SELECT t.id, a.id, 'owner', a.id, a.id FROM t, a
		RETURNING tenant_id, user_id`, slug).Scan(&id, &user)
	if err != nil {
		l.t.Fatal(err)
	}
	l.Exec(l.t, `UPDATE change SET at = now() - interval '1000 days' WHERE tenant_id = $1`, id)
	return id, user
}

// append adds n entries of an age, as a writer does.
const appendSQL = `
	WITH h AS (
		INSERT INTO change_head AS h (tenant_id, head) VALUES ($1, $2) ON CONFLICT (tenant_id) DO UPDATE SET head = h.head + $2 RETURNING head
	)
	INSERT INTO change (tenant_id, position, at, actor, method, entity, row_id, op, version, data)
	SELECT $1, h.head - $2 + i, now() - make_interval(secs => $3), 7, 'create_task', 'task', i::text, 'create', 1, jsonb_build_object('id', i, 'title', 'a' || chr(10) || 'é')
	FROM h, generate_series(1, $2) i`

func (l *logs) append(tenant uuid.UUID, n int, age time.Duration) {
	l.t.Helper()
	l.Exec(l.t, appendSQL, tenant, n, age.Seconds())
}

// prune prunes and checks what is left of a log.
func (l *logs) prune(keep changelog.Retention) changelog.PruneStats {
	l.t.Helper()
	done, err := changelog.Prune(l.t.Context(), l.DB, keep)
	if err != nil {
		l.t.Fatal(err)
	}
	return done
}

func (l *logs) want(tenant uuid.UUID, head, tail int64) {
	l.t.Helper()
	var gotHead, gotTail, first, n int64
	err := l.owner.QueryRowContext(l.t.Context(), `
		SELECT head, tail, (SELECT coalesce(min(position), head + 1) FROM change WHERE tenant_id = $1), (SELECT count(*) FROM change WHERE tenant_id = $1)
		FROM change_head WHERE tenant_id = $1`, tenant).Scan(&gotHead, &gotTail, &first, &n)
	if err != nil {
		l.t.Fatal(err)
	}
	if gotHead != head || gotTail != tail || first != tail+1 || n != head-tail {
		l.t.Errorf("head %d, tail %d, and %d entries from %d; want head %d, tail %d, and what is between", gotHead, gotTail, n, first, head, tail)
	}
}

func TestPruneByAge(t *testing.T) {
	l := newLogs(t)
	a, user := l.tenant("a")
	b, _ := l.tenant("b")
	l.append(a, 2500, 91*day)
	l.append(a, 3, 89*day)
	l.append(a, 1, 91*day) // by a node whose clock was behind: what comes before it is younger
	l.append(b, 5, hour)
	for id, age := range map[string]time.Duration{"a": 40 * day, "b": 30*day + hour, "c": hour} {
		at := time.Now().Add(-age)
		l.Exec(t, `INSERT INTO mutation (tenant_id, user_id, id, digest, answer) VALUES ($1, $2, $3, '', $4)`, a, user, ledger.First(at), []byte(id))
	}
	keep := changelog.Retention{Lease: 30 * day, Mutations: 30 * day}
	for run, want := range []int64{0, 1, 0} { // the first raises the floor
		if done := l.prune(keep); done != (changelog.PruneStats{Mutations: want}) {
			t.Errorf("run %d without an age pruned %+v", run, done)
		}
	}
	keep.Mutations = 40 * day // the floor does not fall
	l.prune(keep)
	var least uuid.UUID
	if err := l.Owner(t).QueryRowContext(t.Context(), `SELECT least_mutation()`).Scan(&least); err != nil ||
		time.Since(ledger.Time(least)) > 31*day+time.Minute || time.Since(ledger.Time(least)) < 31*day {
		t.Errorf("the floor is of %v (%v)", ledger.Time(least), err)
	}
	l.want(a, 2505, 0)
	keep.Age = 90 * day
	if done := l.prune(keep); done != (changelog.PruneStats{Entries: 2502, Tenants: 2}) {
		t.Errorf("pruned %+v", done)
	}
	l.want(a, 2505, 2501)
	l.want(b, 6, 1)
	if done := l.prune(keep); done != (changelog.PruneStats{}) {
		t.Errorf("the second run pruned %+v", done)
	}
	keep.Age = time.Second
	l.prune(keep)
	l.want(a, 2505, 2505)
	l.want(b, 6, 6)
	l.append(a, 1, 0)
	l.want(a, 2506, 2505)
}

func TestReplicasKeepWhatTheyHaveNotSeen(t *testing.T) {
	l := newLogs(t)
	tenant, user := l.tenant("a")
	l.append(tenant, 9, 40*day)
	l.append(tenant, 10, 20*day)
	keep := changelog.Retention{Age: 90 * day, SeenAge: 30 * day, Lease: 30 * day}
	l.Exec(t, `UPDATE change SET at = now() - interval '40 days' WHERE position = 1`)
	replica := func(position int64, seen time.Duration) string {
		id := uuid.NewString()
		l.Exec(t, `INSERT INTO replica (tenant_id, user_id, id, name, position, ctime, seen_at) VALUES ($1, $2, $3, 'x', $4, now(), now() - make_interval(secs => $5))`,
			tenant, user, id, position, seen.Seconds())
		return id
	}
	l.prune(keep)
	l.want(tenant, 20, 0) // nobody has seen anything
	ahead, behind := replica(20, hour), replica(4, hour)
	l.prune(keep)
	l.want(tenant, 20, 4)
	l.Exec(t, `UPDATE replica SET position = 8 WHERE id = $1`, behind)
	l.prune(keep)
	l.want(tenant, 20, 8)
	l.Exec(t, `UPDATE replica SET seen_at = now() - interval '31 days' WHERE id = $1`, behind)
	if done := l.prune(keep); done.Replicas != 1 {
		t.Errorf("pruned %+v", done)
	}
	l.want(tenant, 20, 10) // all that is old enough
	l.Exec(t, `UPDATE replica SET position = 12 WHERE id = $1`, ahead)
	l.Exec(t, `UPDATE change SET at = at - interval '15 days'`)
	l.prune(keep)
	l.want(tenant, 20, 12)
	l.Exec(t, `UPDATE change SET at = at - interval '60 days'`)
	l.prune(keep)
	l.want(tenant, 20, 20) // age counts in any case
}

// Writers that would rather fail than wait do not, and whoever reads the tail and entries in one statement never misses one.
func TestPruneUnderWriters(t *testing.T) {
	l := newLogs(t)
	tenant, _ := l.tenant("a")
	l.append(tenant, 5000, hour)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var slowest time.Duration
	wg.Go(func() { // one at a time, so that it can wait for nobody but the pruning
		cn, err := l.owner.Conn(t.Context())
		if err == nil {
			_, err = cn.ExecContext(t.Context(), `SET lock_timeout = '250ms'`)
		}
		if err != nil {
			t.Error(err)
			return
		}
		defer cn.Close() //nolint:errcheck // of a test
		for ctx.Err() == nil {
			start := time.Now()
			if _, err := cn.ExecContext(t.Context(), appendSQL, tenant, 20, 3600); err != nil {
				t.Error("a writer waited:", err)
				return
			}
			slowest = max(slowest, time.Since(start))
		}
	})
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				var head, tail, n int64
				err := l.owner.QueryRowContext(t.Context(), `
					SELECT head, tail, (SELECT count(*) FROM change c WHERE c.tenant_id = h.tenant_id AND c.position > h.tail)
					FROM change_head h WHERE tenant_id = $1`, tenant).Scan(&head, &tail, &n)
				if err != nil || n != head-tail {
					t.Errorf("%d entries between %d and %d (%v)", n, tail, head, err)
					return
				}
			}
		})
	}
	pruned := int64(0)
	for range 100 {
		pruned += l.prune(changelog.Retention{Age: time.Minute}).Entries
	}
	stop()
	wg.Wait()
	pruned += l.prune(changelog.Retention{Age: time.Minute}).Entries
	l.want(tenant, pruned, pruned)
	t.Logf("pruned %d entries; the slowest write of 20 took %v", pruned, slowest)
}

func TestPruneTakesTurns(t *testing.T) {
	l := newLogs(t)
	tenant, _ := l.tenant("a")
	tx, err := l.owner.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(t.Context(), `SELECT pg_advisory_xact_lock(hashtext('rowcall prune'))`); err != nil {
		t.Fatal(err)
	}
	keep := changelog.Retention{Age: day}
	if _, err := changelog.Prune(t.Context(), l.DB, keep); !errors.Is(err, changelog.ErrPruning) {
		t.Errorf("out of turn: %v", err)
	}
	l.want(tenant, 1, 0)
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	l.prune(keep)
	l.want(tenant, 1, 1)
}

// A run that ends in the middle leaves a log that is whole, and the next one goes on.
func TestPruneIsCancelled(t *testing.T) {
	l := newLogs(t)
	tenant, _ := l.tenant("a")
	l.append(tenant, 2999, day)
	// The second batch is deleted only after a lock that the test holds.
	l.Exec(t, `CREATE FUNCTION halt() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_advisory_xact_lock(77); RETURN OLD; END $$`)
	l.Exec(t, `CREATE TRIGGER halt BEFORE DELETE ON change FOR EACH ROW WHEN (OLD.position = 1500) EXECUTE FUNCTION halt()`)
	cn, err := l.owner.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer cn.Close() //nolint:errcheck // of a test
	if _, err := cn.ExecContext(t.Context(), `SELECT pg_advisory_lock(77)`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for waiting := 0; waiting == 0 && ctx.Err() == nil; {
			_ = cn.QueryRowContext(ctx, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND NOT granted`).Scan(&waiting)
		}
		cancel()
	}()
	done, err := changelog.Prune(ctx, l.DB, changelog.Retention{Age: hour})
	if !errors.Is(err, context.Canceled) || done.Entries != 1000 {
		t.Errorf("pruned %+v, %v", done, err)
	}
	if _, err := cn.ExecContext(t.Context(), `SELECT pg_advisory_unlock(77)`); err != nil {
		t.Fatal(err)
	}
	if done := l.prune(changelog.Retention{Age: hour}); done.Entries != 2000 || done.Tenants != 1 {
		t.Errorf("the next run pruned %+v", done)
	}
	l.want(tenant, 3000, 3000)
}

func TestPruner(t *testing.T) {
	l := newLogs(t)
	tenant, _ := l.tenant("a")
	p := changelog.NewPruner(l.DB, changelog.Retention{Age: day}, zap.NewNop())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx, time.Millisecond)
	}()
	for tail, want := 0, 1; want <= 2; want++ { // the user, then an entry that comes while it runs
		for tail < want { // it comes to pass, or the test does not end
			if err := l.owner.QueryRowContext(t.Context(), `SELECT tail FROM change_head`).Scan(&tail); err != nil { // or the test does not end
				t.Fatal(err)
			}
		}
		l.append(tenant, 1, 2*day)
	}
	cancel()
	<-done
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(p)
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "rowcall_pruned_entries_total" && f.GetMetric()[0].GetCounter().GetValue() < 2 {
			t.Errorf("%v", f)
		}
	}
	if len(families) != 5 {
		t.Errorf("%d metrics", len(families))
	}
}
