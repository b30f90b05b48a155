package store

import (
	"reflect"
	"slices"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
)

// text returns the SQL for a shape of a statement.
func (r *Repo[E, K]) text(tx *Tx, shape string, build func(own bool) string) string {
	own := r.plan.ownOnly(tx)
	var buf [64]byte
	return r.plan.cached(own, append(buf[:0], shape...), func() string { return build(own) })
}

// whereArgs are the arguments of the condition that every statement has, and then more.
func (r *Repo[E, K]) whereArgs(tx *Tx, more ...any) []any {
	args := make([]any, 0, 3+len(more))
	return append(r.plan.whereArgs(args, tx, r.plan.ownOnly(tx)), more...)
}

func (r *Repo[E, K]) rowArgs(tx *Tx, id K) []any { return r.whereArgs(tx, keyArg(id)) }

func keyArg[K Key](id K) any {
	if u, ok := any(id).(uuid.UUID); ok {
		return u.String()
	}
	return id
}

// get reads the row with the id; NOT_FOUND if there is none.
func (r *Repo[E, K]) get(tx *Tx, id K) (E, error) {
	rows, err := query[E](&tx.runner, r.plan, r.text(tx, "get", r.plan.getText), r.rowArgs(tx, id))
	return r.single(tx, reading, id, rows, err)
}

// changeOne runs a statement on the row with the id; NOT_FOUND if there is none.
func (r *Repo[E, K]) changeOne(tx *Tx, op operation, id K, shape []byte, args []any, build func(own bool) write) (E, error) {
	rows, err := change[E](tx, r.plan, op, shape, args, func() write { return build(r.plan.ownOnly(tx)) })
	return r.single(tx, op, id, rows, err)
}

func (r *Repo[E, K]) single(tx *Tx, op operation, id K, rows []E, err error) (E, error) {
	var none E
	switch {
	case err != nil:
		return none, tx.explain(r.plan, op, err)
	case len(rows) == 0:
		return none, apperr.NoRow(r.plan.entity, id)
	}
	return rows[0], nil
}

// missed finds out whether a row was not found because it has another version, or because the actor may only read it.
func (r *Repo[E, K]) missed(tx *Tx, id K, version Version, err error) error {
	held := !r.plan.access.Writers.IsZero() || r.plan.access.Deleters != nil
	if err == nil || !version.given() && !held || apperr.From(err).Kind != apperr.NotFound {
		return err
	}
	current, err := r.get(tx, id)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(&current).Elem().FieldByIndex(r.plan.byDB["version"].index)
	if held && (!version.given() || v.Int() == *version.is) {
		return apperr.New(apperr.Forbidden, "You can see this "+r.plan.entity+", but not change it")
	}
	return apperr.New(apperr.Conflict, "The "+r.plan.entity+" has changed since that version").With("current", current)
}

// create adds rows: one by parameters, several by one JSON parameter, so that the text does not depend on how many.
func (r *Repo[E, K]) create(tx *Tx, rows []E) ([]E, error) {
	if err := r.plan.allow(tx, creating); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return []E{}, nil
	}
	for i := range rows {
		if err := r.prepare(tx, &rows[i]); err != nil {
			if len(rows) > 1 {
				err = apperr.Under(apperr.Index("", i), err)
			}
			return nil, err
		}
	}
	var created []E
	var err error
	if len(rows) == 1 {
		args := r.plan.insertArgs(tx, reflect.ValueOf(&rows[0]).Elem())
		created, err = change[E](tx, r.plan, creating, []byte(oneNew), args, r.plan.insertOne)
	} else {
		var doc string
		if doc, err = r.plan.document(reflect.ValueOf(rows)); err != nil {
			return nil, err
		}
		args := []any{tx.tenant, tx.Actor.User, tx.now, tx.Actor.User, tx.now}
		if slices.ContainsFunc(r.plan.insert, r.plan.guards) {
			args = append(args, tx.tenant, tx.Actor.User)
		}
		args = append(args, doc)
		created, err = change[E](tx, r.plan, creating, []byte("I"), args, r.plan.insertAll)
	}
	if err != nil {
		return nil, tx.explain(r.plan, creating, err)
	}
	return created, nil
}

// prepare applies the entity's rules to a new row.
func (r *Repo[E, K]) prepare(tx *Tx, e *E) error {
	v := reflect.ValueOf(e).Elem()
	if p, ok := any(e).(Preparer); ok {
		if err := p.PrepareCreate(tx); err != nil {
			return err
		}
	}
	if r.plan.keyed() {
		id := v.FieldByIndex(r.plan.byDB["id"].index)
		if id.IsZero() {
			made, err := uuid.NewV7()
			if err != nil {
				return err
			}
			id.Set(reflect.ValueOf(made))
		}
	}
	if r.plan.own != nil && r.plan.ownOnly(tx) && v.FieldByIndex(r.plan.own.index).Interface() != any(tx.Actor.User) {
		return apperr.New(apperr.Forbidden, "This can be created for oneself only")
	}
	return r.plan.validate(v)
}
