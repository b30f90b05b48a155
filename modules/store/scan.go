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

// scanner reads rows of columns of a plan into entities. database/sql hands each value to a cell, which
// stores it without the conversions that it would do for a plain pointer.
type scanner struct {
	cells []cell
	dest  []any
	bytes *int // of texts and JSON, in all rows
}

// maxResult bounds the texts and JSON of a list's rows, with what is embedded in them, in bytes. A client can ask for 5,000 rows, whatever
// their size.
const maxResult = 64 << 20

// errLarge is the error of a result past maxResult.
var errLarge = apperr.Invalid(apperr.Issue{Path: "limit", Reason: "is too large: the rows take more than 64 MiB"})

// newScanner returns a scanner of the columns, and of further values after them, of which the last row's remain.
func newScanner(columns []*column, more []any) *scanner {
	s := &scanner{cells: make([]cell, len(columns)), dest: make([]any, len(columns)+len(more)), bytes: new(int)}
	for i, c := range columns {
		s.cells[i].column, s.cells[i].of = c, s
		s.dest[i] = &s.cells[i]
	}
	for i := range more {
		s.dest[len(columns)+i] = &more[i]
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
		*c.of.bytes += len(v)
	case []byte:
		*c.of.bytes += len(v)
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
	case *RowID:
		if v, ok := src.(string); ok {
			*to = RowID(v)
			return nil
		}
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
func query[E any](r *runner, p *plan, text string, args []any) ([]E, error) {
	rows, _, err := queryPage[E](r, p.columns, text, args, nil, 0)
	return rows, err
}

// queryPage is query for some columns of a plan, and further values after them. At most so many rows are read, if that is not 0; more
// tells whether there are further ones.
func queryPage[E any](r *runner, columns []*column, text string, args, values []any, most int64) (rows []E, more bool, err error) {
	var row E
	s := newScanner(columns, values)
	if r.bytes != nil {
		s.bytes = r.bytes
	}
	s.aim(reflect.ValueOf(&row).Elem())
	rows = []E{}
	more, err = r.read(text, args, s, most, func() { rows = append(rows, row) })
	if err != nil {
		return nil, false, err
	}
	return rows, more, nil
}

// queryRows is queryPage for an entity whose Go type is not known to the caller: a plan has its own.
type queryRows func(r *runner, columns []*column, text string, args, values []any, most int64) (rows reflect.Value, more bool, err error)

func newQueryRows[E any]() queryRows {
	return func(r *runner, columns []*column, text string, args, values []any, most int64) (reflect.Value, bool, error) {
		rows, more, err := queryPage[E](r, columns, text, args, values, most)
		return reflect.ValueOf(rows), more, err
	}
}

// read runs a statement and scans its rows, with add after each.
func (r *runner) read(text string, args []any, s *scanner, most int64, add func()) (more bool, err error) {
	start, n := time.Now(), int64(0)
	defer func() {
		r.count(start)
		auth.RequestFrom(r.ctx).Stats.Rows += int(n)
	}()
	result, err := r.on.QueryxContext(r.ctx, text, args...)
	if err != nil {
		return false, err
	}
	defer func() { err = closeRows(result, err) }()
	for result.Next() {
		if most > 0 && n == most {
			return true, nil
		}
		if err := result.Scan(s.dest...); err != nil {
			return false, err
		}
		add()
		n++
		if *s.bytes > maxResult {
			return false, errLarge
		}
	}
	return false, result.Err()
}

func closeRows(rows *sqlx.Rows, err error) error {
	if closeErr := rows.Close(); err == nil {
		return closeErr
	}
	return err
}

var _ sql.Scanner = (*cell)(nil)
