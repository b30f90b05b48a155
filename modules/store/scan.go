package store

import (
	"database/sql"
	"fmt"
	"reflect"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// scanner reads rows of a plan's columns, in their order, into entities. database/sql hands each value to a cell, which
// stores it without the conversions that it would do for a plain pointer.
type scanner struct {
	cells []cell
	dest  []any
	bytes int // of texts and JSON, in all rows
}

// maxResult bounds the texts and JSON of one result, in bytes. A client can ask for 5,000 rows, whatever their size.
const maxResult = 64 << 20

// errLarge is the error of a result past maxResult.
var errLarge = apperr.Invalid(apperr.Issue{Path: "limit", Reason: "is too large: the rows take more than 64 MiB"})

func newScanner(p *plan) *scanner {
	s := &scanner{cells: make([]cell, len(p.columns)), dest: make([]any, len(p.columns))}
	for i, c := range p.columns {
		s.cells[i].column, s.cells[i].of = c, s
		s.dest[i] = &s.cells[i]
	}
	return s
}

// aim makes rows go to the entity, an addressable struct. Each overwrites the one before, and shares no memory with it.
func (s *scanner) aim(entity reflect.Value) {
	for i := range s.cells {
		s.cells[i].to = entity.FieldByIndex(s.cells[i].column.index).Addr().Interface()
	}
}

type cell struct {
	of     *scanner
	column *column
	to     any // a pointer to the field
}

// Scan implements sql.Scanner. What it is given in a []byte is the driver's and must be copied.
func (c *cell) Scan(src any) error {
	switch v := src.(type) {
	case string:
		c.of.bytes += len(v)
	case []byte:
		c.of.bytes += len(v)
	}
	switch to := c.to.(type) {
	case *int64:
		return assign(c, to, src)
	case **int64:
		return assignNullable(c, to, src)
	case *float64:
		return assign(c, to, src)
	case **float64:
		return assignNullable(c, to, src)
	case *bool:
		return assign(c, to, src)
	case **bool:
		return assignNullable(c, to, src)
	case *string:
		return assign(c, to, src)
	case **string:
		return assignNullable(c, to, src)
	case *time.Time:
		if t, ok := src.(time.Time); ok {
			*to = t.UTC()
			return nil
		}
	case **time.Time:
		if src == nil {
			*to = nil
			return nil
		}
		if t, ok := src.(time.Time); ok {
			t = t.UTC()
			*to = &t
			return nil
		}
	case *uuid.UUID:
		if b, ok := src.([]byte); ok {
			id, err := uuid.ParseBytes(b)
			*to = id
			return err
		}
	case **uuid.UUID:
		if src == nil {
			*to = nil
			return nil
		}
		if b, ok := src.([]byte); ok {
			id, err := uuid.ParseBytes(b)
			*to = &id
			return err
		}
	case *jsontext.Value:
		switch v := src.(type) {
		case []byte:
			*to = append(jsontext.Value(nil), v...)
			return nil
		case nil:
			*to = nil
			return nil
		}
	case **jsontext.Value:
		switch v := src.(type) {
		case []byte:
			value := append(jsontext.Value(nil), v...)
			*to = &value
			return nil
		case nil:
			*to = nil
			return nil
		}
	}
	return c.mismatch(src)
}

func assign[T any](c *cell, to *T, src any) error {
	v, ok := src.(T)
	if !ok {
		return c.mismatch(src)
	}
	*to = v
	return nil
}

func assignNullable[T any](c *cell, to **T, src any) error {
	if src == nil {
		*to = nil
		return nil
	}
	v, ok := src.(T)
	if !ok {
		return c.mismatch(src)
	}
	*to = &v
	return nil
}

func (c *cell) mismatch(src any) error {
	return fmt.Errorf("column %s holds a %T, which the field's type %T cannot", c.column.db, src, c.to)
}

// query runs a statement whose result has the plan's columns, and returns its rows.
func query[E any](r *runner, p *plan, text string, args []any) (rows []E, err error) {
	start := time.Now()
	defer func() {
		r.count(start)
		auth.RequestFrom(r.ctx).Stats.Rows += len(rows)
	}()
	result, err := r.on.QueryxContext(r.ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = closeRows(result, err) }()
	var row E
	s := newScanner(p)
	s.aim(reflect.ValueOf(&row).Elem())
	rows = []E{}
	for result.Next() {
		if err := result.Scan(s.dest...); err != nil {
			return nil, err
		}
		rows = append(rows, row)
		if s.bytes > maxResult {
			return nil, errLarge
		}
	}
	return rows, result.Err()
}

func closeRows(rows *sqlx.Rows, err error) error {
	if closeErr := rows.Close(); err == nil {
		return closeErr
	}
	return err
}

var _ sql.Scanner = (*cell)(nil)
