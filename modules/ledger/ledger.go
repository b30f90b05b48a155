// Package ledger does at most once what a client asks for, however often, and wherever, it asks.
//
// A client that loses an answer cannot know whether its call was carried out. So it names what it wants by a [Mutation], and asks
// again until it is answered: the work and the row that remembers its answer are one transaction, and whoever asks again gets that
// answer. A user's names are their own.
//
// Answers are remembered for a time, and a name tells its age, as it is a UUIDv7: one that may have been forgotten is refused and never
// taken for a new one. That does not depend on clocks: what is forgotten is what lies under a floor, which is in the database
// and only rises.
package ledger

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// MinRetention is the least time for which mutations are remembered.
const MinRetention = 30 * 24 * time.Hour

// maxAhead is how far a client's clock may be ahead. Without a bound, a name of the far future would have to be remembered until then.
const maxAhead = 24 * time.Hour

// Ledger remembers the mutations of all tenants. It is safe for concurrent use, on any number of nodes.
type Ledger struct {
	db        *store.DB
	retention time.Duration
}

// New returns a Ledger that refuses mutations that were named longer ago than the retention; 0 is MinRetention.
func New(db *store.DB, retention time.Duration) *Ledger {
	if retention == 0 {
		retention = MinRetention
	}
	return &Ledger{db, retention}
}

// Mutation is what a client wants done once.
type Mutation struct {
	ID     uuid.UUID // a UUIDv7 that the client has made for it
	Digest []byte    // of what it is; nobody should be able to find out secrets in it
	Path   string    // where the client gave the ID, for issues
}

// Digest returns the SHA-256 of a method and what it is called with, a struct. Neither the order of the members nor white space
// make a difference; numbers are the same if they are written in the same way.
func Digest(method string, content any) ([]byte, error) {
	text, err := json.Marshal(content, json.Deterministic(true))
	if err == nil {
		err = (*jsontext.Value)(&text).Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
	}
	if err != nil {
		return nil, err
	}
	h := sha256.New()
	h.Write([]byte(method))
	h.Write([]byte{0})
	h.Write(text)
	return h.Sum(nil), nil
}

// Work is what a mutation does, in a transaction. Its answer is asked for when the positions of its entries in the change log are
// known, before the commit.
type Work func(tx *store.Tx) (answer func() ([]byte, error), err error)

// Refusal makes an answer of a failure.
type Refusal func(*apperr.Error) ([]byte, error)

// Once does the work in a transaction for the actor of the context's request, unless it has been done. It returns nil if the work was
// done now, and else the answer of that time. Calls with the same mutation at the same time wait for each other.
//
// A failure of the work that asking again would not mend (all kinds but INTERNAL, RATE_LIMITED, ABORTED, TIMEOUT, UNAVAILABLE,
// UNAUTHENTICATED and INVALID_REQUEST) is an outcome, too: what refusal makes of it is remembered and returned. After other errors asking
// again is right. As a part of a transaction ([store.DB.Atomic]) it remembers no failure, because nothing of the whole is kept.
//
// INVALID_PARAMS for an ID that is not a UUIDv7; VALIDATION for one that has been used with another digest, that is older than the
// retention, or that comes from the future; FORBIDDEN for an actor who may not write anything. These are not remembered.
func (l *Ledger) Once(ctx context.Context, m Mutation, work Work, refusal Refusal) ([]byte, error) {
	session, err := l.session(ctx, m)
	if err != nil {
		return nil, err
	}
	var answered []byte
	begun := false
	err = l.db.InTx(ctx, func(tx *store.Tx) (err error) {
		if answered, err = claim(tx, tx.Actor, m, nil); err != nil || answered != nil {
			return err
		}
		begun = true
		answer, err := work(tx)
		if err != nil {
			return err
		}
		tx.BeforeCommit(func(tx *store.Tx) error {
			text, err := answer()
			if err != nil {
				return err
			}
			_, err = tx.Exec(`UPDATE mutation SET answer = $4 WHERE tenant_id = $1 AND user_id = $2 AND id = $3`,
				tx.Actor.Tenant.String(), tx.Actor.User, m.ID.String(), text)
			return err
		})
		return nil
	})
	if err != nil && begun {
		return refuse(session, m, err, refusal)
	}
	return answered, err
}

// Keep remembers the answer to a mutation in the transaction that does it, as the last thing in that.
type Keep func(tx *store.PlatformTx, answer []byte) error

// OnPlatform is Once for work of the platform, which has a transaction of its own and returns the error of keep. A repeat
// may begin the work while the first still runs; then keep undoes it.
func (l *Ledger) OnPlatform(ctx context.Context, m Mutation, work func(keep Keep) error, refusal Refusal) ([]byte, error) {
	session, err := l.session(ctx, m)
	if err != nil {
		return nil, err
	}
	answered, err := known(session, session.Actor, m)
	if !errors.Is(err, sql.ErrNoRows) {
		return answered, err
	}
	err = work(func(tx *store.PlatformTx, answer []byte) (err error) {
		if answered, err = claim(tx, session.Actor, m, answer); answered != nil {
			err = errAnswered
		}
		return err
	})
	switch {
	case answered != nil:
		return answered, nil
	case err != nil:
		return refuse(session, m, err, refusal)
	}
	return nil, nil
}

var errAnswered = errors.New("ledger: another call was faster")

// session returns the actor's session if the mutation may be looked for.
func (l *Ledger) session(ctx context.Context, m Mutation) (*store.Tx, error) {
	session, err := l.db.Session(ctx)
	if err == nil {
		err = session.Actor.Can(auth.Member, auth.ScopeWrite)
	}
	if err == nil {
		err = l.check(m, session.Now())
	}
	return session, err
}

// refuse remembers the failure of the work, if it is one that lasts, and returns its answer.
func refuse(session *store.Tx, m Mutation, failed error, refusal Refusal) ([]byte, error) {
	e := apperr.From(failed)
	if passing[e.Kind] || session.Joined() {
		return nil, failed
	}
	text, err := refusal(e)
	if err != nil {
		return nil, err
	}
	// What was claimed has been rolled back, and another call may have been faster than this.
	answered, err := claim(session, session.Actor, m, text)
	if err == nil && answered == nil {
		answered = text
	}
	return answered, err
}

// passing are the kinds of failures after which the same call may succeed.
var passing = map[apperr.Kind]bool{
	apperr.Internal: true, apperr.Unauthenticated: true, apperr.RateLimited: true, apperr.Aborted: true, apperr.Timeout: true,
	apperr.Unavailable: true, apperr.InvalidRequest: true,
}

// check refuses names that are not to be looked up.
func (l *Ledger) check(m Mutation, now time.Time) error {
	if m.ID.Version() != 7 || m.ID.Variant() != uuid.RFC4122 {
		return apperr.Invalid(apperr.Issue{Path: m.Path, Reason: "must be a UUIDv7"})
	}
	switch made := Time(m.ID); {
	case made.Before(now.Add(-l.retention)):
		return expired(m)
	case made.After(now.Add(maxAhead)):
		return apperr.Validation(apperr.Issue{Path: m.Path, Reason: "comes from the future: look at the clock"})
	}
	return nil
}

func expired(m Mutation) error {
	return apperr.Validation(apperr.Issue{Path: m.Path, Reason: "has expired: it is older than mutations are remembered"})
}

// Time returns when a UUIDv7 was made (RFC 9562, section 5.7).
func Time(id uuid.UUID) time.Time {
	var ms int64
	for _, b := range id[:6] {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms)
}

// First returns the least UUID that was made at a time, by which those that were made before are told.
func First(at time.Time) (id uuid.UUID) {
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (8 * (5 - i)))
	}
	return id
}

// statements is a store.Tx or a store.PlatformTx.
type statements interface {
	Get(dest any, query string, args ...any) error
	Exec(query string, args ...any) (int64, error)
}

// claim makes the mutation the caller's, with an answer if there is one already, and returns nil; or it returns the answer of the one who
// was before. It waits for a transaction that has claimed the same and is not over.
func claim(tx statements, actor *auth.Actor, m Mutation, answer []byte) ([]byte, error) {
	claimed, err := tx.Exec(`
		INSERT INTO mutation (tenant_id, user_id, id, digest, answer)
		SELECT $1::uuid, $2::bigint, $3::uuid, $4::bytea, $5::bytea WHERE $3::uuid >= least_mutation()
		ON CONFLICT DO NOTHING`, actor.Tenant.String(), actor.User, m.ID.String(), m.Digest, answer)
	if err != nil || claimed > 0 {
		return nil, err
	}
	answered, err := known(tx, actor, m)
	if errors.Is(err, sql.ErrNoRows) { // it is under the floor, or has gone there at this moment
		return nil, expired(m)
	}
	return answered, err
}

// known returns the answer to a mutation that has been done; sql.ErrNoRows if there is none.
func known(tx statements, actor *auth.Actor, m Mutation) ([]byte, error) {
	var row struct {
		Same   bool   `db:"same"`
		Answer []byte `db:"answer"`
	}
	err := tx.Get(&row, `SELECT digest = $4 AS same, answer FROM mutation WHERE tenant_id = $1 AND user_id = $2 AND id = $3`,
		actor.Tenant.String(), actor.User, m.ID.String(), m.Digest)
	switch {
	case err != nil:
		return nil, err
	case !row.Same:
		return nil, apperr.Validation(apperr.Issue{Path: m.Path, Reason: "has been used with other content"})
	case row.Answer == nil: // the transaction sees its own row
		return nil, apperr.Validation(apperr.Issue{Path: m.Path, Reason: "is used twice in the batch"})
	}
	return row.Answer, nil
}
