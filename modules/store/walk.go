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
	if in := r.plan.access.Members.Column; in != "" && groups != nil {
		shape, args = shape+" =", append(args, groups)
		more = append(more, goqu.L("? = ANY(?)", r.plan.col(in), stand))
	}
	text := r.text(tx, shape, func(own bool) string {
		where := r.plan.where(own, more...)
		return build(postgres.From(r.plan.table).Prepared(true).Select(r.plan.dbNames()...).Where(where).Order(r.plan.col(r.plan.key.db).Asc()).Limit(1))
	})
	var row E
	s := newScanner(r.plan.columns, nil)
	s.aim(reflect.ValueOf(&row).Elem())
	return tx.Each(text, append(args, limit), s.dest, func() bool { return do(&row) })
}
