package store

import (
	"database/sql"
	"encoding/binary"
	"reflect"
	"strconv"

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// ListOptions choose rows. The zero ListOptions are the first DefaultLimit rows by id.
type ListOptions struct {
	Filter *filter.Filter // nil: every row
	Order  *filter.Order  // nil: the best match first if the filter searches, else by id
	Limit  *int64         // nil: DefaultLimit; at most MaxLimit
	Offset int64          // rows to leave out at the beginning
	Cursor string         // where another page ended, by the same filter and order; "": at the beginning
	Total  bool           // whether to count all rows that the filter chooses
}

// Page is one answer of a list.
type Page[E any] struct {
	Rows       []E
	NextCursor *string // where the next page begins; nil if there is none
	Total      *int64  // nil unless it was asked for
}

// snapshot lets a list and its total see the same rows.
var snapshot = sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}

// maxEmbedded bounds the rows that one list can ask for with what it embeds.
const maxEmbedded = 500_000

var errEmbedded = invalidOption("include", "could bring more than 500,000 rows: give smaller limits")

// Most is the most rows that the list can read, with what the selection embeds. It is not negative, whatever the limit.
func (o *ListOptions) Most(sel *filter.Selection) int64 {
	if o.Limit == nil {
		return DefaultLimit * sel.Rows()
	}
	return max(0, min(*o.Limit, MaxLimit)) * sel.Rows()
}

// listing is a list about to be read.
type listing struct {
	*plan
	tx      *Tx
	own     bool // whether the actor is held to rows of their own
	asked   *filter.Filter
	filter  *filter.Filter // asked, with what indexes have found for it
	order   *filter.Order
	after   *filter.Keyset // nil: from the beginning
	limit   int64
	offset  int64
	columns []*column // nil: all
	values  []any     // of the keys that are no columns, in the last row
}

// listing checks the options, and the actor's right to know what they ask about.
func (p *plan) listing(tx *Tx, o ListOptions, sel *filter.Selection) (*listing, error) {
	if err := p.allow(tx, reading); err != nil {
		return nil, err
	}
	l := &listing{plan: p, tx: tx, own: p.ownOnly(tx), asked: orAll(o.Filter), order: o.Order, limit: DefaultLimit, offset: o.Offset}
	if o.Limit != nil {
		l.limit = *o.Limit
	}
	if l.order == nil {
		if l.order = l.asked.ByRank(); l.order == nil {
			l.order = p.schema.ByID()
		}
	}
	rows := o.Most(sel)
	switch {
	case l.limit < 0 || l.limit > MaxLimit:
		return nil, invalidOption("limit", "must be from 0 to 5000")
	case o.Offset < 0:
		return nil, invalidOption("offset", "may not be negative")
	case o.Offset > 0 && o.Cursor != "":
		return nil, invalidOption("offset", "does not go with a cursor")
	case rows > l.limit && rows > maxEmbedded:
		return nil, errEmbedded
	}
	for _, asked := range []interface{ Allowed(auth.Role) error }{l.asked, l.order, sel} {
		if err := asked.Allowed(tx.Actor.Role); err != nil {
			return nil, err
		}
	}
	for i := range l.order.Keys {
		if !l.order.Keys[i].Own() {
			l.values = append(l.values, nil)
		}
	}
	if o.Cursor != "" {
		values, err := l.open(o.Cursor)
		if err != nil {
			return nil, err
		}
		l.after = l.order.After(values)
	}
	return l, nil
}

func invalidOption(name, reason string) error {
	return apperr.Invalid(apperr.Issue{Path: name, Reason: reason})
}

// allow returns nil if the actor may do the operation to rows of the entity at all.
func (p *plan) allow(tx *Tx, op operation) error {
	role, scope := p.access.Write, auth.ScopeWrite
	if op == reading {
		role, scope = p.access.Read, auth.ScopeRead
	}
	if role == auth.Nobody {
		return apperr.New(apperr.Forbidden, "Nobody may do this")
	}
	return tx.Actor.Can(role, scope)
}

// ownOnly tells whether the actor reaches only rows of their own. It holds for all entities with such a rule at once.
func (p *plan) ownOnly(tx *Tx) bool { return tx.Actor.Role < auth.Admin }

// cached returns the SQL for a shape, building it when it is not known. The shape stands for everything that the text
// depends on, besides the entity and whether the actor is held to rows of their own.
func (p *plan) cached(own bool, shape []byte, build func() string) string {
	var buf [160]byte
	key := strconv.AppendBool(buf[:0], own) // first, as what a shape ends with can be a client's doing
	key = append(key, shape...)
	text, ok := p.texts.Get(string(key))
	if !ok {
		text = build()
		p.texts.Add(string(key), text)
	}
	return text
}

// whereArgs appends the arguments of the condition that every statement has.
func (p *plan) whereArgs(dst []any, tx *Tx, own bool) []any {
	dst = append(dst, tx.tenant)
	if p.held(own) {
		dst = append(dst, tx.Actor.User)
	}
	return dst
}

func orAll(f *filter.Filter) *filter.Filter {
	if f == nil {
		return &filter.Filter{}
	}
	return f
}

// statement returns the text and the arguments of the list.
func (l *listing) statement() (string, []any) {
	user := l.tx.Actor.User
	var buf [128]byte
	shape := append(buf[:0], "l "...)
	shape = appendColumns(shape, l.columns)
	shape = append(l.filter.Shape(shape), ' ')
	shape = append(l.order.Shape(shape), ' ')
	if l.after != nil {
		shape = l.after.Shape(shape)
	}
	args := make([]any, 0, 8)
	if len(l.values) > 0 {
		for i := range l.order.Keys {
			if k := &l.order.Keys[i]; !k.Own() {
				args = k.Args(args, l.own, user)
			}
		}
	}
	args = l.filter.Args(l.whereArgs(args, l.tx, l.own), l.own, user)
	if l.after != nil {
		args = l.after.Args(args, l.own, user)
	}
	args = l.order.Args(args, l.own, user)
	most := l.limit
	if most > 0 {
		most++ // to see whether there is more
	}
	return l.cached(l.own, shape, l.text), append(args, most, l.offset)
}

func appendColumns(shape []byte, columns []*column) []byte {
	shape = binary.AppendUvarint(shape, uint64(len(columns)))
	for _, c := range columns {
		shape = binary.AppendUvarint(shape, uint64(c.field))
	}
	return shape
}

func (l *listing) text() string {
	selected := l.selected(l.columns)
	for i := range l.order.Keys {
		if k := &l.order.Keys[i]; !k.Own() {
			selected = append(selected, k.Expression(l.own))
		}
	}
	rows := l.rows(l.own, l.filter.Where(l.own)).Select(selected...).Order(l.order.Expressions(l.own)...).Limit(1).Offset(1)
	if l.after != nil {
		rows = rows.Where(l.after.Where(l.own))
	}
	return build(rows)
}

// rows is the entity's rows under the name that filters give them.
func (p *plan) rows(own bool, more ...exp.Expression) *goqu.SelectDataset {
	return postgres.From(goqu.T(p.table).As(filter.Root)).Prepared(true).Where(p.rootWhere(own, more...))
}

// selected is the columns to read, all if columns is nil.
func (p *plan) selected(columns []*column) []any {
	if columns == nil {
		columns = p.columns
	}
	selected := make([]any, len(columns))
	for i, c := range columns {
		selected[i] = goqu.T(filter.Root).Col(c.db)
	}
	return selected
}

// nextCursor returns where the page ended whose last row is given.
func (l *listing) nextCursor(last reflect.Value) (*string, error) {
	values := make([]any, len(l.order.Keys))
	extra := l.values
	for i := range l.order.Keys {
		k := &l.order.Keys[i]
		if k.Own() {
			values[i] = l.byName[k.Field.Name].value(last)
		} else {
			values[i], extra = extra[0], extra[1:]
		}
	}
	cursor, err := l.seal(values)
	return &cursor, err
}

// paged runs a list, and counts all its rows if that is asked for; then both see the same rows.
func paged[R any](p *plan, tx *Tx, o ListOptions, sel *filter.Selection, read func(*listing) (Page[R], error)) (page Page[R], err error) {
	l, err := p.listing(tx, o, sel)
	if err != nil {
		return page, err
	}
	rows := func() error {
		if l.filter, err = l.tx.found(l.asked); err == nil {
			page, err = read(l)
		}
		return err
	}
	if !o.Total {
		err = rows()
		return page, err
	}
	err = tx.atomically(&snapshot, func(tx *Tx) error {
		l.tx = tx
		if err := rows(); err != nil {
			return err
		}
		total, err := p.count(tx, l.asked)
		page.Total = &total
		return err
	})
	return page, err
}

// list reads a page of whole rows.
func list[E any](l *listing) (page Page[E], err error) {
	text, args := l.statement()
	rows, more, err := queryPage[E](&l.tx.runner, l.plan.columns, text, args, l.values, l.limit)
	if err != nil {
		return page, l.tx.explain(l.plan, reading, err)
	}
	page.Rows = rows
	if more {
		page.NextCursor, err = l.nextCursor(reflect.ValueOf(&rows[len(rows)-1]).Elem())
	}
	return page, err
}

func (p *plan) count(tx *Tx, f *filter.Filter) (n int64, err error) {
	if f, err = tx.found(f); err != nil {
		return 0, err
	}
	own := p.ownOnly(tx)
	text := p.cached(own, f.Shape([]byte("c ")), func() string {
		return build(p.rows(own, f.Where(own)).Select(goqu.COUNT(goqu.Star())))
	})
	if err = tx.Get(&n, text, f.Args(p.whereArgs(nil, tx, own), own, tx.Actor.User)...); err != nil {
		return 0, tx.explain(p, reading, err)
	}
	return n, nil
}
