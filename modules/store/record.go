package store

import (
	"reflect"
	"slices"

	"github.com/doug-martin/goqu/v9"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// FieldSet is the fields that are wanted of an entity's rows.
type FieldSet struct {
	Type  reflect.Type // the entity's struct
	Names []string     // in its order
}

// Record is a row of which some fields are wanted, and the referenced rows in it. What is not wanted may be zero in Row.
type Record struct {
	Row    reflect.Value // an entity's struct, addressable
	Fields *FieldSet     // shared by the rows of a result
	Refs   []Embedded
}

// Embedded is what a reference of a row leads to.
type Embedded struct {
	Name string
	Many bool
	One  *Record  // of a to-one reference; nil: there is no row, or none that the actor may see
	Rows []Record // of a to-many reference
}

// Hides tells whether there are fields that an actor of the role may not see: then rows are shown to it by [Repo.Visible].
func (r *Repo[E, K]) Hides(role auth.Role) bool { return role < r.plan.hidden }

// Visible returns the fields that an actor of the role may see.
func (r *Repo[E, K]) Visible(role auth.Role) *FieldSet { return r.plan.fieldSet(r.plan.visible(role)) }

// Logged returns those of them that are in the change log.
func (r *Repo[E, K]) Logged(role auth.Role) *FieldSet {
	return r.plan.fieldSet(slices.DeleteFunc(r.plan.visible(role), func(c *column) bool { return !c.logged }))
}

// Select is List for rows of which some fields are wanted, or with referenced rows embedded. Each reference of the selection takes
// one statement, whatever the number of rows, right after the one that finds the rows with the reference. nil selects all that
// the actor may see.
func (r *Repo[E, K]) Select(tx *Tx, o ListOptions, sel *filter.Selection) (Page[Record], error) {
	return paged(r.plan, tx.metered(), o, sel, func(l *listing) (Page[Record], error) { return l.records(sel) })
}

// GetSelected is Get as Select is List.
func (r *Repo[E, K]) GetSelected(tx *Tx, id K, sel *filter.Selection) (Record, error) {
	p := r.plan
	tx = tx.metered()
	if err := p.allow(tx, reading); err != nil {
		return Record{}, err
	}
	if err := sel.Allowed(tx.Actor.Role); err != nil {
		return Record{}, err
	}
	if sel.Rows() > maxEmbedded {
		return Record{}, errEmbedded
	}
	set, columns := p.wanted(tx.Actor.Role, sel, p.key)
	own := p.ownOnly(tx)
	text := p.cached(own, appendColumns([]byte("g "), columns), func() string {
		return build(p.rows(own, goqu.L(`"`+filter.Root+`"."`+p.key.db+`" = ?`, stand)).Select(p.selected(columns)...))
	})
	rows, _, err := p.query(&tx.runner, columns, text, r.rowArgs(tx, id), nil, 0)
	switch {
	case err != nil:
		return Record{}, tx.explain(p, reading, err)
	case rows.Len() == 0:
		return Record{}, apperr.NoRow(p.entity, id)
	}
	records, err := tx.embed(p, rows, set, sel)
	if err != nil {
		return Record{}, err
	}
	return records[0], nil
}

// metered returns a Tx whose statements are for one result: what they read is bounded together.
func (tx *Tx) metered() *Tx {
	part := *tx
	part.bytes = new(int)
	return &part
}

func (p *plan) fieldSet(columns []*column) *FieldSet {
	set := &FieldSet{Type: p.goType}
	for _, c := range columns {
		set.Names = append(set.Names, c.name)
	}
	return set
}

// wanted returns the fields that a selection shows to the role, and the columns to read for it. more are further columns that
// are needed.
func (p *plan) wanted(role auth.Role, sel *filter.Selection, more ...*column) (*FieldSet, []*column) {
	shown := p.visible(role)
	if sel != nil && sel.Fields != nil {
		shown = slices.DeleteFunc(shown, func(c *column) bool {
			return !slices.ContainsFunc(sel.Fields, func(f filter.Field) bool { return f.Name == c.name })
		})
	}
	if sel != nil {
		for _, in := range sel.Includes {
			more = append(more, p.byDB[in.Column])
		}
	}
	columns := append(slices.Clone(shown), more...)
	slices.SortFunc(columns, func(a, b *column) int { return a.field - b.field })
	return p.fieldSet(shown), slices.Compact(columns)
}

// records reads a page.
func (l *listing) records(sel *filter.Selection) (page Page[Record], err error) {
	var keys []*column
	for i := range l.order.Keys {
		if k := &l.order.Keys[i]; k.Own() {
			keys = append(keys, l.byName[k.Field.Name])
		}
	}
	set, columns := l.wanted(l.tx.Actor.Role, sel, keys...)
	l.columns = columns
	text, args := l.statement()
	rows, more, err := l.query(&l.tx.runner, columns, text, args, l.values, l.limit)
	if err != nil {
		return page, l.tx.explain(l.plan, reading, err)
	}
	if more {
		if page.NextCursor, err = l.nextCursor(rows.Index(rows.Len() - 1)); err != nil {
			return page, err
		}
	}
	page.Rows, err = l.tx.embed(l.plan, rows, set, sel)
	return page, err
}

// embed makes records of rows, a slice of the plan's Go type, and reads what the selection embeds in them.
func (tx *Tx) embed(p *plan, rows reflect.Value, set *FieldSet, sel *filter.Selection) ([]Record, error) {
	records := make([]Record, rows.Len())
	for i := range records {
		records[i] = Record{Row: rows.Index(i), Fields: set}
	}
	if sel == nil || len(records) == 0 {
		return records, nil
	}
	refs := make([]Embedded, len(records)*len(sel.Includes))
	for i := range records {
		records[i].Refs, refs = refs[:len(sel.Includes):len(sel.Includes)], refs[len(sel.Includes):]
	}
	for i := range sel.Includes {
		in := &sel.Includes[i]
		here := p.byDB[in.Column]
		found, err := tx.referenced(in, distinct(here, records))
		if err != nil {
			return nil, err
		}
		there := planBy(in.To).byDB[in.Other]
		byKey := make(map[any][]Record, len(found))
		if in.Many {
			for _, record := range found {
				key := there.value(record.Row)
				byKey[key] = append(byKey[key], record)
			}
		} else {
			for j := range found {
				byKey[there.value(found[j].Row)] = found[j : j+1]
			}
		}
		for j := range records {
			rows := byKey[here.value(records[j].Row)]
			e := Embedded{Name: in.Name, Many: in.Many, Rows: rows}
			if !in.Many && len(rows) > 0 {
				e.One, e.Rows = &rows[0], nil
			}
			records[j].Refs[i] = e
		}
	}
	return records, nil
}

// distinct returns the column's values in the records, each once.
func distinct(c *column, records []Record) []any {
	var values []any
	seen := map[any]bool{nil: true}
	for i := range records {
		if v := c.value(records[i].Row); !seen[v] {
			seen[v] = true
			values = append(values, v)
		}
	}
	return values
}

// referenced reads the rows that an include leads to from the values of its column.
func (tx *Tx) referenced(in *filter.Include, values []any) ([]Record, error) {
	if len(values) == 0 || in.Many && in.Limit == 0 {
		return nil, nil
	}
	p, own, user := planBy(in.To), false, tx.Actor.User
	own = p.ownOnly(tx)
	there := p.byDB[in.Other]
	set, columns := p.wanted(tx.Actor.Role, in.Selection, there)
	shape, args := appendColumns([]byte("r "), append(slices.Clone(columns), there)), []any{keysArg(values)}
	var text string
	if in.Many {
		f, err := tx.found(in.Filter)
		if err != nil {
			return nil, err
		}
		order := in.Order
		if order == nil {
			if order = f.ByRank(); order == nil {
				order = p.schema.ByID()
			}
		}
		shape = order.Shape(f.Shape(append(shape, 'm')))
		text = p.cached(own, shape, func() string {
			return build(p.perKey(there, columns, own, f, order))
		})
		args = f.Args(p.whereArgs(args, tx, own), own, user)
		args = append(order.Args(args, own, user), in.Limit)
	} else {
		text = p.cached(own, shape, func() string {
			keys := goqu.L(`"`+filter.Root+`"."`+there.db+`" = ANY(?::`+there.kind.sqlType+`[])`, stand)
			return build(postgres.From(goqu.T(p.table).As(filter.Root)).Prepared(true).
				Where(keys, p.rootWhere(own)).Select(p.selected(columns)...))
		})
		args = p.whereArgs(args, tx, own)
	}
	rows, _, err := p.query(&tx.runner, columns, text, args, nil, 0)
	if err != nil {
		return nil, tx.explain(p, reading, err)
	}
	return tx.embed(p, rows, set, in.Selection)
}

// perKey is the first rows of each key, in the order of the keys: a nested loop, as there is no other way to run a lateral
// join with a limit.
func (p *plan) perKey(there *column, columns []*column, own bool, f *filter.Filter, order *filter.Order) *goqu.SelectDataset {
	each := p.rows(own, goqu.L(`"`+filter.Root+`"."`+there.db+`" = k.key`), f.Where(own)).
		Select(p.selected(columns)...).Order(order.Expressions(own)...).Limit(1)
	return postgres.From(goqu.L(`unnest(?::`+there.kind.sqlType+`[]) AS k(key)`, stand)).Prepared(true).
		CrossJoin(goqu.Lateral(each).As(filter.Root)).Select(p.selected(columns)...)
}

// keysArg returns values of one type as an argument that is an array.
func keysArg(values []any) any {
	if _, ok := values[0].(uuid.UUID); ok {
		keys := make([]string, len(values))
		for i, v := range values {
			keys[i] = v.(uuid.UUID).String()
		}
		return keys
	}
	keys := make([]int64, len(values))
	for i, v := range values {
		keys[i] = v.(int64)
	}
	return keys
}
