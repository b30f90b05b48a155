package store

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"github.com/lib/pq"

	"rowcall/modules/auth"
)

// This file appends to the change log: each row that a repository writes is an entry, in the same transaction. By itself, a
// statement does both. In a transaction the entries are collected and appended by its last statement, so that the lock on the
// tenant's head, for which all writers of the tenant wait, is held as shortly as can be, and not while waiting for a row. There are two
// exceptions, by which writers can come to a deadlock that Postgres ends: a transaction with more entries than maxCollected, and
// references, which Postgres looks at when a statement has done everything else, to a row that somebody is deleting.

// maxCollected is how large the entries of a transaction may get, in bytes, before they are appended ahead of its end.
const maxCollected = 4 << 20

// deadlocks is how often a statement that is alone in its transaction is begun again when Postgres ended it because of a deadlock.
const deadlocks = 3

// transaction is what the parts of one share.
type transaction struct {
	failed    error   // the first error of a part that keeps all of its work or none
	entries   []entry // to be appended
	collected int     // bytes in them
	head      int64   // after the last append; 0: none yet

	last  []func(*Tx) error // to be called when the entries have been appended
	after []func()          // and when all is committed
}

// entry is a change that waits to be appended.
type entry struct {
	N       int64          `json:"n"`
	At      time.Time      `json:"at"`
	Actor   int64          `json:"actor"`
	Method  string         `json:"method"`
	Entity  string         `json:"entity"`
	RowID   string         `json:"row_id"`
	Op      string         `json:"op"`
	Version int64          `json:"version"`
	Before  jsontext.Value `json:"before,omitzero"`
	Data    jsontext.Value `json:"data,omitzero"`

	position *int64 // where its position is wanted
}

// Position returns where the position of the last entry will be that was made through tx, in the log of its tenant: 0 until there is
// one and it is appended, which in a transaction is at its end, or earlier if they get large. It stands when the transaction is committed.
func (tx *Tx) Position() *int64 { return tx.position }

// OnCommit sets what is told of every commit that appended to a tenant's log, by the position of the last entry. It runs on the goroutine
// that committed, before its caller goes on, and must not block. Set it before the first write.
func (db *DB) OnCommit(committed func(tenant uuid.UUID, position int64)) { db.committed = committed }

// Committed tells what [DB.OnCommit] has set of a commit that appended to a tenant's log by other ways than a Tx.
func (db *DB) Committed(tenant uuid.UUID, position int64) { db.committed(tenant, position) }

// change runs a statement on rows of the plan, and returns what it returns. The shape stands for everything that the statement depends on,
// besides the entity and whether the actor is held to rows of their own.
func change[E any](tx *Tx, p *plan, op operation, shape []byte, args []any, build func() write) ([]E, error) {
	inTransaction := func(tx *Tx) ([]E, error) { return changeAll[E](tx, p, op, shape, args, build, nil) }
	if tx.whole != nil {
		return inTransaction(tx)
	}
	if tx.db.groups == nil {
		return changeAlone[E](tx, p, shape, args, build)
	}
	var rows []E
	c := &call{tx: tx, plan: p, args: args, size: sizeOf(args), run: func(tx *Tx) (err error) {
		rows, err = inTransaction(tx)
		return err
	}}
	if op == creating && string(shape) == oneNew && p.writers() == nil { // who may write is asked row by row
		c.added = func(row reflect.Value) { rows = []E{row.Interface().(E)} }
	}
	err := tx.db.groups.change(c, func() (err error) {
		rows, err = changeAlone[E](tx, p, shape, args, build)
		return err
	})
	return rows, err
}

// changeAlone is change by a statement that commits itself.
func changeAlone[E any](tx *Tx, p *plan, shape []byte, args []any, build func() write) ([]E, error) {
	text := p.cached(p.ownOnly(tx), append([]byte{'+'}, shape...), func() string { return p.logged(build()) })
	args = append(args, tx.tenant, tx.now, tx.Actor.User, auth.RequestFrom(tx.ctx).Method)
	for attempt := 1; ; attempt++ {
		var head [1]any
		rows, _, err := queryPage[E](&tx.runner, p.columns, text, args, head[:], 0)
		if pe := (*pq.Error)(nil); attempt < deadlocks && errors.As(err, &pe) && pe.Code == deadlockDetected {
			continue
		}
		if err == nil && len(rows) > 0 {
			*tx.position = head[0].(int64)
			tx.db.committed(tx.Actor.Tenant, *tx.position)
		}
		return rows, err
	}
}

// changeAll is change in a transaction. It puts the rows, and their entries, in an order, if there is one.
func changeAll[E any](tx *Tx, p *plan, op operation, shape []byte, args []any, build func() write, order func(a, b E) int) ([]E, error) {
	text := p.cached(p.ownOnly(tx), append([]byte{'-'}, shape...), func() string { return p.collected(build()) })
	type changed struct {
		row    E
		before jsontext.Value
	}
	var before []any
	if op == updating || op == upserting {
		before = make([]any, 1)
	}
	var row E
	s := newScanner(p.columns, before)
	s.aim(reflect.ValueOf(&row).Elem())
	all := []changed{}
	_, err := tx.read(text, args, s, 0, func() {
		c := changed{row: row}
		if before != nil {
			c.before = textOf(before[0])
		}
		all = append(all, c)
	})
	if err != nil {
		return nil, err
	}
	if order != nil {
		slices.SortFunc(all, func(a, b changed) int { return order(a.row, b.row) })
	}
	rows := make([]E, len(all))
	for i := range all {
		rows[i] = all[i].row
		if err := tx.collect(p, op, reflect.ValueOf(&rows[i]).Elem(), all[i].before); err != nil {
			return nil, err
		}
	}
	if tx.whole.collected > maxCollected {
		return rows, tx.flush()
	}
	return rows, nil
}

// textOf copies a text from the driver's memory; nil for NULL.
func textOf(src any) jsontext.Value {
	switch src := src.(type) {
	case []byte:
		return bytes.Clone(src)
	case string:
		return jsontext.Value(src)
	}
	return nil
}

// collect adds the entry of a changed row.
func (tx *Tx) collect(p *plan, op operation, row reflect.Value, before jsontext.Value) error {
	data, err := p.logData(row)
	if err != nil {
		return err
	}
	id, version := p.byDB["id"], p.byDB["version"]
	e := entry{
		At: tx.now, Actor: tx.Actor.User, Method: auth.RequestFrom(tx.ctx).Method, position: tx.position,
		Entity: p.entity, RowID: fmt.Sprint(id.value(row)), Version: version.value(row).(int64), Before: before,
	}
	if op == upserting {
		if op = updating; e.Version == 1 {
			op = creating
		}
	}
	e.Op = opNames[op]
	if op == deleting {
		e.Before = data
		e.Version++
	} else {
		e.Data = data
	}
	tx.whole.entries = append(tx.whole.entries, e)
	tx.whole.collected += len(e.Before) + len(e.Data)
	return nil
}

// logData is the logged fields of an entity as JSON, by the names that clients know.
func (p *plan) logData(row reflect.Value) (jsontext.Value, error) {
	data := []byte{'{'}
	for _, c := range p.columns {
		if !c.logged {
			continue
		}
		if len(data) > 1 {
			data = append(data, ',')
		}
		data = append(append(append(data, '"'), c.name...), `":`...)
		v := c.value(row)
		if at, ok := v.(time.Time); ok {
			v = at.UTC().Format("2006-01-02T15:04:05.999999-07:00") // as Postgres writes it
		}
		value, err := json.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("store: the field %s cannot be logged: %w", c.name, err)
		}
		data = append(data, value...)
	}
	return append(data, '}'), nil
}

// BeforeCommit has a transaction call do as the last thing before it commits, when the positions of all of its entries are known, with
// the Tx that is the whole: the context of a part may have ended. An error of do undoes the transaction. It must change no rows of a
// repository.
func (tx *Tx) BeforeCommit(do func(whole *Tx) error) { tx.whole.last = append(tx.whole.last, do) }

// AfterCommit has a transaction call do when it is committed, on the goroutine that did, before its caller goes on; do must not block. It is
// not called if it is not known whether the transaction was committed.
func (tx *Tx) AfterCommit(do func()) { tx.whole.after = append(tx.whole.after, do) }

const appendEntries = `
	WITH head AS (
		INSERT INTO change_head AS h (tenant_id, head) VALUES ($1::uuid, $2::bigint)
		ON CONFLICT (tenant_id) DO UPDATE SET head = h.head + EXCLUDED.head RETURNING head
	), entry AS (
		INSERT INTO change (tenant_id, position, at, actor, method, entity, row_id, op, version, before, data)
		SELECT $1::uuid, head.head - $2::bigint + e.n, e.at, e.actor, e.method, e.entity, e.row_id, e.op, e.version, e.before, e.data
		FROM head, json_to_recordset($3::json) AS e(n bigint, at timestamptz, actor bigint, method text, entity text, row_id text,
			op text, version bigint, before jsonb, data jsonb)
	)
	SELECT head FROM head`

// flush appends the entries of a transaction that have been collected, so that their positions are known before it commits. It locks
// the tenant's head: do it last. Without entries, and outside a transaction, it does nothing.
func (tx *Tx) flush() error {
	if tx.whole == nil || len(tx.whole.entries) == 0 {
		return nil
	}
	entries := tx.whole.entries
	for i := range entries {
		entries[i].N = int64(i + 1)
	}
	doc, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	var head int64
	if err := tx.Get(&head, appendEntries, tx.tenant, len(entries), string(doc)); err != nil {
		return err
	}
	for i := range entries {
		*entries[i].position = head - int64(len(entries)) + entries[i].N
	}
	tx.whole.head, tx.whole.entries, tx.whole.collected = head, nil, 0
	return nil
}
