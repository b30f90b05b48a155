// Package changelog reads the log of a tenant's changes.
//
// The transaction of a change appends the change's entry ([store]), as the last thing that it does before its commit. So the
// positions of a tenant's entries are dense (1, 2, 3, …) and in the order of the commits: whoever sees position n sees, or
// has been able to see, all before it. Entries up to the tail have been pruned.
//
// What is in a position's place can change in one way only: when the database is restored from a backup, and others write other
// entries there. Then the epoch is another, and whoever followed the log must start over. So must an actor whose role has changed, who
// sees other rows and fields though none has changed: the epoch is another for each role.
package changelog

import (
	"sync"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Head is where a tenant's log begins and ends.
type Head struct {
	Position int64  // of the newest entry; 0 if there never was one
	Tail     int64  // of the last pruned entry; 0 if there is none
	Epoch    string // of what is at the positions, for actors of the role of who asks
}

// Check returns nil if whoever has followed the log up to a position, in an epoch ("" if they do not know it), can follow it
// from there, else RESYNC_REQUIRED.
func (h Head) Check(since int64, epoch string) error {
	var message string
	switch {
	case epoch != "" && epoch != h.Epoch:
		message = "This epoch of the log is over"
	case since < h.Tail:
		message = "The entries after this position have been pruned"
	case since > h.Position:
		message = "The log has not come to this position"
	default:
		return nil
	}
	return apperr.New(apperr.ResyncRequired, message+": start over with sync_bootstrap").With("head", h.Position).With("tail", h.Tail)
}

// Page is entries in the order of their positions.
type Page struct {
	Entries  []Entry
	Position int64 // up to which these are all that were asked for; at least the last entry's
	Head     Head  // as the entries were read: there is more if its position is higher
}

// Bounds of a page.
const (
	maxScan  = 20_000  // positions that it goes on
	maxBytes = 4 << 20 // of rows, after which it ends
)

// epochAge is how old the epoch may be that is answered. Connections do not survive a restore, and so clients that followed the
// old one come back to a server that has to ask.
const epochAge = time.Second

// Log reads the logs of the tenants of one database. It is safe for concurrent use. Errors by kind, of all methods: UNAVAILABLE,
// TIMEOUT.
type Log struct {
	mu    sync.Mutex
	epoch string
	asked time.Time // when the epoch was asked for
}

// New returns a Log.
func New() *Log { return &Log{} }

// Head returns the head of the tenant's log.
func (l *Log) Head(tx *store.Tx) (Head, error) {
	var h Head
	err := tx.Each(`SELECT head, tail FROM change_head WHERE tenant_id = $1`, []any{tx.Actor.Tenant.String()},
		[]any{&h.Position, &h.Tail}, func() bool { return true })
	if err == nil {
		h.Epoch, err = l.currentEpoch(tx)
	}
	return h, err
}

// A tenant's first change makes its head. The entries and the head are of one snapshot.
const after = `
	SELECT h.head, h.tail, coalesce(c.position, 0), coalesce(c.at, 'epoch'), coalesce(c.actor, 0), coalesce(c.method, ''),
	       coalesce(c.entity, ''), coalesce(c.row_id, ''), coalesce(c.op, ''), coalesce(c.version, 0), c.before, c.data
	FROM change_head h
	LEFT JOIN LATERAL (
		SELECT * FROM change
		WHERE tenant_id = $1 AND position > $2 AND position <= $3 AND ($4::text[] IS NULL OR entity = ANY ($4))
		ORDER BY position LIMIT $5
	) c ON true
	WHERE h.tenant_id = $1
	ORDER BY c.position`

// After returns up to limit entries after the position, of the entities, or of all if that is nil. There can be fewer though more
// are left: see Page.Position. Whether the log still has what follows the position is for the caller to ask: [Head.Check].
func (l *Log) After(tx *store.Tx, since int64, limit int, entities []string) (Page, error) {
	var (
		p       Page
		e       Entry
		size    int
		partial bool
		only    any // nil is NULL
	)
	if entities != nil {
		only = entities
	}
	last := max(since, since+maxScan) // since can be any integer, and the sum too large for one
	err := tx.Each(after, []any{tx.Actor.Tenant.String(), since, last, only, limit},
		[]any{&p.Head.Position, &p.Head.Tail, &e.Position, &e.At, &e.Actor, &e.Method,
			&e.Entity, &e.RowID, &e.Op, &e.Version, (*[]byte)(&e.Before), (*[]byte)(&e.Data)},
		func() bool {
			if e.Position == 0 { // the head only
				return true
			}
			if partial = size > maxBytes; partial {
				return false
			}
			size += len(e.Before) + len(e.Data)
			e.At = e.At.UTC()
			p.Entries = append(p.Entries, e)
			return true
		})
	if err != nil {
		return Page{}, err
	}
	if partial || len(p.Entries) == limit {
		p.Position = p.Entries[len(p.Entries)-1].Position
	} else {
		p.Position = max(since, min(last, p.Head.Position))
	}
	p.Head.Epoch, err = l.currentEpoch(tx)
	return p, err
}

func (l *Log) currentEpoch(tx *store.Tx) (string, error) {
	l.mu.Lock()
	epoch, asked := l.epoch, l.asked
	l.mu.Unlock()
	now := time.Now()
	if epoch == "" || now.Sub(asked) >= epochAge {
		if err := tx.Get(&epoch, `SELECT current_epoch()`); err != nil {
			return "", err
		}
		l.mu.Lock()
		l.epoch, l.asked = epoch, now
		l.mu.Unlock()
	}
	return epochFor(epoch, tx.Actor.Role), nil
}

func epochFor(epoch string, role auth.Role) string { return epoch + "." + role.String() }
