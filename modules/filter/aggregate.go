package filter

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // for machines without a folder of time zones

	"github.com/doug-martin/goqu/v9"
	"github.com/doug-martin/goqu/v9/exp"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Bounds of an aggregation.
const (
	maxGroups     = 10
	maxAggregates = 20
)

// Aggregation is what is asked of rows as a whole: groups, and values of each group. It is immutable and safe for concurrent
// use.
type Aggregation struct {
	rights
	Filter  *Filter
	Columns []AggregateColumn // the groups first
	Having  *Filter           // over the columns
	Order   *Order            // likewise
	groups  int
}

// AggregateColumn is a group or an aggregate.
type AggregateColumn struct {
	Name string
	Type Type
	// Exact says that the value is an integer of any size.
	Exact bool

	function string // "" for the value itself
	unit     string // of a bucket of time
	zone     string
	key      *Key // nil: rows are counted
}

// AggregationParams are the params of an aggregation, as the client gives them.
type AggregationParams struct{ Filters, GroupBy, Aggregates, Having, OrderBys jsontext.Value }

// functions are the aggregate functions by name, with the SQL and the types of field that they take: nil for all.
var functions = map[string]struct {
	sql   string
	takes []Type
}{
	"count":          {"count({})", nil},
	"count_distinct": {"count(DISTINCT {})", nil},
	"sum":            {"sum({})", []Type{Int, Float}},
	"avg":            {"avg({})::float8", []Type{Int, Float}},
	"min":            {"min({})", []Type{Int, Float, Time, String}},
	"max":            {"max({})", []Type{Int, Float, Time, String}},
}

var functionNames = slices.Sorted(maps.Keys(functions))

// units are what a time can be cut to.
var units = []string{"day", "hour", "minute", "month", "quarter", "week", "year"}

// ParseAggregation returns the aggregation that the params describe, of which all but the aggregates may be absent:
//
//	group_by    ["project_id", "project.name", {"month": {"month": "due", "time_zone": "Europe/Berlin"}}]
//	aggregates  {"n": "count", "last": {"max": "due"}}
//	having      a filter over the names of both
//	order_bys   sort keys among them; the groups, ascending, are always the last ones
//
// Faults are INVALID_PARAMS with a path that begins with the one given.
func ParseAggregation(params AggregationParams, s *Schema, path string) (*Aggregation, error) {
	a := &Aggregation{}
	var err error
	if a.Filter, err = Parse(params.Filters, s, apperr.Join(path, "filters")); err != nil {
		return nil, err
	}
	a.rights = a.Filter.rights
	if err := a.parse(params.GroupBy, s, apperr.Join(path, "group_by"), (*aggregationParser).groupBy); err != nil {
		return nil, err
	}
	a.groups = len(a.Columns)
	if err := a.parse(params.Aggregates, s, apperr.Join(path, "aggregates"), (*aggregationParser).aggregates); err != nil {
		return nil, err
	}
	if len(a.Columns) == 0 {
		return nil, apperr.Invalid(apperr.Issue{Path: apperr.Join(path, "aggregates"), Reason: "has nothing to find out, and there is nothing to group by"})
	}
	result := a.schema()
	if a.Having, err = Parse(params.Having, result, apperr.Join(path, "having")); err != nil {
		return nil, err
	}
	if a.Order, err = ParseOrder(params.OrderBys, result, apperr.Join(path, "order_bys")); err == nil && a.Order == nil {
		a.Order = result.ByID()
	}
	return a, err
}

// Over returns the aggregation of the rows that another filter chooses.
func (a *Aggregation) Over(f *Filter) *Aggregation {
	over := *a
	over.Filter = f
	return &over
}

// Allowed is as for filters.
func (a *Aggregation) Allowed(role auth.Role) error { return a.allowed(role) }

// schema is that of the result.
func (a *Aggregation) schema() *Schema {
	e := Entity{Name: "group", Table: "result"}
	for i, c := range a.Columns {
		e.Fields = append(e.Fields, Field{Name: c.Name, Column: column(i), Type: c.Type, Nullable: true})
	}
	s := newSchema(e)
	s.last = nil
	for i := range a.groups {
		s.last = append(s.last, i)
	}
	return s
}

func column(i int) string { return "c" + strconv.Itoa(i) }

type aggregationParser struct {
	*parser
	a       *Aggregation
	grouped bool // whether all groups have been read
}

func (a *Aggregation) parse(raw jsontext.Value, s *Schema, path string, read func(*aggregationParser) error) error {
	if absent(raw) {
		return nil
	}
	p := &aggregationParser{parser: newParser(raw, s, path), a: a}
	defer p.release()
	if err := read(p); err != nil {
		return err
	}
	a.need(p.rights.role, func() string { return p.rights.path })
	return p.end()
}

func (p *aggregationParser) groupBy() error {
	return p.each(func() error {
		if p.dec.PeekKind() == jsontext.KindBeginObject {
			return p.named(p.bucket)
		}
		name, err := p.string()
		if err != nil {
			return err
		}
		k, err := p.find(name)
		if err != nil {
			return err
		}
		return p.add(AggregateColumn{Name: name, Type: k.Field.Type, key: &k})
	})
}

func (p *aggregationParser) aggregates() error {
	if p.dec.PeekKind() != jsontext.KindBeginObject {
		if _, err := p.token(); err != nil {
			return err
		}
		return p.fail("must be an object")
	}
	p.grouped = true
	return p.named(p.aggregate)
}

// named reads an object, with read for the value under each name.
func (p *aggregationParser) named(read func(name string) error) error {
	if _, err := p.token(); err != nil {
		return err
	}
	for p.dec.PeekKind() == jsontext.KindString {
		name, err := p.string()
		if err != nil {
			return err
		}
		if !identifier.MatchString(name) {
			return p.fail("must be a name of up to 63 letters, digits and underscores")
		}
		if err := read(name); err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

// add adds a group, or after all groups an aggregate.
func (p *aggregationParser) add(c AggregateColumn) error {
	switch n := len(p.a.Columns) - p.a.groups; {
	case !p.grouped && n == maxGroups:
		return p.fail("is past the 10 values to group by")
	case p.grouped && n == maxAggregates:
		return p.fail("is past the 20 aggregates")
	}
	for _, other := range p.a.Columns {
		if other.Name == c.Name {
			return p.fail("is given twice")
		}
	}
	p.a.Columns = append(p.a.Columns, c)
	return nil
}

// isTimeZone tells whether a name is that of a time zone, rather than of what else lies in a machine's folder of them.
func isTimeZone(name string) bool {
	if name != "UTC" && (name == "" || name[0] < 'A' || name[0] > 'Z' || name == "Local") {
		return false
	}
	_, err := time.LoadLocation(name)
	return err == nil
}

// bucket reads {"month": "due", "time_zone": "Europe/Berlin"}.
func (p *aggregationParser) bucket(name string) error {
	c := AggregateColumn{Name: name, Type: Time, zone: "UTC"}
	err := p.options(func(option string) error {
		switch {
		case option == "time_zone":
			zone, err := p.string()
			if err != nil {
				return err
			}
			if !isTimeZone(zone) {
				return p.fail("is no time zone, like Europe/Berlin")
			}
			c.zone = zone
			return nil
		case !slices.Contains(units, option):
			return p.unknown("is no unit of time", option, append([]string{"time_zone"}, units...))
		case c.unit != "":
			return p.fail("is a second unit of time")
		}
		c.unit = option
		k, err := p.field([]Type{Time})
		c.key = &k
		return err
	})
	switch {
	case err != nil:
		return err
	case c.unit == "":
		return p.fail("has no unit of time", units...)
	}
	return p.add(c)
}

// aggregate reads "count", or {"max": "due"}.
func (p *aggregationParser) aggregate(name string) error {
	c := AggregateColumn{Name: name, Type: Int}
	if p.dec.PeekKind() == jsontext.KindString {
		function, err := p.string()
		if err != nil {
			return err
		}
		if function != "count" {
			return p.unknown("must be count, or an object with a function and its field", function, []string{"count"})
		}
		return p.add(c)
	}
	err := p.options(func(function string) error {
		f, ok := functions[function]
		switch {
		case !ok:
			return p.unknown("is not a function", function, functionNames)
		case c.function != "":
			return p.fail("is a second function")
		}
		k, err := p.field(f.takes)
		c.function, c.key = function, &k
		switch function {
		case "avg":
			c.Type = Float
		case "sum", "min", "max":
			c.Type = k.Field.Type
			c.Exact = function == "sum" && c.Type == Int
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case c.function == "":
		return p.fail("has no function", functionNames...)
	}
	return p.add(c)
}

// options reads an object, with read for what follows each name.
func (p *aggregationParser) options(read func(name string) error) error {
	kind, err := p.token()
	switch {
	case err != nil:
		return err
	case kind != jsontext.KindBeginObject:
		return p.fail("must be an object")
	}
	for p.dec.PeekKind() == jsontext.KindString {
		name, err := p.string()
		if err != nil {
			return err
		}
		if err := read(name); err != nil {
			return err
		}
	}
	_, err = p.token()
	return err
}

// field reads the name of a field of one of the types, or of any if there are none.
func (p *aggregationParser) field(takes []Type) (Key, error) {
	name, err := p.string()
	if err != nil {
		return Key{}, err
	}
	k, err := p.find(name)
	if err == nil && takes != nil && !slices.Contains(takes, k.Field.Type) {
		err = p.fail("is " + types[k.Field.Type].noun + ", of which this is not known")
	}
	return k, err
}

// Shape appends to dst what the text of Rows depends on, besides its parameters.
func (a *Aggregation) Shape(dst []byte) []byte {
	dst = strconv.AppendInt(dst, int64(a.groups), 10)
	for _, c := range a.Columns {
		dst = append(append(append(append(dst, ' '), c.function...), ':'), c.unit...)
		if c.key != nil {
			dst = c.key.shape(append(dst, ':'))
		}
	}
	dst = append(a.Filter.Shape(append(dst, ' ')), ' ')
	return a.Order.Shape(append(a.Having.Shape(dst), ' '))
}

// Statement returns the statement, but for its limit, over rows: a dataset of the entity under the name [Root], without the filter.
func (a *Aggregation) Statement(rows *goqu.SelectDataset, own bool) *goqu.SelectDataset {
	var selected []any
	var groups []any
	for i := range a.Columns {
		selected = append(selected, a.Columns[i].expression(own).As(column(i)))
		if i < a.groups {
			groups = append(groups, goqu.L(strconv.Itoa(i+1)))
		}
	}
	inner := rows.Where(a.Filter.Where(own)).Select(selected...)
	if len(groups) > 0 {
		inner = inner.GroupBy(groups...)
	}
	return goqu.Dialect("postgres").From(inner.As(Root)).Prepared(true).
		Where(a.Having.Where(own)).Order(a.Order.Expressions(own)...)
}

// Args appends the values for the placeholders of Statement to dst; where are those of the rows.
func (a *Aggregation) Args(dst, where []any, own bool, user int64) []any {
	for i := range a.Columns {
		c := &a.Columns[i]
		if c.key != nil {
			dst = c.key.Args(dst, own, user)
		}
		if c.unit != "" {
			dst = append(dst, c.zone)
		}
	}
	dst = a.Filter.Args(append(dst, where...), own, user)
	return a.Order.Args(a.Having.Args(dst, own, user), own, user)
}

func (c *AggregateColumn) expression(own bool) exp.LiteralExpression {
	if c.key == nil {
		return goqu.L("count(*)")
	}
	sql := c.key.sql(own)
	switch {
	case c.unit != "":
		sql = "date_trunc('" + c.unit + "', " + sql + ", ?::text)"
	case c.function != "":
		sql = strings.Replace(functions[c.function].sql, "{}", sql, 1)
	}
	args := make([]any, strings.Count(sql, "?"))
	for i := range args {
		args[i] = 0
	}
	return goqu.L(sql, args...)
}
