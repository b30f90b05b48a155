// Package store reaches Postgres: connections, transactions, and the generic repository [Repo] through which every read
// and write of tenant data goes.
//
// Two fences stand around a tenant's rows. Each statement of a [Repo] names the tenant of the [Tx] that it runs in, and
// row-level security in the database shows a connection no rows but those of the tenant that it is set to; a connection
// that is set to none sees nothing. Work for a tenant ([Tx]) and work for the platform ([PlatformTx]: login, sign-up,
// schedulers) use two Postgres logins, two pools and two types, and the tenants' login cannot raise itself.
package store

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/jmoiron/sqlx"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Config says where the database is.
type Config struct {
	TenantURL     string // login that is a member of rowcall_tenant
	PlatformURL   string // login that is a member of rowcall_platform
	TenantConns   int    // connections for tenants' work; 0 for 8
	PlatformConns int    // connections for the platform's work; 0 for 4

	// CursorKey signs the cursors of lists. All nodes must have the same; without one, a cursor is good on the node that made it until
	// that stops.
	CursorKey auth.Key

	// GroupCommit is how many writes of a tenant, that come while others of it run, are committed together at most; 0 for 128, 1 for each
	// by itself.
	GroupCommit int

	// Aside, if not nil, runs wait, in which a write waits for its group and takes nothing of the database: whoever bounds how many calls
	// run at once need not count it meanwhile.
	Aside func(ctx context.Context, wait func())

	// StatementTimeout is when the database ends a statement of either login, which then is TIMEOUT; 0 for what the URL or
	// the login's own settings say. Unlike a context that ends, it costs no connection.
	StatementTimeout time.Duration

	// Session are parameters that each session is set to, as those that triggers read.
	Session map[string]string

	// Observe, if not nil, is told of each statement when it is over, before its caller goes on. ctx is the caller's, and may
	// have ended. Any number of goroutines call it at once.
	Observe func(ctx context.Context, s Statement)
}

// DB is a database, open for tenants' work and for the platform's. It is safe for concurrent use.
type DB struct {
	tenant, platform                 *sqlx.DB
	tenantPrepared, platformPrepared *counters // of the prepared statements of their connections
	constraints                      sync.Map  // constraintKey -> constraint
	cursorCodes                      sync.Pool // of hash.Hash, with Config.CursorKey
	committed                        func(tenant uuid.UUID, position int64)
	common                           *common
	groups                           *groups // nil: each write commits by itself
}

// Open connects both logins and checks that neither can do more than it should. It blocks until the database answers
// or ctx ends.
func Open(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.CursorKey == nil {
		cfg.CursorKey = make(auth.Key, auth.MinKeySize)
		_, _ = rand.Read(cfg.CursorKey) // which never fails
	}
	tenant, err := newConnector(TenantLogin, cfg.TenantURL, cfg)
	if err != nil {
		return nil, fmt.Errorf("tenants' login: %w", err)
	}
	platform, err := newConnector(PlatformLogin, cfg.PlatformURL, cfg)
	if err != nil {
		return nil, fmt.Errorf("platform's login: %w", err)
	}
	common, err := lru.New[string, time.Time](maxCommon)
	if err != nil {
		return nil, err
	}
	db := &DB{
		tenant: openPool(tenant, cfg.TenantConns, 8), tenantPrepared: &tenant.prepared,
		platform: openPool(platform, cfg.PlatformConns, 4), platformPrepared: &platform.prepared,
		cursorCodes: sync.Pool{New: func() any { return hmac.New(sha256.New, cfg.CursorKey) }}, common: common,
		committed: func(uuid.UUID, int64) {}, groups: newGroups(cfg.GroupCommit, cfg.Aside),
	}
	if err := db.checkLogins(ctx); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

func openPool(c *connector, conns, byDefault int) *sqlx.DB {
	if conns == 0 {
		conns = byDefault
	}
	pool := sqlx.NewDb(sql.OpenDB(c), "postgres")
	pool.SetMaxOpenConns(conns)
	pool.SetMaxIdleConns(conns)
	pool.SetConnMaxIdleTime(5 * time.Minute)
	return pool
}

// checkLogins refuses logins with which the second fence would not stand: those that could become somebody whom row-level
// security does not hold, or, of the tenants' login, the platform or the owner of a table.
func (db *DB) checkLogins(ctx context.Context) error {
	for _, login := range []struct {
		pool       *sqlx.DB
		what, role string
	}{
		{db.tenant, "tenants' login", "rowcall_tenant"},
		{db.platform, "platform's login", "rowcall_platform"},
	} {
		var l struct {
			Member   bool `db:"member"`
			Raised   bool `db:"raised"`
			Platform bool `db:"platform"`
			Owner    bool `db:"owner"`
		}
		err := login.pool.GetContext(ctx, &l, `
			SELECT pg_has_role($1::text, 'MEMBER') AS member,
			       pg_has_role('rowcall_platform', 'MEMBER') AS platform,
			       EXISTS (SELECT FROM pg_roles r WHERE pg_has_role(r.oid, 'MEMBER')
			           AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)) AS raised,
			       EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace
			           AND pg_has_role(c.relowner, 'MEMBER')) AS owner`, login.role)
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", login.what, err)
		case !l.Member:
			return fmt.Errorf("%s: it is not a member of the role %s", login.what, login.role)
		case l.Raised:
			return fmt.Errorf("%s: it has, or can get, SUPERUSER, BYPASSRLS or CREATEROLE", login.what)
		case login.role == "rowcall_tenant" && (l.Platform || l.Owner):
			return fmt.Errorf("%s: it owns tables, or is a member of rowcall_platform or of an owner", login.what)
		}
	}
	return nil
}

// Close closes both pools. Statements that run, and writes that wait for their turn, are waited for.
func (db *DB) Close() error {
	db.groups.close()
	return errors.Join(db.tenant.Close(), db.platform.Close())
}

// Ping asks both logins for an answer; UNAVAILABLE if one gives none before ctx ends.
func (db *DB) Ping(ctx context.Context) error {
	for _, pool := range []*sqlx.DB{db.tenant, db.platform} {
		if err := pool.PingContext(ctx); err != nil {
			return apperr.Wrap(apperr.Unavailable, "The database cannot be reached", err)
		}
	}
	return nil
}

// runner runs statements for a Tx or a PlatformTx, and counts them for the request's log line.
type runner struct {
	ctx context.Context
	db  *DB
	on  sqlx.ExtContext // a pool, where each statement commits by itself, or a transaction
	now time.Time

	bytes *int // of what has been read, if several statements are for one result
}

// Context returns the context of the work: it ends when the call does.
func (r *runner) Context() context.Context { return r.ctx }

// Now returns the time of the work: one for a whole transaction, in UTC and whole microseconds, as Postgres keeps it.
func (r *runner) Now() time.Time { return r.now }

// Select runs a hand-written query and scans its rows into the slice that dest points to.
func (r *runner) Select(dest any, query string, args ...any) error {
	defer r.count(time.Now())
	return r.plainError(sqlx.SelectContext(r.ctx, r.on, dest, query, args...))
}

// Get runs a hand-written query and scans its one row into dest; sql.ErrNoRows if there is none.
func (r *runner) Get(dest any, query string, args ...any) error {
	defer r.count(time.Now())
	err := sqlx.GetContext(r.ctx, r.on, dest, query, args...)
	if errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return r.plainError(err)
}

// Each runs a hand-written query, scans its rows into dest, pointers, one after another, and calls do after each, as long as that
// returns true. Rows after that are still sent by the database: bound them in the query.
func (r *runner) Each(query string, args, dest []any, do func() bool) (err error) {
	start, n := time.Now(), 0
	defer func() {
		r.count(start)
		auth.RequestFrom(r.ctx).Stats.Rows += n
	}()
	rows, err := r.on.QueryxContext(r.ctx, query, args...)
	if err != nil {
		return r.plainError(err)
	}
	defer func() { err = r.plainError(closeRows(rows, err)) }()
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if n++; !do() {
			return nil
		}
	}
	return rows.Err()
}

// Exec runs a hand-written statement and returns how many rows it touched.
func (r *runner) Exec(query string, args ...any) (int64, error) {
	defer r.count(time.Now())
	res, err := r.on.ExecContext(r.ctx, query, args...)
	if err != nil {
		return 0, r.plainError(err)
	}
	return res.RowsAffected()
}

func (r *runner) count(start time.Time) {
	s := &auth.RequestFrom(r.ctx).Stats
	s.Statements++
	s.Database += time.Since(start)
}

// Tx is work for one tenant by one actor, at one time. Its statements run in one transaction if it comes from
// [DB.InTx], and each by itself if it comes from [DB.Session]. One goroutine at a time may use it.
type Tx struct {
	runner
	Actor  *auth.Actor
	tenant string

	whole    *transaction // that it is, or is a part of; nil: its statements each commit by themselves
	position *int64       // of the last entry made through it
}

// Session returns a Tx whose statements each commit by themselves, for the actor of the context's request;
// UNAUTHENTICATED without one. It takes no connection until it is used, and needs no closing. With the context of a
// transaction ([DB.Atomic]), it is a part of that.
func (db *DB) Session(ctx context.Context) (*Tx, error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	if tx, _ := db.within(ctx); tx != nil {
		return tx.join(ctx, actor)
	}
	tenant := actor.Tenant.String()
	return &Tx{runner: newRunner(withTenant(ctx, tenant), db, db.tenant), Actor: actor, tenant: tenant, position: new(int64)}, nil
}

// Joined tells whether tx is a part of a transaction.
func (tx *Tx) Joined() bool { return tx.whole != nil }

// InTx runs do in one transaction for the actor of the context's request, and commits it if do returns nil. Whatever
// else happens, be it a panic or a cancelled context, nothing is kept. An error of the commit itself is UNAVAILABLE if
// the connection was lost: then it is not known whether the work was kept. With the context of a transaction, do is a part
// of that ([DB.Atomic]).
func (db *DB) InTx(ctx context.Context, do func(*Tx) error) error {
	tx, err := db.Session(ctx)
	if err != nil {
		return err
	}
	return tx.atomically(nil, do)
}

// InTx runs do in one transaction, as [DB.InTx] does, for the Tx's actor: in tx itself if it is one already.
func (tx *Tx) InTx(do func(*Tx) error) error { return tx.atomically(nil, do) }

// atomically runs do in a transaction: in tx itself if it is one already, which then fails if do does.
func (tx *Tx) atomically(opts *sql.TxOptions, do func(*Tx) error) error {
	if tx.whole != nil {
		done := false
		defer func() {
			if !done && tx.whole.failed == nil { // a panic, which somebody may recover from before it ends the whole
				tx.whole.failed = errPartPanicked
			}
		}()
		err := do(tx)
		if done = true; tx.whole.failed == nil {
			tx.whole.failed = err // there is no savepoint to go back to
		}
		return err
	}
	part := &Tx{Actor: tx.Actor, tenant: tx.tenant, whole: &transaction{}, position: tx.position}
	err := transact(&tx.runner, tx.db.tenant, opts, func(r runner) error {
		part.runner = r
		part.ctx = context.WithValue(r.ctx, withinKey{r.db}, part)
		if err := do(part); err != nil {
			return err
		}
		if part.whole.failed != nil {
			return part.whole.failed
		}
		if err := part.flush(); err != nil {
			return err
		}
		for _, do := range part.whole.last {
			if err := do(part); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if part.whole.head > 0 {
		tx.db.committed(tx.Actor.Tenant, part.whole.head)
	}
	for _, do := range part.whole.after {
		do()
	}
	return nil
}

var errPartPanicked = errors.New("store: a part of the transaction panicked")

// PlatformTx is work of the platform itself, across tenants: login, sign-up, schedulers. No repository takes one.
type PlatformTx struct {
	runner
	readOnly bool // within a tenant's transaction, which could not undo its work
}

// Platform returns a PlatformTx whose statements each commit by themselves. Within a transaction for a tenant it only reads.
func (db *DB) Platform(ctx context.Context) *PlatformTx {
	_, within := db.within(ctx)
	if within {
		ctx = withTenant(ctx, "")
	}
	return &PlatformTx{newRunner(ctx, db, db.platform), within}
}

// InPlatformTx runs do in one transaction, as InTx does. Within a transaction for a tenant it is INVALID_REQUEST.
func (db *DB) InPlatformTx(ctx context.Context, do func(*PlatformTx) error) error {
	p := db.Platform(ctx)
	if p.readOnly {
		return errApart
	}
	return transact(&p.runner, db.platform, nil, func(r runner) error { return do(&PlatformTx{runner: r}) })
}

func newRunner(ctx context.Context, db *DB, on sqlx.ExtContext) runner {
	now := auth.RequestFrom(ctx).Now().UTC().Truncate(time.Microsecond)
	return runner{ctx: ctx, db: db, on: on, now: now}
}

// transact is the one place where transactions begin and end.
func transact(r *runner, pool *sqlx.DB, opts *sql.TxOptions, do func(runner) error) (err error) {
	start := time.Now()
	sqlTx, err := pool.BeginTxx(r.ctx, opts)
	r.count(start)
	if err != nil {
		return r.plainError(err)
	}
	finished := false
	defer func() {
		if finished {
			return
		}
		// A rollback after a lost connection or a cancelled context fails, and there is nothing left to roll back.
		if rollbackErr := sqlTx.Rollback(); rollbackErr != nil && !errors.Is(rollbackErr, sql.ErrTxDone) && err != nil {
			err = errors.Join(err, rollbackErr)
		}
	}()
	inner := *r
	inner.on = sqlTx
	if err := do(inner); err != nil {
		return err
	}
	defer r.count(time.Now())
	finished = true
	return r.commitError(sqlTx.Commit())
}
