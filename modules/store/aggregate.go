package store

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// Groups is the answer of an aggregation.
type Groups struct {
	Names []string // of the values of each row
	// Rows holds int64, float64, bool, string, time.Time, uuid.UUID, a jsontext.Value for a number of any size, or nil.
	Rows [][]any
	More bool // whether there are further rows than the limit lets through
}

// Aggregate groups rows and finds out values of each group. limit is as in ListOptions, of groups.
func (r *Repo[E, K]) Aggregate(tx *Tx, a *filter.Aggregation, limit *int64) (Groups, error) {
	p := r.plan
	if err := p.allow(tx, reading); err != nil {
		return Groups{}, err
	}
	if err := a.Allowed(tx.Actor.Role); err != nil {
		return Groups{}, err
	}
	most := int64(DefaultLimit)
	if limit != nil {
		most = *limit
	}
	if most < 0 || most > MaxLimit {
		return Groups{}, invalidOption("limit", "must be from 0 to 5000")
	}
	f, err := tx.found(a.Filter)
	if err != nil {
		return Groups{}, err
	}
	a = a.Over(f)
	own := p.ownOnly(tx)
	text := p.cached(own, a.Shape([]byte("a ")), func() string {
		return build(a.Statement(p.rows(own), own).Limit(1))
	})
	args := append(a.Args(nil, p.whereArgs(nil, tx, own), own, tx.Actor.User), most+1)
	g := Groups{Rows: [][]any{}}
	for _, c := range a.Columns {
		g.Names = append(g.Names, c.Name)
	}
	if g.Rows, err = tx.values(text, args, a.Columns); err != nil {
		return Groups{}, tx.explain(p, reading, err)
	}
	if g.More = int64(len(g.Rows)) > most; g.More {
		g.Rows = g.Rows[:most]
	}
	return g, nil
}

// values runs a statement and returns its rows, of the columns.
func (r *runner) values(text string, args []any, columns []filter.AggregateColumn) (rows [][]any, err error) {
	defer func(start time.Time) {
		r.count(start)
		auth.RequestFrom(r.ctx).Stats.Rows += len(rows)
	}(time.Now())
	result, err := r.on.QueryxContext(r.ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = closeRows(result, err) }()
	rows = [][]any{}
	for bytes := 0; result.Next(); {
		row, err := result.SliceScan()
		if err != nil {
			return nil, err
		}
		for i := range row {
			if row[i], err = aggregated(row[i], &columns[i]); err != nil {
				return nil, err
			}
			if s, ok := row[i].(string); ok {
				bytes += len(s)
			}
		}
		if bytes > maxResult {
			return nil, errLarge
		}
		rows = append(rows, row)
	}
	return rows, result.Err()
}

// aggregated returns what the driver gives for a value of the column as Groups has it.
func aggregated(v any, c *filter.AggregateColumn) (any, error) {
	switch v := v.(type) {
	case nil, int64, float64, bool, string:
		return v, nil
	case time.Time:
		return v.UTC(), nil
	case []byte:
		switch {
		case c.Exact:
			return jsontext.Value(v), nil
		case c.Type == filter.String, c.Type == filter.ID:
			return string(v), nil
		case c.Type == filter.UUID:
			return uuid.ParseBytes(v)
		}
	}
	return nil, fmt.Errorf("store: a %T for %s", v, c.Name)
}
