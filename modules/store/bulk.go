package store

import (
	"bytes"
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

// UpdateAll changes the rows that the filter chooses, of those that the actor may change, and returns them in the order of their ids: all of them, or none and the
// error. INVALID_PARAMS at filters if they are more than MaxBulk.
func (r *Repo[E, K]) UpdateAll(tx *Tx, f *filter.Filter, set Set) ([]E, error) {
	p := r.plan
	if err := p.validateSet(set); err != nil {
		return nil, apperr.Under("data", err)
	}
	assigned, err := p.assignments(tx, set)
	if err != nil {
		return nil, err
	}
	shape, args := []byte("B "), make([]any, 0, len(assigned)+8)
	for _, a := range assigned {
		shape = append(append(shape, a.column...), ' ')
		args = append(args, a.arg)
	}
	return r.matching(tx, updating, f, shape, args, func(_ bool, chosen *goqu.SelectDataset) write {
		return p.updateOf(chosen, filter.Root, assigned)
	})
}

// DeleteMatching removes the rows that the filter chooses, of those that the actor may remove, as UpdateAll changes them, and returns
// them as they were.
func (r *Repo[E, K]) DeleteMatching(tx *Tx, f *filter.Filter) ([]E, error) {
	p := r.plan
	return r.matching(tx, deleting, f, []byte("X "), p.whereArgs(nil, tx, p.ownOnly(tx)), func(own bool, chosen *goqu.SelectDataset) write {
		ids := chosen.Select(goqu.T(filter.Root).Col("id")).ForUpdate(goqu.Wait)
		return newWrite(deleting, postgres.Delete(p.table).Prepared(true).
			Where(p.where(own, goqu.L("? = ANY(ARRAY(?))", p.col("id"), ids))).Returning(p.row()...), nil)
	})
}

// matching runs a statement on the rows that the filter chooses. They are locked in the order of their ids, so that two such calls
// do not wait for each other, and the filter holds for them as they are then.
func (r *Repo[E, K]) matching(
	tx *Tx, op operation, f *filter.Filter, shape []byte, args []any, build func(own bool, chosen *goqu.SelectDataset) write,
) ([]E, error) {
	p := r.plan
	for _, op := range []operation{op, reading} {
		if err := p.allow(tx, op); err != nil {
			return nil, err
		}
	}
	if err := f.Allowed(tx.Actor.Role); err != nil {
		return nil, err
	}
	f, err := tx.found(f)
	if err != nil {
		return nil, err
	}
	own := p.ownOnly(tx)
	args = f.Args(p.whereArgs(args, tx, own), own, tx.Actor.User)
	args = append(p.mayWriteArgs(args, tx, op), MaxBulk+1)
	var rows []E
	err = tx.atomically(nil, func(tx *Tx) (err error) {
		rows, err = changeAll(tx, p, op, f.Shape(shape), args, func() write {
			return build(own, p.rows(own, f.Where(own), p.mayWrite(op, filter.Root)).Order(goqu.T(filter.Root).Col("id").Asc()).Limit(1))
		}, func(a, b E) int { return compareKeys(a.key(), b.key()) })
		switch {
		case err != nil && op == updating:
			return apperr.Under("data", tx.explain(p, op, err))
		case err != nil:
			return tx.explain(p, op, err)
		case len(rows) > MaxBulk:
			return invalidOption("filters", "chooses more than 1000 rows")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

func compareKeys[K Key](a, b K) int {
	switch a := any(a).(type) {
	case int64:
		return cmp.Compare(a, any(b).(int64))
	case uuid.UUID:
		b := any(b).(uuid.UUID)
		return bytes.Compare(a[:], b[:])
	}
	return 0
}

// record is what an update assigns.
func (p *plan) record(assigned []assignment) goqu.Record {
	record := goqu.Record{"version": goqu.L(`"` + p.table + `"."version" + 1`)}
	for _, a := range assigned {
		record[a.column] = stand
	}
	return record
}

// DecodeUpsert reads a client's data for an upsert, as DecodeNew does for a new row.
func (r *Repo[E, K]) DecodeUpsert(data []byte) (Set, error) { return r.plan.decode(creating, data) }

// Upsert adds a row, or changes the one that has the same values in the fields on, which are a key that the entity declares unique,
// in one statement. Of a row that is there, what set holds is changed; fields that are written at creation only must be as they are.
//
// INVALID_PARAMS at on for fields that are no such key, and at data for one of them that has no value; ALREADY_EXISTS for a row that is there
// and that the actor may not change; FORBIDDEN for a value to find or compare it by, of a field that the actor may not see.
func (r *Repo[E, K]) Upsert(tx *Tx, set Set, on []string) (E, error) {
	var e E
	p := r.plan
	if err := p.allow(tx, creating); err != nil {
		return e, err
	}
	if err := p.checkUpsert(set, on); err != nil {
		return e, err
	}
	u := p.upsert(set, on)
	for _, c := range slices.Concat(u.key, u.fixed) {
		if tx.Actor.Role < c.read { // whether the values are those of a row is told
			return e, apperr.New(apperr.Forbidden, "This needs the role "+c.read.String()+": data."+c.name)
		}
	}
	row := reflect.ValueOf(&e).Elem()
	if err := p.apply(set, row); err != nil {
		return e, apperr.Under("data", err)
	}
	if err := r.prepare(tx, &e); err != nil {
		return e, apperr.Under("data", err)
	}
	own := p.ownOnly(tx)
	shape := appendColumns(appendColumns([]byte("U "), u.key), append(slices.Clone(u.changed), u.fixed...))
	args := p.insertArgs(tx, row)
	if p.held(own) {
		args = append(args, tx.Actor.User)
	}
	args = p.whereArgs(p.mayWriteArgs(args, tx, updating), tx, false)
	for _, c := range u.key {
		args = append(args, c.arg(c.value(row)))
	}
	rows, err := change[E](tx, p, upserting, shape, args, func() write { return p.upsertOne(u, own) })
	switch {
	case err != nil:
		return e, apperr.Under("data", tx.explain(p, creating, err))
	case len(rows) == 0:
		return e, r.notUpserted(tx, u, row)
	}
	return rows[0], nil
}

// checkUpsert returns an error if a row cannot be found by the fields.
func (p *plan) checkUpsert(set Set, on []string) error {
	declared := slices.ContainsFunc(p.unique, func(key []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(key)), slices.Sorted(slices.Values(on)))
	})
	if !declared {
		reason, keys := "is not a unique key of a "+p.entity, []string{}
		for _, key := range p.unique {
			keys = append(keys, strings.Join(key, ","))
		}
		if len(keys) == 0 {
			reason = "has nothing to name: a " + p.entity + " has no unique key"
		}
		return apperr.Invalid(apperr.Issue{Path: "on", Reason: reason, Allowed: keys})
	}
	var issues []apperr.Issue
	for _, name := range on {
		if set[name] == nil {
			issues = append(issues, apperr.Issue{Path: "data." + name, Reason: "is needed: the row is found by it"})
		}
	}
	if len(issues) > 0 {
		return apperr.Invalid(issues...)
	}
	return nil
}

// upsertion is what an upsert does to the columns.
type upsertion struct {
	key     []*column
	changed []*column
	fixed   []*column // given, and written at creation only
}

func (p *plan) upsert(set Set, on []string) (u upsertion) {
	for _, c := range p.columns {
		_, given := set[c.name]
		switch {
		case slices.Contains(on, c.name):
			u.key = append(u.key, c)
		case given && c.onUpdate:
			u.changed = append(u.changed, c)
		case given:
			u.fixed = append(u.fixed, c)
		}
	}
	return u
}

func (p *plan) upsertOne(u upsertion, own bool) write {
	target := []string{`"tenant_id"`}
	for _, c := range u.key {
		target = append(target, `"`+c.db+`"`)
	}
	excluded := func(name string) exp.IdentifierExpression { return goqu.T("excluded").Col(name) }
	record := goqu.Record{"version": goqu.L(`"` + p.table + `"."version" + 1`), "mid": excluded("mid"), "mtime": excluded("mtime")}
	for _, c := range u.changed {
		record[c.db] = excluded(c.db)
	}
	update := goqu.DoUpdate(strings.Join(target, ", "), record)
	where := []exp.Expression{p.reached(own, p.table), p.mayWrite(updating, p.table)}
	for _, c := range u.fixed {
		where = append(where, goqu.L(`"`+p.table+`"."`+c.db+`" IS NOT DISTINCT FROM "excluded"."`+c.db+`"`))
	}
	if all := goqu.And(where...); !all.IsEmpty() {
		update = update.Where(all)
	}
	cols, vals := p.insertion()
	insert := postgres.Insert(p.table).Prepared(true).Cols(cols...).Vals(vals).OnConflict(update).Returning(p.row()...)
	return newWrite(upserting, insert, postgres.From(p.table).Prepared(true).Select(p.rowOf(p.table)...).Where(p.where(false, p.keyIs(u)...)))
}

// keyIs is the condition on the row that an upsert finds.
func (p *plan) keyIs(u upsertion) []exp.Expression {
	var key []exp.Expression
	for _, c := range u.key {
		key = append(key, p.eq(c.db))
	}
	return key
}

// notUpserted finds out why the row that is there was not changed.
func (r *Repo[E, K]) notUpserted(tx *Tx, u upsertion, wanted reflect.Value) error {
	p, own := r.plan, r.plan.ownOnly(tx)
	text := p.cached(own, appendColumns([]byte("V "), u.key), func() string {
		return build(postgres.From(p.table).Prepared(true).Select(p.dbNames()...).Where(p.where(own, p.keyIs(u)...)))
	})
	args := p.whereArgs(nil, tx, own)
	names := []string{}
	for _, c := range u.key {
		args = append(args, c.arg(c.value(wanted)))
		names = append(names, c.name)
	}
	rows, err := query[E](&tx.runner, p, text, args)
	if err != nil {
		return tx.explain(p, reading, err)
	}
	var issues []apperr.Issue
	if len(rows) > 0 {
		there := reflect.ValueOf(&rows[0]).Elem()
		for _, c := range u.fixed {
			if !reflect.DeepEqual(c.value(there), c.value(wanted)) {
				issues = append(issues, apperr.Issue{Path: "data." + c.name, Reason: "cannot be changed: the row is there with another value"})
			}
		}
	}
	if len(issues) > 0 {
		return apperr.Validation(issues...)
	}
	return apperr.New(apperr.AlreadyExists, "There is such a "+p.entity+" already").With("entity", p.entity).With("fields", names)
}
