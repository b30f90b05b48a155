package store

import (
	"database/sql"
	"reflect"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// ListOptions choose rows. The zero ListOptions are the first DefaultLimit rows by id.
type ListOptions struct {
	Filter *filter.Filter // nil: every row
	Order  filter.Order   // zero: by id
	Limit  *int64         // nil: DefaultLimit; at most MaxLimit
	Offset int64          // rows to leave out at the beginning
	Total  bool           // whether to count all rows that the filter chooses
}

// Page is one answer of a list.
type Page[E any] struct {
	Rows  []E
	Total *int64 // nil unless it was asked for
}

// snapshot lets a list and its total see the same rows.
var snapshot = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}

func (o *ListOptions) check() error {
	switch {
	case o.Limit != nil && (*o.Limit < 0 || *o.Limit > MaxLimit):
		return apperr.Invalid(apperr.Issue{Path: "limit", Reason: "must be from 0 to 5000"})
	case o.Offset < 0:
		return apperr.Invalid(apperr.Issue{Path: "offset", Reason: "may not be negative"})
	}
	return nil
}

func (o *ListOptions) limit() int64 {
	if o.Limit == nil {
		return DefaultLimit
	}
	return *o.Limit
}

// allow returns nil if the actor may do the operation to rows of the entity at all.
func (r *Repo[E, K]) allow(tx *Tx, op operation) error {
	role, scope := r.plan.access.Write, auth.ScopeWrite
	if op == reading {
		role, scope = r.plan.access.Read, auth.ScopeRead
	}
	if role == auth.Nobody {
		return apperr.New(apperr.Forbidden, "Nobody may do this")
	}
	return tx.Actor.Can(role, scope)
}

// ownOnly tells whether the actor reaches only rows of their own.
func (r *Repo[E, K]) ownOnly(tx *Tx) bool { return r.plan.own != nil && tx.Actor.Role < auth.Admin }

// text returns the SQL for a shape, building it when it is not known. The shape stands for everything that the text
// depends on, besides the entity and whether the actor is held to rows of their own.
func (r *Repo[E, K]) text(tx *Tx, shape string, build func(own bool) string) string {
	own := r.ownOnly(tx)
	if own {
		shape = "own " + shape
	}
	text, ok := r.texts.Get(shape)
	if !ok {
		text = build(own)
		if len(text) <= maxPrepared {
			r.texts.Add(shape, text)
		}
	}
	return text
}

// whereArgs are the arguments of the condition that every statement has, and then more.
func (r *Repo[E, K]) whereArgs(tx *Tx, more ...any) []any {
	args := make([]any, 0, 3+len(more))
	args = append(args, tx.tenant)
	if r.ownOnly(tx) {
		args = append(args, tx.Actor.User)
	}
	return append(args, more...)
}

func (r *Repo[E, K]) rowArgs(tx *Tx, id K) []any { return r.whereArgs(tx, keyArg(id)) }

func keyArg[K Key](id K) any {
	if u, ok := any(id).(uuid.UUID); ok {
		return u.String()
	}
	return id
}

// one runs a statement that touches the row with the id; NOT_FOUND if there is none.
func (r *Repo[E, K]) one(tx *Tx, op operation, id K, shape string, build func(own bool) string, args []any) (E, error) {
	var none E
	rows, err := query[E](&tx.runner, r.plan, r.text(tx, shape, build), args)
	switch {
	case err != nil:
		return none, tx.explain(r.plan, op, err)
	case len(rows) == 0:
		return none, apperr.NoRow(r.plan.entity, id)
	}
	return rows[0], nil
}

// conflict finds out whether a row was not found because it has another version.
func (r *Repo[E, K]) conflict(tx *Tx, id K, version Version, err error) error {
	if err == nil || !version.given() || apperr.From(err).Kind != apperr.NotFound {
		return err
	}
	current, err := r.one(tx, reading, id, "get", r.plan.getText, r.rowArgs(tx, id))
	if err != nil {
		return err
	}
	return apperr.New(apperr.Conflict, "The "+r.plan.entity+" has changed since that version").With("current", current)
}

func (r *Repo[E, K]) list(tx *Tx, o ListOptions) ([]E, error) {
	if o.Order == nil {
		o.Order = r.plan.byID
	}
	var buf [128]byte
	shape := append(buf[:0], "l "...)
	f := orAll(o.Filter)
	shape = f.Shape(shape)
	shape = append(shape, ' ')
	shape = o.Order.Shape(shape)
	args := f.Args(r.whereArgs(tx))
	args = append(args, o.limit(), o.Offset)
	rows, err := query[E](&tx.runner, r.plan, r.text(tx, string(shape), func(own bool) string {
		return r.plan.listText(own, f, o.Order)
	}), args)
	if err != nil {
		return nil, tx.explain(r.plan, reading, err)
	}
	return rows, nil
}

func orAll(f *filter.Filter) *filter.Filter {
	if f == nil {
		return &filter.Filter{}
	}
	return f
}

func (r *Repo[E, K]) count(tx *Tx, f *filter.Filter) (n int64, err error) {
	f = orAll(f)
	shape := f.Shape([]byte("c "))
	text := r.text(tx, string(shape), func(own bool) string { return r.plan.countText(own, f) })
	if err := tx.Get(&n, text, f.Args(r.whereArgs(tx))...); err != nil {
		return 0, err
	}
	return n, nil
}

// create adds rows: one by parameters, several by one JSON parameter, so that the text does not depend on how many.
func (r *Repo[E, K]) create(tx *Tx, rows []E) ([]E, error) {
	if err := r.allow(tx, creating); err != nil {
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
		created, err = query[E](&tx.runner, r.plan, r.text(tx, "i", func(bool) string { return r.plan.insertText() }), args)
	} else {
		var doc string
		if doc, err = r.plan.document(reflect.ValueOf(rows)); err != nil {
			return nil, err
		}
		args := []any{tx.tenant, tx.Actor.User, tx.now, tx.Actor.User, tx.now, doc}
		created, err = query[E](&tx.runner, r.plan, r.text(tx, "I", func(bool) string { return r.plan.insertAllText() }), args)
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
	if r.ownOnly(tx) && v.FieldByIndex(r.plan.own.index).Interface() != any(tx.Actor.User) {
		return apperr.New(apperr.Forbidden, "This can be created for oneself only")
	}
	return r.plan.validate(v)
}

// inOrder returns the rows in the order of ids; NOT_FOUND for the first id without a row.
func inOrder[E Entity[K], K Key](entity string, ids []K, rows []E) ([]E, error) {
	byID := make(map[K]E, len(rows))
	for _, row := range rows {
		byID[row.key()] = row
	}
	ordered := make([]E, len(ids))
	for i, id := range ids {
		row, ok := byID[id]
		if !ok {
			return nil, apperr.NoRow(entity, id)
		}
		ordered[i] = row
	}
	return ordered, nil
}
