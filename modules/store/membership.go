package store

import (
	"fmt"

	"rowcall/modules/filter"
)

// Membership is the rule Access.Members as those need it who read rows in the change log: by the names of fields there.
type Membership struct {
	Field       string // of a row: its group
	Entity      string // of the memberships
	Group, User string // fields of a membership

	rule filter.Members
}

// Membership returns the entity's rule Access.Members, nil for none. It panics if the memberships are no entity.
func (r *Repo[E, K]) Membership() *Membership {
	rule := r.plan.access.Members
	if rule.IsZero() {
		return nil
	}
	p, ok := plans.Load(rule.Table)
	if !ok {
		panic(fmt.Sprintf("store: entity %s: no entity has its members, in %s", r.plan.entity, rule.Table))
	}
	members := p.(*plan)
	return &Membership{
		Field: r.plan.byDB[rule.Column].name, Entity: members.entity,
		Group: members.byDB[rule.Group].name, User: members.byDB[rule.User].name, rule: rule,
	}
}

// Groups returns the groups, as text, that the Tx's actor was in right before the entry at a position of the change log, which must not be
// pruned: those of now, without what the log says of it since then. Of the memberships' entity there should be a partial index on the log.
func (m *Membership) Groups(tx *Tx, position int64) (map[string]bool, error) {
	groups := map[string]bool{}
	var group, op string
	err := tx.Each(`
		SELECT g, op FROM (
			SELECT m."`+m.rule.Group+`"::text AS g, 'now' AS op, NULL::bigint AS position
			FROM "`+m.rule.Table+`" m WHERE m.tenant_id = $1 AND m."`+m.rule.User+`" = $2
			UNION ALL
			SELECT row ->> '`+m.Group+`', op, position
			FROM change, LATERAL (SELECT coalesce(data, before) AS row) r
			WHERE tenant_id = $1 AND position >= $3 AND entity = '`+m.Entity+`' AND row -> '`+m.User+`' = to_jsonb($2::bigint)
		) all_of_them
		ORDER BY position DESC NULLS FIRST`,
		[]any{tx.tenant, tx.Actor.User, position}, []any{&group, &op}, func() bool {
			switch op {
			case "now", opNames[deleting]:
				groups[group] = true
			case opNames[creating]:
				delete(groups, group)
			}
			return true
		})
	return groups, err
}
