package main

import (
	"context"
	"database/sql"
	"errors"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"
	_ "modernc.org/sqlite" // the driver
)

// Replica is what a device keeps: the collections that it follows, with their keys and notes, what has been changed and not yet sent, and how far
// it has followed the log. It is in the clear: that a lost device tells nothing is up to the device.
type Replica struct{ db *sql.DB }

// base is the note as it was at the version, mine as it is here: NULL is a note that does not exist. They differ while something is to be sent.
const schema = `
	CREATE TABLE IF NOT EXISTS followed (epoch TEXT NOT NULL, position INTEGER NOT NULL);
	CREATE TABLE IF NOT EXISTS collection (
		id TEXT PRIMARY KEY, owner INTEGER NOT NULL, label TEXT NOT NULL DEFAULT '', keyring TEXT NOT NULL DEFAULT '{}', copied INTEGER NOT NULL DEFAULT 0);
	CREATE TABLE IF NOT EXISTS member (id TEXT PRIMARY KEY, collection TEXT NOT NULL, user INTEGER NOT NULL, version INTEGER NOT NULL);
	CREATE TABLE IF NOT EXISTS note (
		id TEXT PRIMARY KEY, collection TEXT NOT NULL, version INTEGER NOT NULL, base TEXT, mine TEXT, problem TEXT NOT NULL DEFAULT '');
	CREATE TABLE IF NOT EXISTS mutation (
		n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, note TEXT NOT NULL UNIQUE, request TEXT NOT NULL, mine TEXT);`

// OpenReplica opens the one in a file, or makes it.
func OpenReplica(ctx context.Context, file string) (*Replica, error) {
	db, err := sql.Open("sqlite", file)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1) // SQLite has one writer
	_, err = db.ExecContext(ctx, `PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON;`+schema)
	return &Replica{db}, err
}

// Close closes it.
func (r *Replica) Close() error { return r.db.Close() }

// InTx runs do in a transaction, which is kept if do returns nil.
func (r *Replica) InTx(ctx context.Context, do func(tx *replicaTx) error) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() //nolint:errcheck // after a commit there is nothing to roll back
	if err := do(&replicaTx{ctx, tx}); err != nil {
		return err
	}
	return tx.Commit()
}

type replicaTx struct {
	ctx context.Context
	tx  *sql.Tx
}

func (t *replicaTx) exec(query string, args ...any) error {
	_, err := t.tx.ExecContext(t.ctx, query, args...)
	return err
}

// get scans a row into dest, and tells whether there is one.
func (t *replicaTx) get(query string, args []any, dest ...any) (bool, error) {
	err := t.tx.QueryRowContext(t.ctx, query, args...).Scan(dest...)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	return err == nil, err
}

// each scans rows into dest and calls do after each.
func (t *replicaTx) each(query string, args []any, dest []any, do func() error) error {
	rows, err := t.tx.QueryContext(t.ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err below tells
	for rows.Next() {
		if err := rows.Scan(dest...); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
	}
	return rows.Err()
}

// place returns how far the log has been followed; position 0 for not at all.
func (t *replicaTx) place() (epoch string, position int64, err error) {
	_, err = t.get(`SELECT epoch, position FROM followed`, nil, &epoch, &position)
	return epoch, position, err
}

func (t *replicaTx) setPlace(epoch string, position int64) error {
	if err := t.exec(`DELETE FROM followed`); err != nil {
		return err
	}
	return t.exec(`INSERT INTO followed (epoch, position) VALUES (?, ?)`, epoch, position)
}

// collection is a collection that is followed.
type collection struct {
	owner   int64
	label   string
	keyring Keyring
}

// collection returns nil for one that is not followed.
func (t *replicaTx) collection(id uuid.UUID) (*collection, error) {
	var c collection
	var keyring string
	ok, err := t.get(`SELECT owner, label, keyring FROM collection WHERE id = ?`, []any{id.String()}, &c.owner, &c.label, &keyring)
	if err != nil || !ok {
		return nil, err
	}
	return &c, json.Unmarshal([]byte(keyring), &c.keyring)
}

// collections returns the ids of those that are followed: all, or those of which there is no copy.
func (t *replicaTx) collections(uncopied bool) (ids []uuid.UUID, err error) {
	var id uuid.UUID
	err = t.each(`SELECT id FROM collection WHERE NOT (? AND copied) ORDER BY id`, []any{uncopied}, []any{&id}, func() error {
		ids = append(ids, id)
		return nil
	})
	return ids, err
}

// setKeyring keeps the keys of a collection. What could not be opened by those before is to be copied again.
func (t *replicaTx) setKeyring(collection uuid.UUID, k Keyring) error {
	text, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return t.exec(`UPDATE collection SET keyring = ?, copied = copied AND NOT EXISTS (SELECT 1 FROM note WHERE collection = collection.id AND problem <> '')
		WHERE id = ?`, string(text), collection.String())
}

// forget drops all that is in a collection, for a user who is no member any more. It goes on being followed, as they may become one again; its
// keys stay, so that older ones are told from newer.
func (t *replicaTx) forget(collection uuid.UUID) error {
	for _, query := range []string{
		`DELETE FROM mutation WHERE note IN (SELECT id FROM note WHERE collection = ?)`, `DELETE FROM note WHERE collection = ?`,
		`DELETE FROM member WHERE collection = ?`, `UPDATE collection SET label = '' WHERE id = ?`,
	} {
		if err := t.exec(query, collection.String()); err != nil {
			return err
		}
	}
	return nil
}
