package store

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/doug-martin/goqu/v9"
	_ "github.com/doug-martin/goqu/v9/dialect/postgres" // the dialect below
	"github.com/doug-martin/goqu/v9/exp"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/filter"
)

// The SQL of the generic calls. goqu builds the texts, with a placeholder for each argument; the values that it is given
// for them here are stand-ins, and the caller passes the real ones in the same order. Every name in a text comes from an
// entity's declaration.

var postgres = goqu.Dialect("postgres")

// stand is the stand-in for an argument.
const stand = int64(1)

type sqlBuilder interface {
	ToSQL() (string, []any, error)
}

// build panics where goqu fails, which depends on declarations only.
func build(b sqlBuilder) string {
	text, _ := buildCounting(b)
	return text
}

// buildCounting is build, and tells how many arguments the text has.
func buildCounting(b sqlBuilder) (text string, args int) {
	text, values, err := b.ToSQL()
	if err != nil {
		panic(err)
	}
	return text, len(values)
}

func (p *plan) col(name string) exp.IdentifierExpression { return goqu.T(p.table).Col(name) }

func (p *plan) eq(column string) exp.Expression { return p.col(column).Eq(goqu.L("?", stand)) }

// where is the condition that every statement has: the tenant, and the rows that the actor is held to.
func (p *plan) where(own bool, more ...exp.Expression) exp.ExpressionList {
	all := []exp.Expression{p.eq("tenant_id"), p.reached(own, p.table)}
	return goqu.And(append(all, more...)...)
}

// row is what a statement returns of the rows that it changed.
func (p *plan) row() []any {
	columns := make([]any, len(p.columns))
	for i, c := range p.columns {
		columns[i] = p.col(c.db)
	}
	return columns
}

// rowOf is what is selected of rows that are about to be changed, where their table is called alias.
func (p *plan) rowOf(alias string) []any {
	columns := []any{goqu.T(alias).Col("tenant_id")}
	for _, c := range p.columns {
		columns = append(columns, goqu.T(alias).Col(c.db))
	}
	return columns
}

// rootWhere is where for rows under the name that filters give them.
func (p *plan) rootWhere(own bool, more ...exp.Expression) exp.ExpressionList {
	const tenant = `"` + filter.Root + `"."tenant_id" = ?`
	all := []exp.Expression{goqu.L(tenant, stand), p.reached(own, filter.Root)}
	return goqu.And(append(all, more...)...)
}

func (p *plan) getText(own bool) string {
	return build(postgres.From(p.table).Prepared(true).Select(p.dbNames()...).Where(p.where(own, p.eq(p.key.db))))
}

func (p *plan) getAllText(own bool) string {
	return build(postgres.From(p.table).Prepared(true).Select(p.dbNames()...).Where(p.where(own, p.anyID())))
}

// anyID is the condition on the ids of several rows.
func (p *plan) anyID() exp.Expression { return goqu.L("? = ANY(?)", p.col(p.key.db), stand) }

// assignment is one column of an update, and the argument for it.
type assignment struct {
	column string
	arg    any
}

// assignments are what an update writes, in the order in which goqu writes a record's columns.
func (p *plan) assignments(tx *Tx, set Set) ([]assignment, error) {
	all := []assignment{{"mid", tx.Actor.User}, {"mtime", tx.now}}
	for name, v := range set {
		c := p.byName[name]
		if c == nil || !slices.Contains(p.insert, c) {
			return nil, fmt.Errorf("store: %s has no field %s that could be set", p.entity, name)
		}
		if err := c.check(v); err != nil {
			return nil, err
		}
		all = append(all, assignment{c.db, c.arg(v)})
	}
	slices.SortFunc(all, func(a, b assignment) int { return strings.Compare(a.column, b.column) })
	return all, nil
}

// update changes the row with an id.
func (p *plan) update(assigned []assignment, own, version bool) write {
	return p.updateOf(postgres.From(p.table).Prepared(true).Where(p.rowWhere(updating, own, version)), p.table, assigned)
}

// updateOf changes the rows that old chooses, where the table is called alias. They are locked as the update itself does it, which lets
// new rows refer to them: that is looked at when the head has been locked, for which the update's transaction may wait.
func (p *plan) updateOf(old *goqu.SelectDataset, alias string, assigned []assignment) write {
	was := goqu.T(oldRows)
	update := postgres.Update(p.table).Prepared(true).Set(p.record(assigned)).From(was).
		Where(p.col("tenant_id").Eq(was.Col("tenant_id")), p.col("id").Eq(was.Col("id"))).Returning(p.row()...)
	return newWrite(updating, update, old.Select(p.rowOf(alias)...).ForNoKeyUpdate(goqu.Wait))
}

func (p *plan) delete(own, version bool) write {
	return newWrite(deleting, postgres.Delete(p.table).Prepared(true).Where(p.rowWhere(deleting, own, version)).Returning(p.row()...), nil)
}

func (p *plan) rowWhere(op operation, own, version bool) exp.ExpressionList {
	if version {
		return p.where(own, p.eq("id"), p.eq("version"), p.mayWrite(op, p.table))
	}
	return p.where(own, p.eq("id"), p.mayWrite(op, p.table))
}

func (p *plan) deleteAll(own bool) write {
	chosen := p.where(own, p.anyID(), p.mayWrite(deleting, p.table))
	return newWrite(deleting, postgres.Delete(p.table).Prepared(true).Where(chosen).Returning(p.row()...), nil)
}

// keyed tells whether rows come with their ids, rather than getting them from the database.
func (p *plan) keyed() bool { return p.key.kind.goType == reflect.TypeFor[uuid.UUID]() }

// oneNew is the shape of insertOne.
const oneNew = "i"

// given are the columns whose values a new row brings.
func (p *plan) given() []*column {
	if p.keyed() {
		return append([]*column{p.byDB["id"]}, p.insert...)
	}
	return p.insert
}

// serverColumns are what the repository writes for every new row, before the given ones.
var serverColumns = []any{"tenant_id", "cid", "ctime", "mid", "mtime", "version"}

// insertion is the columns of a new row and what stands for their values, for insertArgs.
func (p *plan) insertion() (cols, vals []any) {
	cols = slices.Clone(serverColumns)
	vals = []any{stand, stand, stand, stand, stand, goqu.L("1")}
	for _, c := range p.given() {
		cols, vals = append(cols, c.db), append(vals, p.guarded(c, stand))
	}
	return cols, vals
}

func (p *plan) insertOne() write {
	cols, vals := p.insertion()
	return newWrite(creating, postgres.Insert(p.table).Prepared(true).Cols(cols...).Vals(vals).Returning(p.row()...), nil)
}

func (p *plan) insertArgs(tx *Tx, entity reflect.Value) []any {
	given := p.given()
	args := make([]any, 0, 5+len(given))
	args = append(args, tx.tenant, tx.Actor.User, tx.now, tx.Actor.User, tx.now)
	for _, c := range given {
		if arg := c.arg(c.value(entity)); p.guards(c) {
			args = append(args, tx.tenant, arg, tx.Actor.User)
		} else {
			args = append(args, arg)
		}
	}
	return args
}

// insertSet adds several rows, each by its own arguments of insertArgs: all but the tenant are arrays of theirs. It waits for a lock no
// longer than rowPatience.
func (p *plan) insertSet() write {
	cols, vals := slices.Clone(serverColumns[:1]), []any{goqu.L("?::uuid", stand)}
	var names, arrays []string
	for _, c := range append([]*column{p.byDB["cid"], p.byDB["ctime"], p.byDB["mid"], p.byDB["mtime"]}, p.given()...) {
		cols, vals = append(cols, c.db), append(vals, goqu.T("r").Col(c.db))
		names, arrays = append(names, `"`+c.db+`"`), append(arrays, `?::`+c.kind.sqlType+`[]`)
	}
	cols, vals = append(cols, "version"), append(vals, goqu.L("1"))
	rows := goqu.L(`set_config('lock_timeout', '`+rowPatience+`', true) AS "patience", `+
		`unnest(`+strings.Join(arrays, ", ")+`) AS "r" (`+strings.Join(names, ", ")+")", slices.Repeat([]any{stand}, len(arrays))...)
	insert := postgres.Insert(p.table).Prepared(true).Cols(cols...).FromQuery(postgres.From(rows).Select(vals...)).Returning(p.row()...)
	return newWrite(creating, insert, nil)
}

func (p *plan) insertAll() write {
	cols := slices.Clone(serverColumns)
	vals := []any{goqu.L("?::uuid", stand), goqu.L("?::bigint", stand), goqu.L("?::timestamptz", stand),
		goqu.L("?::bigint", stand), goqu.L("?::timestamptz", stand), goqu.L("1")}
	var types []string
	for _, c := range p.given() {
		cols, vals = append(cols, c.db), append(vals, p.guarded(c, goqu.T("r").Col(c.db)))
		types = append(types, `"`+c.db+`" `+c.kind.sqlType)
	}
	rows := goqu.L("json_to_recordset(?::json) AS r("+strings.Join(types, ", ")+")", stand)
	insert := postgres.Insert(p.table).Prepared(true).Cols(cols...).FromQuery(postgres.From(rows).Select(vals...)).Returning(p.row()...)
	return newWrite(creating, insert, nil)
}

// document is the argument of insertAll: the rows as a JSON array of objects with the columns' names.
func (p *plan) document(rows reflect.Value) (string, error) {
	docs := make([]map[string]any, rows.Len())
	for i := range docs {
		docs[i] = map[string]any{}
		for _, c := range p.given() {
			docs[i][c.db] = c.value(rows.Index(i))
		}
	}
	text, err := json.Marshal(docs)
	return string(text), err
}

// value returns the field of an entity: of the column's Go type, or nil.
func (c *column) value(entity reflect.Value) any {
	f := entity.FieldByIndex(c.index)
	if !c.nullable {
		return f.Interface()
	}
	if f.IsNil() {
		return nil
	}
	return f.Elem().Interface()
}

// arg returns a field's value as the driver takes it: a []byte would be sent in binary, which jsonb and uuid do not
// read as text.
func (c *column) arg(v any) any {
	switch v := v.(type) {
	case jsontext.Value:
		if v == nil {
			return nil
		}
		return string(v)
	case uuid.UUID:
		return v.String()
	}
	return v
}
