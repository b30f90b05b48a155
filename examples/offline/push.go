package main

import (
	"context"
	"database/sql"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

// This file sends what was changed here. A change becomes a mutation, sealed, and stays one until the server has said what
// became of it: so a repeat is the same to the byte, and is carried out once. A note has one mutation at a time, because the next one
// needs the version that it makes.

type mutation struct {
	MutationID uuid.UUID    `json:"mutation_id"`
	Op         string       `json:"op"`
	Entity     string       `json:"entity"`
	ID         uuid.UUID    `json:"id"`
	Version    *int64       `json:"version,omitzero"`
	Data       *itemChanges `json:"data,omitzero"`
}

type itemChanges struct {
	CollectionID *uuid.UUID `json:"collection_id,omitzero"` // of a new one
	Payload      string     `json:"payload"`
}

type pushParams struct {
	Mutations []jsontext.Value `json:"mutations"`
}

// outcome is what became of a mutation.
type outcome struct {
	MutationID uuid.UUID `json:"mutation_id"`
	Status     string    `json:"status"`
	Version    int64     `json:"version"`
	Current    *struct {
		fields
		Version int64 `json:"version"`
	} `json:"current"`
	Error struct {
		Message string `json:"message"`
		Data    struct {
			Kind   apperr.Kind `json:"kind"`
			Issues []struct {
				Path string `json:"path"`
			} `json:"issues"`
		} `json:"data"`
	} `json:"error"`
}

// expired tells whether the mutation has waited for longer than the server remembers: it may have been carried out or not.
func (o *outcome) expired() bool {
	return len(o.Error.Data.Issues) > 0 && o.Error.Data.Issues[0].Path == "mutation_id"
}

var syncPush = rpcclient.Method[pushParams, rpcclient.Data[[]outcome]]{Name: "sync_push"}

// maxPush bounds a request, of which the server takes 1 MiB.
const maxPush = 700 << 10

// push sends what was changed, and tells whether there is nothing left to send.
func (d *Device) push(ctx context.Context) (done bool, err error) {
	if err := d.Replica.InTx(ctx, d.queue); err != nil {
		return false, err
	}
	done = true
	for {
		var p pushParams
		var request string
		size := 0
		err := d.Replica.InTx(ctx, func(tx *replicaTx) error {
			return tx.each(`SELECT request FROM mutation ORDER BY n LIMIT 1000`, nil, []any{&request}, func() error {
				if size += len(request); size < maxPush || p.Mutations == nil {
					p.Mutations = append(p.Mutations, jsontext.Value(request))
				}
				return nil
			})
		})
		if err != nil || p.Mutations == nil {
			return done, err
		}
		answer, err := syncPush.Call(ctx, d.Client, p)
		if err != nil {
			return false, err
		}
		err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
			for _, o := range answer.Data {
				done = done && o.Status == "applied"
				if err := d.settle(tx, o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return false, err
		}
	}
}

// queue makes mutations of what has been changed.
func (d *Device) queue(tx *replicaTx) error {
	type changed struct {
		id, collection uuid.UUID
		version        int64
		base, mine     sql.NullString
	}
	var c changed
	var all []changed
	err := tx.each(`SELECT id, collection, version, base, mine FROM note
		WHERE base IS NOT mine AND problem = '' AND id NOT IN (SELECT note FROM mutation) ORDER BY id`, nil,
		[]any{&c.id, &c.collection, &c.version, &c.base, &c.mine}, func() error {
			all = append(all, c)
			return nil
		})
	if err != nil {
		return err
	}
	for _, c := range all {
		of, err := tx.collection(c.collection)
		if err != nil {
			return err
		}
		m := mutation{Entity: entityItem, ID: c.id}
		if m.MutationID, err = uuid.NewV7(); err != nil {
			return err
		}
		switch {
		case !c.base.Valid:
			m.Op, m.Data = "create", &itemChanges{CollectionID: &c.collection}
		case c.mine.Valid:
			m.Op, m.Version, m.Data = "update", &c.version, &itemChanges{}
		default:
			m.Op, m.Version = "delete", &c.version
		}
		if m.Data != nil {
			m.Data.Payload, err = of.keyring.Seal([]byte(c.mine.String), place{c.collection, entityItem, c.id, c.version + 1})
			if err != nil {
				return err
			}
		}
		request, err := json.Marshal(m)
		if err != nil {
			return err
		}
		err = tx.exec(`INSERT INTO mutation (id, note, request, mine) VALUES (?, ?, ?, ?)`, m.MutationID.String(), c.id.String(), string(request), c.mine)
		if err != nil {
			return err
		}
	}
	return nil
}

// settle notes what became of a mutation.
func (d *Device) settle(tx *replicaTx, o outcome) error {
	var id, collection uuid.UUID
	var base, mine, sent *string
	known, err := tx.get(`SELECT note.id, note.collection, note.base, note.mine, mutation.mine FROM mutation JOIN note ON note.id = mutation.note
		WHERE mutation.id = ?`, []any{o.MutationID.String()}, &id, &collection, &base, &mine, &sent)
	if err != nil || !known {
		return err
	}
	if err := tx.exec(`DELETE FROM mutation WHERE id = ?`, o.MutationID.String()); err != nil {
		return err
	}
	switch {
	case o.expired():
		return nil // another one is made, and its version tells
	case o.Error.Data.Kind == apperr.AlreadyExists: // by a mutation that has expired: a version that cannot be makes it a conflict
		return tx.exec(`UPDATE note SET base = '' WHERE id = ?`, id.String())
	case o.Status == "rejected":
		return tx.exec(`UPDATE note SET problem = ? WHERE id = ?`, o.Error.Message, id.String())
	case o.Status == "applied" && sent == nil:
		return tx.exec(`DELETE FROM note WHERE id = ?`, id.String())
	case o.Status == "applied":
		return tx.exec(`UPDATE note SET version = ?, base = ?, problem = '' WHERE id = ?`, o.Version, sent, id.String())
	case o.Current == nil:
		return d.deletedByOthers(tx, id, d.Merge(base, mine, nil))
	}
	of, err := tx.collection(collection)
	if err != nil {
		return err
	}
	text, err := of.keyring.Open(o.Current.Payload, place{collection, entityItem, id, o.Current.Version})
	if err != nil {
		return tx.exec(`UPDATE note SET problem = ? WHERE id = ?`, err.Error(), id.String())
	}
	theirs := string(text)
	return tx.exec(`UPDATE note SET version = ?, base = ?, mine = ? WHERE id = ?`, o.Current.Version, theirs, d.Merge(base, mine, &theirs), id.String())
}

// deletedByOthers gives a note that others have deleted, and that is to be all the same, another id: the versions of the old one are
// used up.
func (d *Device) deletedByOthers(tx *replicaTx, id uuid.UUID, merged *string) error {
	if merged == nil {
		return tx.exec(`DELETE FROM note WHERE id = ?`, id.String())
	}
	next, err := uuid.NewV7()
	if err != nil {
		return err
	}
	return tx.exec(`UPDATE note SET id = ?, version = 0, base = NULL, mine = ? WHERE id = ?`, next.String(), *merged, id.String())
}
