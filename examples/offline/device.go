package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"rowcall/clients/go/api"
	"rowcall/modules/rpcclient"
)

// Merge is the rule by which a device merges what it has changed with what others have. base is the note as both knew it, and
// nil is a note that does not exist. It returns what the note is to be.
type Merge func(base, mine, theirs *string) *string

// Device is a device of a user: it writes notes whether or not there is a network, and exchanges them by Sync.
type Device struct {
	Name     string
	Client   *rpcclient.Client
	Identity *Identity
	Replica  *Replica
	Contacts map[int64]Contact // of other users, who have given them
	Merge    Merge
	Offline  bool
}

// Note is a note as the device has it.
type Note struct {
	ID      uuid.UUID
	Version int64 // on the server; 0 if it is not there
	Text    string
	Unsent  bool
	Problem string // why it could not be opened, or was not accepted
}

// Follow makes the device keep a copy of a collection, from the next Sync on. Who its owner is decides whose keys are accepted, so it must be
// known from them.
func (d *Device) Follow(ctx context.Context, collection uuid.UUID, owner int64) error {
	return d.Replica.InTx(ctx, func(tx *replicaTx) error {
		return tx.exec(`INSERT INTO collection (id, owner) VALUES (?, ?) ON CONFLICT (id) DO NOTHING`, collection.String(), owner)
	})
}

// Write adds a note.
func (d *Device) Write(ctx context.Context, collection uuid.UUID, text string) (id uuid.UUID, err error) {
	if id, err = uuid.NewV7(); err != nil {
		return id, err
	}
	return id, d.Replica.InTx(ctx, func(tx *replicaTx) error {
		return tx.exec(`INSERT INTO note (id, collection, version, mine) VALUES (?, ?, 0, ?)`, id.String(), collection.String(), text)
	})
}

// Edit changes a note, or removes it if text is nil.
func (d *Device) Edit(ctx context.Context, id uuid.UUID, text *string) error {
	return d.Replica.InTx(ctx, func(tx *replicaTx) error {
		var there bool
		if _, err := tx.get(`SELECT mine IS NOT NULL FROM note WHERE id = ?`, []any{id.String()}, &there); err != nil {
			return err
		}
		if !there {
			return fmt.Errorf("there is no note %s", id)
		}
		return tx.exec(`UPDATE note SET mine = ?, problem = '' WHERE id = ?`, text, id.String())
	})
}

// Overwrite makes the device send a note as it has it, in place of what the server has and cannot be opened.
func (d *Device) Overwrite(ctx context.Context, id uuid.UUID) error {
	item, err := api.GetVaultItem.Call(ctx, d.Client, api.GetVaultItemParams{ID: id})
	if err != nil {
		return err
	}
	return d.Replica.InTx(ctx, func(tx *replicaTx) error {
		return tx.exec(`UPDATE note SET version = ?, base = '', problem = '' WHERE id = ?`, item.Data.Version, id.String())
	})
}

// Notes returns the notes of a collection, in the order in which they were begun.
func (d *Device) Notes(ctx context.Context, collection uuid.UUID) (notes []Note, err error) {
	err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
		var n Note
		return tx.each(`SELECT id, version, coalesce(mine, ''), base IS NOT mine, problem FROM note
			WHERE collection = ? AND (mine IS NOT NULL OR problem <> '') ORDER BY id`,
			[]any{collection.String()}, []any{&n.ID, &n.Version, &n.Text, &n.Unsent, &n.Problem}, func() error {
				notes = append(notes, n)
				return nil
			})
	})
	return notes, err
}

var errOffline = errors.New("the device is offline")

// maxRounds is how often a Sync sends anew what was in conflict.
const maxRounds = 10

// Sync fetches what others have changed, and sends what has been changed here, until there is nothing left to send. It can be broken off at any
// point and begun again.
func (d *Device) Sync(ctx context.Context) error {
	if d.Offline {
		return errOffline
	}
	for range maxRounds {
		if err := d.pull(ctx); err != nil {
			return err
		}
		done, err := d.push(ctx)
		if err != nil || done {
			return err
		}
	}
	return errors.New("others are always faster")
}
