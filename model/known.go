package model

import (
	"context"
	"sync"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// known remembers the actors of sessions and API keys, and forgets them when the database says that something about
// them has changed.
//
// Guarantee: an actor that it gives was good in the database at some moment after the call began. For that it reads,
// after each call began, what has been appended to auth_change since it last looked; calls that come while such a look is
// under way share the next one, so that a busy server looks a few thousand times a second at the most, however many
// requests it serves. What a call finds in the memory after that look has not been revoked before it.
type known struct {
	db *store.DB

	mu       sync.Mutex
	actors   map[string]*credential // by an access token, or by an API key's hash
	byUser   map[int64]map[string]bool
	holds    map[int64]map[*Hold]struct{} // by user
	changes  int64                        // counts looks that found something, so that what was loaded before one is not remembered after it
	position int64                        // of the last auth_change seen; 0: none yet
	tag      uuid.UUID                    // of the same

	running, next *look
}

// maxKnown bounds the memory, at about a kilobyte each.
const maxKnown = 50_000

// lookTimeout ends a look at a database that does not answer.
const lookTimeout = 5 * time.Second

type credential struct {
	actor     *auth.Actor
	expiresAt time.Time // zero: never
	usedAt    time.Time // of an API key: when its use was last noted
}

// look is one reading of auth_change.
type look struct {
	done chan struct{}
	err  error
}

func newKnown(db *store.DB) *known {
	return &known{db: db, actors: map[string]*credential{}, byUser: map[int64]map[string]bool{}, holds: map[int64]map[*Hold]struct{}{}}
}

// get returns the credential's actor, from memory if a look finds nothing against it, else by load.
func (k *known) get(ctx context.Context, key string, now time.Time, load func() (*credential, error)) (*credential, error) {
	if k.peek(key) != nil {
		if err := k.look(ctx); err != nil {
			return nil, err
		}
		if c := k.peek(key); c != nil && (c.expiresAt.IsZero() || c.expiresAt.After(now)) {
			return c, nil
		}
	}
	k.mu.Lock()
	before := k.changes
	k.mu.Unlock()
	c, err := load()
	if err != nil {
		return nil, err
	}
	k.remember(key, c, before) //nolint:contextcheck // a look is shared by many requests and may outlive each
	return c, nil
}

func (k *known) peek(key string) *credential {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.actors[key]
}

func (k *known) remember(key string, c *credential, before int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.changes != before || k.position == 0 {
		if k.position == 0 { // the first ever: the next look begins at the log's end
			k.start()
		}
		return
	}
	if len(k.actors) >= maxKnown {
		k.forgetAll()
	}
	k.actors[key] = c
	keys := k.byUser[c.actor.User]
	if keys == nil {
		keys = map[string]bool{}
		k.byUser[c.actor.User] = keys
	}
	keys[key] = true
}

func (k *known) forgetAll() {
	clear(k.actors)
	clear(k.byUser)
}

// look returns after a reading of auth_change that began after the call.
func (k *known) look(ctx context.Context) error {
	k.mu.Lock()
	l := k.start() //nolint:contextcheck // as above
	k.mu.Unlock()
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start returns the next look to begin. k.mu is held.
func (k *known) start() *look {
	if k.next == nil {
		k.next = &look{done: make(chan struct{})}
		if k.running == nil {
			k.running, k.next = k.next, nil
			go k.run(k.running)
			return k.running
		}
	}
	return k.next
}

// run carries out looks until none is wanted.
func (k *known) run(l *look) {
	for l != nil {
		l.err = k.read()
		close(l.done)
		k.mu.Lock()
		l, k.next = k.next, nil
		k.running = l
		k.mu.Unlock()
	}
}

type authChange struct {
	Position int64     `db:"position"`
	UserID   *int64    `db:"user_id"` // nil: anybody
	Tag      uuid.UUID `db:"tag"`
}

func (k *known) read() error {
	ctx, cancel := context.WithTimeout(context.Background(), lookTimeout)
	defer cancel()
	k.mu.Lock()
	position := k.position
	k.mu.Unlock()
	query := `SELECT position, user_id, tag FROM auth_change WHERE position >= $1 ORDER BY position`
	if position == 0 {
		query += ` DESC LIMIT 1`
	}
	var found []authChange
	err := k.db.Platform(ctx).Select(&found, query, position)

	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err != nil, len(found) == 0, position != 0 && (found[0].Position != position || found[0].Tag != k.tag):
		// Nothing is certain: the log was pruned past us, or the database is another than it was.
		k.position = 0
		k.changes++
		k.forgetAll()
		return err
	case position == 0:
		k.position, k.tag = found[0].Position, found[0].Tag
		k.changes++
		k.recheckAll()
		return nil
	case len(found) == 1: // what was seen before, and nothing since
		return nil
	}
	k.changes++
	last := found[len(found)-1]
	k.position, k.tag = last.Position, last.Tag
	for _, c := range found[1:] {
		if c.UserID == nil {
			k.forgetAll()
			k.recheckAll()
			continue
		}
		k.recheck(*c.UserID)
		for key := range k.byUser[*c.UserID] {
			delete(k.actors, key)
		}
		delete(k.byUser, *c.UserID)
	}
	return nil
}
