package store

import (
	"reflect"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
	"github.com/google/uuid"
)

// Walk reads up to limit rows in the order of their ids, in one statement, and calls do with each, as long as that returns true. They
// begin after the row with an id, which need not be there any more, or at the first for nil. Where the rows belong to groups
// (Access.Members), they are those of the groups only, if that is not nil. do gets the same E again and again.
func (r *Repo[E, K]) Walk(tx *Tx, after *K, groups []uuid.UUID, limit int, do func(*E) bool) error {
	if err := r.plan.allow(tx, reading); err != nil {
		return err
	}
	shape, args, more := "w", r.whereArgs(tx), []exp.Expression{}
	if after != nil {
		shape, args = "w >", append(args, keyArg(*after))
		more = append(more, r.plan.col(r.plan.key.db).Gt(goqu.L("?", stand)))
	}
	p, in := r.plan, r.plan.byDB[r.plan.access.Members.Column]
	if groups != nil && in != nil {
		shape, args = shape+" =", append(append([]any{groups}, args...), limit)
	}
	text := r.text(tx, shape, func(own bool) string {
		rows := postgres.From(p.table).Prepared(true).Select(p.dbNames()...).Order(p.col(p.key.db).Asc()).Limit(1)
		if groups == nil || in == nil {
			return build(rows.Where(p.where(own, more...)))
		}
		return build(p.perGroup(rows.Where(p.where(own, append(more, goqu.L(`? = "g"."id"`, p.col(in.db)))...))))
	})
	var row E
	s := newScanner(r.plan.columns, nil)
	s.aim(reflect.ValueOf(&row).Elem())
	return tx.Each(text, append(args, limit), s.dest, func() bool { return do(&row) })
}

// perGroup is the first rows of all groups, out of the first of each: so an index by group and id finds them, whatever Postgres thinks of how many
// groups there are and how large they are.
func (p *plan) perGroup(each *goqu.SelectDataset) *goqu.SelectDataset {
	groups := goqu.L(`(SELECT DISTINCT unnest(?::uuid[]) AS "id") AS "g"`, stand)
	return postgres.From(groups).Prepared(true).CrossJoin(goqu.Lateral(each).As(p.table)).
		Select(p.row()...).Order(p.col(p.key.db).Asc()).Limit(1)
}
