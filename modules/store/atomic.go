package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lib/pq"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// This file is about work that does not know that it is a part of more: a method that is called in an atomic batch. The
// context of a transaction carries it, and what begins with that context joins it.

// withinKey is the key under which a context carries the transaction of the database that its work is a part of.
type withinKey struct{ db *DB }

// within tells whether work with the context is a part of a transaction for a tenant, and of which: nil where there is an
// end that all of it shares, and no transaction, because nobody is logged in ([DB.Atomic]).
func (db *DB) within(ctx context.Context) (tx *Tx, is bool) {
	tx, is = ctx.Value(withinKey{db}).(*Tx)
	return tx, is
}

var errOtherActor = errors.New("store: a transaction is the work of one actor, and the context has another")

// join returns a Tx for a part of the transaction.
func (tx *Tx) join(ctx context.Context, actor *auth.Actor) (*Tx, error) {
	if *actor != *tx.Actor {
		return nil, errOtherActor
	}
	part := *tx
	part.ctx, part.position = withTenant(ctx, tx.tenant), new(int64)
	return &part, nil
}

// Atomic runs do in one transaction, as [DB.InTx] does, for work that begins its own: each [DB.Session], InTx and Atomic
// with the context that do gets is a part of that transaction, which is at the isolation level READ COMMITTED. A part
// that fails leaves nothing of the whole, even if do returns nil.
//
// The platform's work commits by itself and cannot be a part: within, InPlatformTx and Exec of a [PlatformTx] are
// INVALID_REQUEST, and its queries can only read. For an anonymous request there is no transaction, because there is
// nothing that it may change, and the rest holds all the same.
func (db *DB) Atomic(ctx context.Context, do func(ctx context.Context) error) error {
	if auth.RequestFrom(ctx).Actor == nil {
		return do(context.WithValue(ctx, withinKey{db}, (*Tx)(nil)))
	}
	return db.InTx(ctx, func(tx *Tx) error { return do(tx.Context()) }) //nolint:contextcheck // it comes from ctx
}

var errApart = apperr.New(apperr.InvalidRequest, "This cannot be a part of a transaction or of an atomic batch: do it by itself")

// Exec runs a hand-written statement and returns how many rows it touched.
func (p *PlatformTx) Exec(query string, args ...any) (int64, error) {
	if p.readOnly {
		return 0, errApart
	}
	return p.runner.Exec(query, args...)
}

// Select runs a hand-written query and scans its rows into the slice that dest points to.
func (p *PlatformTx) Select(dest any, query string, args ...any) error {
	return p.query(func(r *runner) error { return r.Select(dest, query, args...) })
}

// Get runs a hand-written query and scans its one row into dest; sql.ErrNoRows if there is none.
func (p *PlatformTx) Get(dest any, query string, args ...any) error {
	return p.query(func(r *runner) error { return r.Get(dest, query, args...) })
}

func (p *PlatformTx) query(do func(*runner) error) error {
	if !p.readOnly {
		return do(&p.runner)
	}
	err := transact(&p.runner, p.db.platform, &sql.TxOptions{ReadOnly: true}, func(r runner) error { return do(&r) })
	if pe := (*pq.Error)(nil); errors.As(err, &pe) && pe.Code == "25006" { // read_only_sql_transaction
		return errApart
	}
	return err
}

// commitError gives an error of a commit its kind: UNAVAILABLE if the answer to it was lost, and otherwise what the server
// had against it, or why it was not sent; then nothing is kept.
func (r *runner) commitError(err error) error {
	var pe *pq.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &pe):
		if r.ctx.Err() == nil {
			if violation := r.violation(pe); violation != nil { // of a deferred constraint
				return violation
			}
		}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, sql.ErrTxDone),
		errors.Is(err, pq.ErrInFailedTransaction):
	default:
		return apperr.Wrap(apperr.Unavailable, "The database was lost during the commit: it is not known whether the work was kept", err)
	}
	return r.plainError(err)
}
