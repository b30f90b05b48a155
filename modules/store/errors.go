package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/lib/pq"

	"rowcall/modules/apperr"
)

// plainError gives an error of a statement its kind, as far as that is known without the entity.
func (r *runner) plainError(err error) error {
	var e *apperr.Error
	var pe *pq.Error
	var ne net.Error
	switch {
	case err == nil, errors.As(err, &e):
		return err
	case r.ctx.Err() != nil: // whatever the driver says of it
		return errors.Join(r.ctx.Err(), err)
	case errors.As(err, &pe):
		return serverError(pe)
	case errors.Is(err, errLost), errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &ne):
		return apperr.Wrap(apperr.Unavailable, "The database cannot be reached", err)
	}
	return err
}

// serverError maps what Postgres says to a kind.
// https://www.postgresql.org/docs/current/errcodes-appendix.html
func serverError(pe *pq.Error) error {
	code := string(pe.Code)
	switch {
	case code == "57014": // query_canceled, and not by our context: statement_timeout
		return apperr.Wrap(apperr.Timeout, "The call took too long", pe)
	case code == "40001", code == "40P01", code == "55P03": // serialization failure, deadlock, lock not available
		return apperr.Wrap(apperr.Aborted, "Another call was in the way: try again", pe)
	case strings.HasPrefix(code, "08"), strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57P"), code == "25006":
		return apperr.Wrap(apperr.Unavailable, "The database cannot be reached", pe)
	}
	return pe
}

// explain gives an error of a statement on the plan's rows its kind, with the entity and its fields.
func (tx *Tx) explain(p *plan, op operation, err error) error {
	var pe *pq.Error
	if !errors.As(err, &pe) || tx.ctx.Err() != nil {
		return tx.plainError(err)
	}
	switch pe.Code {
	case "23503", "23001": // foreign_key_violation, restrict_violation; the table and the constraint are those of the referring side
		if op == deleting {
			c := tx.db.constraint(tx.ctx, pe)
			return apperr.Wrap(apperr.Referenced, "The "+p.entity+" is referred to by a "+c.entity, pe).
				With("entity", c.entity).With("field", strings.Join(c.fields, ","))
		}
	case "23502": // not_null_violation
		if c := p.byDB[pe.Column]; op == creating && c != nil && p.guards(c) {
			return apperr.Wrap(apperr.BadReference, "What "+c.name+" refers to does not exist", pe).
				With("entity", p.entity).With("field", c.name)
		}
		return broken(pe, "may not be null", p.fieldNames([]string{pe.Column})...)
	case "RC403": // a rule that a trigger keeps, whose message is for the client
		return apperr.Wrap(apperr.Forbidden, pe.Message, pe)
	case "RC422": // likewise, about a value
		return broken(pe, pe.Message, p.fieldNames([]string{pe.Column})...)
	case "22001": // string_data_right_truncation
		return broken(pe, "holds a value that is too long")
	}
	if violation := tx.violation(pe); violation != nil {
		return violation
	}
	if strings.HasPrefix(string(pe.Code), "22") || strings.HasPrefix(string(pe.Code), "54") { // data_exception, program_limit_exceeded
		return broken(pe, "holds a value that cannot be stored or compared")
	}
	return tx.plainError(err)
}

// violation gives the violation of a constraint its kind; nil for other errors.
func (r *runner) violation(pe *pq.Error) error {
	switch pe.Code {
	case "23505", "23P01": // unique_violation, exclusion_violation
		c := r.db.constraint(r.ctx, pe)
		return apperr.Wrap(apperr.AlreadyExists, "There is such a "+c.entity+" already", pe).
			With("entity", c.entity).With("fields", c.fields)
	case "23503", "23001": // foreign_key_violation, restrict_violation
		c := r.db.constraint(r.ctx, pe)
		field := strings.Join(c.fields, ",")
		return apperr.Wrap(apperr.BadReference, "What "+field+" refers to does not exist", pe).
			With("entity", c.entity).With("field", field)
	case "23514": // check_violation
		return broken(pe, "breaks a rule of the table", r.db.constraint(r.ctx, pe).fields...)
	}
	return nil
}

func broken(pe *pq.Error, reason string, fields ...string) error {
	issues := []apperr.Issue{{Reason: reason}}
	if len(fields) > 0 {
		issues = issues[:0]
	}
	for _, f := range fields {
		issues = append(issues, apperr.Issue{Path: f, Reason: reason})
	}
	message := apperr.Validation(issues...)
	return apperr.Wrap(message.Kind, message.Message, pe).With("issues", issues)
}

type constraintKey struct{ table, name string }

// constraint is a table's constraint in the client's words.
type constraint struct {
	entity string
	fields []string
}

// constraint looks up the violated constraint in the catalogue, once each. On another connection, because a failed
// transaction answers nothing.
func (db *DB) constraint(ctx context.Context, pe *pq.Error) constraint {
	key := constraintKey{pe.Table, pe.Constraint}
	if c, ok := db.constraints.Load(key); ok {
		return c.(constraint)
	}
	known := constraint{entity: pe.Table, fields: []string{}}
	p, _ := plans.Load(pe.Table)
	if p != nil {
		known.entity = p.(*plan).entity
	}
	var columns []string
	err := db.platform.SelectContext(ctx, &columns, `
		SELECT a.attname
		FROM pg_class t
		JOIN pg_namespace n ON n.oid = t.relnamespace AND n.nspname = $1
		CROSS JOIN LATERAL (
			SELECT conkey FROM pg_constraint WHERE conrelid = t.oid AND conname = $3
			UNION ALL
			SELECT indkey::int2[] FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
			WHERE i.indrelid = t.oid AND ic.relname = $3
			LIMIT 1) AS k (cols)
		CROSS JOIN LATERAL unnest(k.cols) WITH ORDINALITY AS c (attnum, ord)
		JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = c.attnum
		WHERE t.relname = $2 AND a.attname <> 'tenant_id'
		ORDER BY c.ord`, pe.Schema, pe.Table, pe.Constraint)
	if err != nil {
		return known // the kind is right, and the next violation asks again
	}
	known.fields = columns
	if p != nil {
		known.fields = p.(*plan).fieldNames(columns)
	}
	db.constraints.Store(key, known)
	return known
}

// fieldNames are the clients' names of columns, without those that clients do not see.
func (p *plan) fieldNames(columns []string) []string {
	names := []string{}
	for _, db := range columns {
		if c := p.byDB[db]; c != nil && c.name != "" {
			names = append(names, c.name)
		}
	}
	return names
}
