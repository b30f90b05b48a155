package store

import (
	"reflect"

	"github.com/doug-martin/goqu/v9"
)

// Walk reads up to limit rows in the order of their ids, in one statement, and calls do with each, as long as that returns true. They
// begin after the row with an id, which need not be there any more, or at the first for nil. do gets the same E again and again.
func (r *Repo[E, K]) Walk(tx *Tx, after *K, limit int, do func(*E) bool) error {
	if err := r.plan.allow(tx, reading); err != nil {
		return err
	}
	shape, args := "w", r.whereArgs(tx)
	if after != nil {
		shape, args = "w >", append(args, keyArg(*after))
	}
	text := r.text(tx, shape, func(own bool) string {
		where := r.plan.where(own)
		if after != nil {
			where = r.plan.where(own, goqu.C(r.plan.key.db).Gt(goqu.L("?", stand)))
		}
		return build(postgres.From(r.plan.table).Prepared(true).Select(r.plan.dbNames()...).Where(where).Order(goqu.C(r.plan.key.db).Asc()).Limit(1))
	})
	var row E
	s := newScanner(r.plan.columns, nil)
	s.aim(reflect.ValueOf(&row).Elem())
	return tx.Each(text, append(args, limit), s.dest, func() bool { return do(&row) })
}
