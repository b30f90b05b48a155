package changelog

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// MaxReplicas is how many replicas a user may have in a tenant.
const MaxReplicas = 100

// Replica is a copy of a tenant's rows that a client keeps, with the position up to which it has followed the log. While its
// lease lasts, [Prune] keeps for it what it has not seen, for as long as entries are kept at all.
type Replica struct {
	ID       uuid.UUID      `db:"id"       json:"replica_id"`
	Name     string         `db:"name"     json:"name"`
	Entities jsontext.Value `db:"entities" json:"entities"` // names of those that it follows; null for all
	Position int64          `db:"position" json:"position"`
	Ctime    time.Time      `db:"ctime"    json:"ctime"`
	SeenAt   time.Time      `db:"seen_at"  json:"seen_at"` // when it was registered or acknowledged a position last
}

// Replicas are the replicas of all users. Users reach their own only. Time is the database's, whose clock prunes, too.
type Replicas struct {
	Lease time.Duration // after which a replica that has acknowledged nothing has expired
}

// live holds for a replica whose lease lasts; $3 is the lease in seconds.
const live = `seen_at > now() - make_interval(secs => $3)`

// Register adds a replica of the Tx's actor. It holds all that the log has until it acknowledges a position. VALIDATION for a
// name that is empty, longer than 100 characters or not text, FORBIDDEN for more than [MaxReplicas]. tx is a transaction.
func (r Replicas) Register(tx *store.Tx, name string, entities []string) (uuid.UUID, error) {
	if err := tx.Actor.Can(auth.Member, auth.ScopeRead); err != nil {
		return uuid.Nil, err
	}
	if n := len([]rune(name)); n < 1 || n > 100 {
		return uuid.Nil, apperr.Validation(apperr.Issue{Path: "name", Reason: "must have 1 to 100 characters"})
	}
	if strings.ContainsRune(name, 0) {
		return uuid.Nil, apperr.Validation(apperr.Issue{Path: "name", Reason: "must not contain U+0000"})
	}
	var followed any // NULL
	if entities != nil {
		text, err := json.Marshal(entities)
		if err != nil {
			return uuid.Nil, err
		}
		followed = string(text)
	}
	tenant, user := tx.Actor.Tenant.String(), tx.Actor.User
	// One at a time, so that they are counted right.
	if _, err := tx.Exec(`SELECT pg_advisory_xact_lock(hashtextextended('rowcall replicas ' || $1 || ' ' || $2, 0))`, tenant, fmt.Sprint(user)); err != nil {
		return uuid.Nil, err
	}
	id := uuid.Must(uuid.NewV7())
	added, err := tx.Exec(`
		INSERT INTO replica (tenant_id, user_id, id, name, entities, position, ctime, seen_at)
		SELECT $1, $2, $4, $5, $6, coalesce((SELECT tail FROM change_head WHERE tenant_id = $1), 0), now(), now()
		WHERE (SELECT count(*) FROM replica WHERE tenant_id = $1 AND user_id = $2 AND `+live+`) < $7`,
		tenant, user, r.Lease.Seconds(), id.String(), name, followed, MaxReplicas)
	if err == nil && added == 0 {
		err = apperr.New(apperr.Forbidden, fmt.Sprintf("A user may have %d replicas: delete one first", MaxReplicas))
	}
	return id, err
}

// Ack notes that a replica has seen all entries up to a position, and renews its lease. NOT_FOUND for one of another user and
// one that has expired, for which the client registers another. A position before the one that was acknowledged last comes late, and
// changes nothing else. INVALID_PARAMS for one that the log has not come to.
func (r Replicas) Ack(tx *store.Tx, id uuid.UUID, position int64) (Replica, error) {
	if err := tx.Actor.Can(auth.Member, auth.ScopeRead); err != nil {
		return Replica{}, err
	}
	tenant, user := tx.Actor.Tenant.String(), tx.Actor.User
	var now Replica
	err := tx.Get(&now, `
		UPDATE replica SET position = greatest(position, $5), seen_at = greatest(seen_at, now())
		WHERE tenant_id = $1 AND user_id = $2 AND id = $4 AND `+live+` AND 0 <= $5
		  AND $5 <= coalesce((SELECT head FROM change_head WHERE tenant_id = $1), 0)
		RETURNING id, name, coalesce(entities, 'null') AS entities, position, ctime, seen_at`,
		tenant, user, r.Lease.Seconds(), id.String(), position)
	if !errors.Is(err, sql.ErrNoRows) {
		return now.utc(), err
	}
	var there bool
	err = tx.Get(&there, `SELECT true FROM replica WHERE tenant_id = $1 AND user_id = $2 AND id = $4 AND `+live,
		tenant, user, r.Lease.Seconds(), id.String())
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return Replica{}, apperr.NoRow("replica", id)
	case err != nil:
		return Replica{}, err
	}
	return Replica{}, apperr.Invalid(apperr.Issue{Path: "position", Reason: "is one that the log has not come to"})
}

// List returns the actor's replicas whose lease lasts, the oldest first.
func (r Replicas) List(tx *store.Tx) ([]Replica, error) {
	if err := tx.Actor.Can(auth.Member, auth.ScopeRead); err != nil {
		return nil, err
	}
	list := []Replica{}
	err := tx.Select(&list, `
		SELECT id, name, coalesce(entities, 'null') AS entities, position, ctime, seen_at FROM replica
		WHERE tenant_id = $1 AND user_id = $2 AND `+live+` ORDER BY ctime, id LIMIT $4`,
		tx.Actor.Tenant.String(), tx.Actor.User, r.Lease.Seconds(), MaxReplicas)
	for i := range list {
		list[i] = list[i].utc()
	}
	return list, err
}

// Delete forgets a replica of the actor; NOT_FOUND if there is none.
func (r Replicas) Delete(tx *store.Tx, id uuid.UUID) error {
	if err := tx.Actor.Can(auth.Member, auth.ScopeRead); err != nil {
		return err
	}
	deleted, err := tx.Exec(`DELETE FROM replica WHERE tenant_id = $1 AND user_id = $2 AND id = $4 AND `+live,
		tx.Actor.Tenant.String(), tx.Actor.User, r.Lease.Seconds(), id.String())
	if err == nil && deleted == 0 {
		err = apperr.NoRow("replica", id)
	}
	return err
}

func (r Replica) utc() Replica {
	r.Ctime, r.SeenAt = r.Ctime.UTC(), r.SeenAt.UTC()
	return r
}
