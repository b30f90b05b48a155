package changelog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/ledger"
	"rowcall/modules/store"
)

// Retention says how long things are kept. All times are measured by the database's clock, so that a node whose own is wrong
// takes nothing away.
type Retention struct {
	Age       time.Duration // entries go when they are older; 0 for never
	SeenAge   time.Duration // entries that every live replica has seen go when they are older than this; 0 for never
	Lease     time.Duration // of replicas
	Mutations time.Duration // what was answered to mutations is forgotten after this
	Archive   string        // folder for entries that go; "" for none
}

// clocks is how long mutations are kept beyond their retention, for nodes whose clocks differ from the database's: what such a node takes
// for young is to be known.
const clocks = 24 * time.Hour

// PruneStats is what [Prune] took away.
type PruneStats struct {
	Entries, Mutations, Replicas int64
	Tenants                      int // whose entries went
	Archived                     int // files that were written
}

// ErrPruning says that another process is pruning the database.
var ErrPruning = errors.New("changelog: another process is pruning this database")

// Prune takes away what need not be kept any longer, in small batches, until it is done or ctx ends. [ErrPruning] if another
// process is at it. It goes on with other tenants after an error with one, and returns the first.
//
// Writers never wait for it longer than for one another: only the tail is in a row that they lock, and it is raised by a statement of
// its own that does not wait for the disk. It is raised before the entries go, so that a reader whose statement sees the tail and
// entries together never misses one that it should have had. An archive is on the disk before either. What is archived, but for a
// crash still in the log, is not archived again.
func Prune(ctx context.Context, db *store.DB, keep Retention) (PruneStats, error) {
	p := pruning{ctx: ctx, db: db, keep: keep}
	err := db.InPlatformTx(ctx, func(turn *store.PlatformTx) error {
		var mine bool
		err := turn.Get(&mine, `SELECT pg_try_advisory_xact_lock(hashtext('rowcall prune'))
			FROM set_config('idle_in_transaction_session_timeout', '0', true)`)
		if err == nil && !mine {
			err = ErrPruning
		}
		if err != nil {
			return err
		}
		return p.run()
	})
	return p.done, err
}

// pruning is one run of Prune.
type pruning struct {
	ctx  context.Context
	db   *store.DB
	keep Retention
	now  time.Time // by the database's clock
	done PruneStats

	oldest, oldestSeen time.Time // entries from before may go; of the second, those that every live replica has seen
}

const (
	span  = 100_000 // entries that the tail is raised by at once, and the most in a file of the archive
	batch = 1000    // rows that one statement deletes
)

// log is a tenant's log of which something may go.
type log struct {
	Tenant uuid.UUID `db:"tenant_id"`
	Head   int64     `db:"head"`
	Tail   int64     `db:"tail"`
	First  int64     `db:"first"` // the position of the oldest entry that is there
}

func (p *pruning) run() error {
	if err := p.db.Platform(p.ctx).Get(&p.now, `SELECT now()`); err != nil {
		return err
	}
	if p.keep.Age > 0 {
		p.oldest = p.now.Add(-p.keep.Age)
	}
	if p.keep.SeenAge > 0 {
		p.oldestSeen = p.now.Add(-p.keep.SeenAge)
	}
	var logs []log
	youngest := p.oldest
	if p.oldestSeen.After(youngest) {
		youngest = p.oldestSeen
	}
	err := p.db.Platform(p.ctx).Select(&logs, `
		SELECT h.tenant_id, h.head, h.tail, c.position AS first
		FROM change_head h
		CROSS JOIN LATERAL (SELECT position, at FROM change WHERE tenant_id = h.tenant_id ORDER BY position LIMIT 1) c
		WHERE c.position <= h.tail OR c.at < $1
		ORDER BY h.tenant_id`, youngest)
	if err != nil {
		return err
	}
	var failed error
	for _, l := range logs {
		before := p.done.Entries
		err := p.prune(l)
		if p.done.Entries > before {
			p.done.Tenants++
		}
		if err != nil && failed == nil {
			failed = fmt.Errorf("prune tenant %s: %w", l.Tenant, err)
		}
		if p.ctx.Err() != nil {
			return failed
		}
	}
	return errors.Join(failed, p.mutations(), p.replicas())
}

func (p *pruning) prune(l log) error {
	if err := p.delete(l.Tenant, l.First-1, l.Tail); err != nil { // what a run left that ended after it had raised the tail
		return err
	}
	for tail := l.Tail; tail < l.Head; {
		end := min(tail+span, l.Head)
		to, err := p.bound(l.Tenant, tail, end)
		if err != nil || to == tail {
			return err
		}
		if err := p.archive(l.Tenant, tail, to); err != nil {
			return err
		}
		raised, err := p.db.Platform(p.ctx).Exec(`
			UPDATE change_head SET tail = $3 FROM set_config('synchronous_commit', 'off', true) WHERE tenant_id = $1 AND tail = $2`,
			l.Tenant.String(), tail, to)
		if err == nil && raised == 0 {
			err = ErrPruning // its turn must have ended with its connection
		}
		if err != nil {
			return err
		}
		if err := p.delete(l.Tenant, tail, to); err != nil || to < end {
			return err
		}
		tail = to
	}
	return nil
}

// bound returns the last position up to which all entries after the tail may go: clocks are set back, so a later entry can look
// older than one that must stay.
func (p *pruning) bound(tenant uuid.UUID, tail, end int64) (to int64, err error) {
	err = p.db.Platform(p.ctx).Get(&to, `
		SELECT coalesce(min(position) - 1, $3) FROM change
		WHERE tenant_id = $1 AND position > $2 AND position <= $3 AND at >= $4 AND (at >= $5 OR position > (
			SELECT coalesce(min(position), -1) FROM replica WHERE tenant_id = $1 AND seen_at > $6))`,
		tenant.String(), tail, end, p.oldest, p.oldestSeen, p.now.Add(-p.keep.Lease))
	return to, err
}

// delete deletes the entries after one position up to another.
func (p *pruning) delete(tenant uuid.UUID, after, to int64) error {
	for ; after < to; after += batch {
		n, err := p.db.Platform(p.ctx).Exec(`DELETE FROM change WHERE tenant_id = $1 AND position > $2 AND position <= $3`,
			tenant.String(), after, min(after+batch, to))
		if err != nil {
			return err
		}
		p.done.Entries += n
	}
	return nil
}

// mutations forgets the mutations under the floor, and then raises it: what goes has been refused since the run before. So no statement
// that claims a mutation can still have seen the floor below it when it is gone.
func (p *pruning) mutations() error {
	for more := true; more; {
		n, err := p.db.Platform(p.ctx).Exec(`
			DELETE FROM mutation WHERE (tenant_id, user_id, id) IN (
				SELECT tenant_id, user_id, id FROM mutation WHERE id < (SELECT id FROM mutation_floor)
				ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED)`, batch)
		p.done.Mutations += n
		if err != nil {
			return err
		}
		more = n == batch
	}
	floor := ledger.First(p.now.Add(-p.keep.Mutations - clocks)).String()
	_, err := p.db.Platform(p.ctx).Exec(`UPDATE mutation_floor SET id = $1 WHERE id < $1`, floor)
	return err
}

func (p *pruning) replicas() (err error) {
	p.done.Replicas, err = p.db.Platform(p.ctx).Exec(`DELETE FROM replica WHERE seen_at <= $1`, p.now.Add(-p.keep.Lease))
	return err
}
