package model

import (
	"fmt"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// group is an entity whose rows are groups, and that of their memberships. Each has an owner, who is always a member.
type group[G, M store.Entity[uuid.UUID]] struct {
	rows    *store.Repo[G, uuid.UUID]
	members *store.Repo[M, uuid.UUID]
	column  string // of a membership: its group; its user is user_id
	owner   func(G) int64
	id      func(M) uuid.UUID
}

// delete removes a group with its memberships, in one transaction. Only the owner may.
func (g group[G, M]) delete(tx *store.Tx, id uuid.UUID, version store.Version) (row G, err error) {
	err = tx.InTx(func(tx *store.Tx) error {
		if row, err = g.rows.Get(tx, id); err != nil {
			return err
		}
		owner := g.owner(row)
		if owner != tx.Actor.User {
			return apperr.New(apperr.Forbidden, "Only its owner may delete a "+g.rows.Entity())
		}
		for more := true; more; {
			if more, err = g.remove(tx, id, "$not", owner); err != nil {
				return err
			}
		}
		if err = g.hold(tx, id, owner); err != nil {
			return err
		}
		if row, err = g.rows.Delete(tx, id, version); err != nil {
			return err
		}
		_, err = g.remove(tx, id, "$eq", owner) // last, as the rest takes it
		return err
	})
	return row, err
}

// hold locks a membership against whoever writes by it below the group, who locks it before the group: so must who deletes both.
func (g group[G, M]) hold(tx *store.Tx, id uuid.UUID, user int64) error {
	_, err := tx.Exec(fmt.Sprintf(`SELECT FROM %s WHERE tenant_id = $1 AND %s = $2 AND user_id = $3 FOR UPDATE`, g.members.Entity(), g.column),
		tx.Actor.Tenant, id, user)
	return err
}

// remove removes some of a group's memberships, those of which the user's id is or is not the one given, and tells whether there are more.
// Members may leave in the meantime.
func (g group[G, M]) remove(tx *store.Tx, id uuid.UUID, operator string, user int64) (more bool, err error) {
	chosen := func(upTo uuid.UUID) (*filter.Filter, error) {
		text := fmt.Appendf(nil, `{%q:%q,"user_id":{%q:%d},"id":{"$lte":%q}}`, g.column, id, operator, user, upTo)
		return filter.Parse(text, g.members.Schema(), "")
	}
	f, err := chosen(uuid.Max)
	if err != nil {
		return false, err
	}
	page, err := g.members.List(tx, store.ListOptions{Filter: f, Limit: new(int64(store.MaxBulk))})
	if err != nil || len(page.Rows) == 0 {
		return false, err
	}
	if f, err = chosen(g.id(page.Rows[len(page.Rows)-1])); err == nil {
		_, err = g.members.DeleteMatching(tx, f)
	}
	return page.NextCursor != nil, err
}
