package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/lib/pq"
)

// The two logins, as [Statement] names them.
const (
	TenantLogin   = "tenant"
	PlatformLogin = "platform"
)

// Statement is one statement that has run, as the database was asked it: BEGIN, COMMIT and ROLLBACK too.
type Statement struct {
	Text     string // with placeholders: it holds no values, unless hand-written SQL has them in it
	Login    string // who ran it: TenantLogin or PlatformLogin
	Start    time.Time
	Duration time.Duration // until its last row was read, without the wait for a connection
	Rows     int64         // that it returned or touched
	Failure  string        // "" for none; else "canceled", the SQLSTATE that the server gave, or "connection"

	args int
	by   *connector // nil: it has no plan
}

// ErrNoPlan is the error of asking for the plan of a statement that cannot have one.
var ErrNoPlan = errors.New("store: such a statement has no plan")

// Plan asks Postgres how it would run the statement, without running it, and blocks until it answers or ctx ends. It asks
// over a connection of its own, so that it neither takes one from the calls nor touches a transaction.
//
// The plan is the generic one, for any values: it holds none, and may differ from the one that Postgres chose for the
// values that the statement had.
func (s Statement) Plan(ctx context.Context) (plan string, err error) {
	if s.by == nil || s.Text == begin || s.Text == commit || s.Text == rollback {
		return "", ErrNoPlan
	}
	quiet := &connector{pq: s.by.pq}
	dc, err := quiet.Connect(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dc.Close()) }()
	c := dc.(*conn)
	defer c.guard(ctx)()
	if _, err := c.pqConn.ExecContext(ctx, `SET plan_cache_mode = force_generic_plan`, nil); err != nil {
		return "", err
	}
	// EXPLAIN (GENERIC_PLAN) is Postgres 16's. PREPARE is itself sent as a prepared statement, of which the server takes one
	// at a time: whatever the text is, nothing of it runs.
	prepare, err := c.prepared(ctx, `PREPARE slow AS `+s.Text)
	if err != nil {
		return "", err
	}
	if _, err := prepare.ExecContext(ctx, nil); err != nil {
		return "", err
	}
	args := ""
	if s.args > 0 {
		args = "(NULL" + strings.Repeat(", NULL", s.args-1) + ")"
	}
	rows, err := c.pqConn.QueryContext(ctx, `EXPLAIN EXECUTE slow`+args, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	var b strings.Builder
	for line := make([]driver.Value, 1); ; {
		if err := rows.Next(line); errors.Is(err, io.EOF) {
			return b.String(), nil
		} else if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%s\n", line[0])
	}
}

// The statements of a transaction's ends.
const (
	begin    = "BEGIN"
	commit   = "COMMIT"
	rollback = "ROLLBACK"
)

// running is a statement while it runs.
type running struct {
	Statement
	ctx     context.Context
	observe func(context.Context, Statement) // nil: nobody is told
}

func (c *connector) watch(ctx context.Context, text string, args int) running {
	r := running{ctx: ctx, observe: c.observe}
	if r.observe != nil {
		r.Statement = Statement{Text: text, Login: c.login, Start: time.Now(), args: args, by: c}
	}
	return r
}

func (r *running) end(rows int64, err error) {
	if r.observe == nil {
		return
	}
	r.Duration, r.Rows = time.Since(r.Start), rows
	var pe *pq.Error
	switch {
	case err == nil:
	case r.ctx.Err() != nil: // whatever the driver says of it
		r.Failure = "canceled"
	case errors.As(err, &pe):
		r.Failure = string(pe.Code)
	default:
		r.Failure = "connection"
	}
	r.observe(r.ctx, r.Statement)
}

// PoolStats is the state of a login's connections, and what they have counted since Open.
type PoolStats struct {
	sql.DBStats
	Prepared CacheStats // prepared statements, which each connection has of its own
}

// CacheStats is how often a cache had what was asked for, and how much it holds.
type CacheStats struct{ Hits, Misses, Size int64 }

// Stats returns the state of both pools.
func (db *DB) Stats() (tenant, platform PoolStats) {
	return PoolStats{db.tenant.Stats(), db.tenantPrepared.stats()}, PoolStats{db.platform.Stats(), db.platformPrepared.stats()}
}

// counters count for a CacheStats. They are safe for concurrent use.
type counters struct{ hits, misses, size atomic.Int64 }

func (c *counters) stats() CacheStats {
	return CacheStats{c.hits.Load(), c.misses.Load(), c.size.Load()}
}

// textCache keeps an entity's SQL texts by their shapes. Of the large ones, which are not prepared and which clients can make as large as
// a filter may be, it keeps few.
type textCache struct{ small, large *lru.Cache[string, string] }

// texts counts for all entities, which are declared when the program starts, together.
var texts counters

func newTextCache() textCache {
	sized := func(n int) *lru.Cache[string, string] {
		c, err := lru.NewWithEvict(n, func(string, string) { texts.size.Add(-1) })
		if err != nil {
			panic(err) // the sizes are constants
		}
		return c
	}
	return textCache{sized(textsPerEntity), sized(largePerEntity)}
}

// Get returns the text for a shape.
func (c textCache) Get(shape string) (string, bool) {
	text, ok := c.small.Get(shape)
	if !ok {
		text, ok = c.large.Get(shape)
	}
	if ok {
		texts.hits.Add(1)
	} else {
		texts.misses.Add(1)
	}
	return text, ok
}

// Add keeps the text for a shape, which another goroutine may have done already.
func (c textCache) Add(shape, text string) {
	cache := c.small
	if len(text) > maxPrepared {
		cache = c.large
	}
	if known, _ := cache.ContainsOrAdd(shape, text); !known {
		texts.size.Add(1)
	}
}

// TextStats returns what the caches of SQL texts have counted since the program started, those of all entities together.
func TextStats() CacheStats { return texts.stats() }
