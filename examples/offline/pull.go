package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

// This file brings the replica to where the server is.

// fields are those of all three entities of the vault.
type fields struct {
	CollectionID uuid.UUID `json:"collection_id"`
	Label        string    `json:"label"`
	UserID       int64     `json:"user_id"`
	WrappedKey   string    `json:"wrapped_key"`
	Payload      string    `json:"payload"`
}

// change is a row of a copy, or an entry of the log.
type change struct {
	Entity  string    `json:"entity"`
	ID      uuid.UUID `json:"id"`
	Op      string    `json:"op"`
	Version int64     `json:"version"`
	Data    *fields   `json:"data"` // nil: it was deleted
}

type syncParams struct {
	Entities []string    `json:"entities"`
	Groups   []uuid.UUID `json:"groups"`
	Since    *int64      `json:"since,omitzero"`
	Epoch    string      `json:"epoch,omitzero"`
	Cursor   *string     `json:"cursor,omitzero"`
}

type syncPage struct {
	Data       []change `json:"data"`
	NextCursor *string  `json:"next_cursor"`
	Position   int64    `json:"position"`
	Epoch      string   `json:"epoch"`
	More       bool     `json:"more"`
}

var (
	syncBootstrap = rpcclient.Method[syncParams, syncPage]{Name: "sync_bootstrap", Reads: true}
	syncDelta     = rpcclient.Method[syncParams, syncPage]{Name: "sync_delta", Reads: true}
)

const (
	entityCollection = "vault_collection"
	entityItem       = "vault_item"
	entityMember     = "vault_member"
)

// pull copies the collections that are new here, and applies what has changed in all.
func (d *Device) pull(ctx context.Context) error {
	for {
		var followed, uncopied []uuid.UUID
		var since int64
		p := syncParams{Entities: []string{entityMember, entityCollection, entityItem}}
		err := d.Replica.InTx(ctx, func(tx *replicaTx) (err error) {
			if followed, err = tx.collections(false); err != nil {
				return err
			}
			if uncopied, err = tx.collections(true); err != nil {
				return err
			}
			p.Epoch, since, err = tx.place()
			return err
		})
		if err != nil || len(followed) == 0 {
			return err
		}
		if len(uncopied) > 0 {
			if err := d.copy(ctx, uncopied); err != nil {
				return err
			}
			continue
		}
		p.Groups, p.Since = followed, &since
		page, err := syncDelta.Call(ctx, d.Client, p)
		if rpcclient.KindOf(err) == apperr.ResyncRequired {
			err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
				return errors.Join(tx.exec(`UPDATE collection SET copied = 0`), tx.exec(`DELETE FROM followed`))
			})
			if err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
			if err := d.apply(tx, page.Data); err != nil {
				return err
			}
			if uncopied, err = tx.collections(true); err != nil {
				return err
			}
			return tx.setPlace(page.Epoch, page.Position)
		})
		if err != nil || !page.More && len(uncopied) == 0 {
			return err
		}
	}
}

// copy fetches whole collections: first the memberships, as these have the keys. What is in the copy may be newer than its position, and what the
// log says of it is applied again, which the versions make harmless.
func (d *Device) copy(ctx context.Context, collections []uuid.UUID) error {
	var first syncPage
	var rows []change
	for i, entities := range [][]string{{entityMember}, {entityCollection, entityItem}} {
		p := syncParams{Entities: entities, Groups: collections}
		for more := true; more; {
			page, err := syncBootstrap.Call(ctx, d.Client, p)
			if err != nil {
				return err
			}
			if i == 0 {
				first = page
			}
			rows = append(rows, page.Data...)
			p.Cursor, more = page.NextCursor, page.NextCursor != nil
		}
	}
	return d.Replica.InTx(ctx, func(tx *replicaTx) error {
		there := map[uuid.UUID]bool{}
		for _, row := range rows {
			there[row.ID] = true
		}
		for _, id := range collections {
			if err := tx.dropOthers(id, there); err != nil {
				return err
			}
		}
		if err := d.apply(tx, rows); err != nil {
			return err
		}
		for _, id := range collections {
			if err := tx.exec(`UPDATE collection SET copied = 1 WHERE id = ?`, id.String()); err != nil {
				return err
			}
		}
		if _, since, err := tx.place(); err != nil || since > 0 {
			return err
		}
		return tx.setPlace(first.Epoch, first.Position)
	})
}

// dropOthers drops what was in a collection and is not there any more, but for what was changed here.
func (t *replicaTx) dropOthers(collection uuid.UUID, there map[uuid.UUID]bool) error {
	for _, table := range []string{"member", "note"} {
		var id uuid.UUID
		var gone []uuid.UUID
		changed := map[string]string{"member": "false", "note": "base IS NOT mine"}[table]
		err := t.each(`SELECT id FROM `+table+` WHERE collection = ? AND NOT `+changed, []any{collection.String()}, []any{&id}, func() error {
			if !there[id] {
				gone = append(gone, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, id := range gone {
			if err := t.exec(`DELETE FROM `+table+` WHERE id = ?`, id.String()); err != nil {
				return err
			}
		}
	}
	return nil
}

// apply applies changes in their order, but first those of memberships, as these have the keys for the rest.
func (d *Device) apply(tx *replicaTx, changes []change) error {
	for _, c := range changes {
		if c.Entity != entityMember {
			continue
		}
		if err := d.applyMember(tx, c); err != nil {
			return err
		}
	}
	for _, c := range changes {
		var err error
		switch c.Entity {
		case entityCollection:
			err = d.applyCollection(tx, c)
		case entityItem:
			err = d.applyItem(tx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

var errOldKeys = errors.New("the server shows keys that were replaced")

func (d *Device) applyMember(tx *replicaTx, c change) error {
	if c.Data == nil {
		var user int64
		var collection uuid.UUID
		known, err := tx.get(`SELECT user, collection FROM member WHERE id = ?`, []any{c.ID.String()}, &user, &collection)
		switch {
		case err != nil || !known:
			return err
		case user == d.Identity.User: // it has ended: nothing of the collection will be heard of any more
			return tx.forget(collection)
		}
		return tx.exec(`DELETE FROM member WHERE id = ?`, c.ID.String())
	}
	of, err := tx.collection(c.Data.CollectionID)
	if err != nil || of == nil {
		return err
	}
	known, err := tx.get(`SELECT user FROM member WHERE id = ?`, []any{c.ID.String()}, new(int64))
	if err != nil {
		return err
	}
	if !known {
		err := tx.exec(`INSERT INTO member (id, collection, user) VALUES (?, ?, ?)`, c.ID.String(), c.Data.CollectionID.String(), c.Data.UserID)
		if err != nil {
			return err
		}
	}
	if c.Data.UserID != d.Identity.User {
		return nil
	}
	if !known { // what was in it before is not in the log since
		if err := tx.exec(`UPDATE collection SET copied = 0 WHERE id = ?`, c.Data.CollectionID.String()); err != nil {
			return err
		}
	}
	owner, ok := d.contact(of.owner)
	if !ok {
		return fmt.Errorf("user %d, the owner of the collection, is not known", of.owner)
	}
	keyring, err := d.Identity.Unwrap(c.Data.WrappedKey, c.Data.CollectionID, owner)
	switch {
	case err != nil:
		return err
	case keyring.Generation < of.keyring.Generation:
		return errOldKeys
	}
	return tx.setKeyring(c.Data.CollectionID, keyring)
}

// contact returns a user's contact, also the device's own.
func (d *Device) contact(user int64) (Contact, bool) {
	if user == d.Identity.User {
		return d.Identity.Contact(), true
	}
	c, ok := d.Contacts[user]
	return c, ok
}

func (d *Device) applyCollection(tx *replicaTx, c change) error {
	of, err := tx.collection(c.ID)
	if err != nil || of == nil || c.Data == nil { // its end is that of the membership
		return err
	}
	label, err := of.keyring.Open(c.Data.Label, place{c.ID, entityCollection, c.ID, c.Version})
	if err != nil {
		return fmt.Errorf("the label of a collection: %w", err)
	}
	return tx.exec(`UPDATE collection SET label = ? WHERE id = ?`, string(label), c.ID.String())
}

// applyItem takes a note as it is on the server, unless it was changed here: then the push finds out.
func (d *Device) applyItem(tx *replicaTx, c change) error {
	var version int64
	var changed bool
	known, err := tx.get(`SELECT version, base IS NOT mine FROM note WHERE id = ?`, []any{c.ID.String()}, &version, &changed)
	switch {
	case err != nil || known && (changed || c.Version <= version):
		return err
	case c.Data == nil:
		return tx.exec(`DELETE FROM note WHERE id = ?`, c.ID.String())
	}
	of, err := tx.collection(c.Data.CollectionID)
	if err != nil || of == nil {
		return err
	}
	if !known {
		err := tx.exec(`INSERT INTO note (id, collection, version) VALUES (?, ?, 0)`, c.ID.String(), c.Data.CollectionID.String())
		if err != nil {
			return err
		}
	}
	text, err := of.keyring.Open(c.Data.Payload, place{c.Data.CollectionID, entityItem, c.ID, c.Version})
	if err != nil { // the note stays as it was, and says why
		return tx.exec(`UPDATE note SET problem = ? WHERE id = ?`, err.Error(), c.ID.String())
	}
	return tx.exec(`UPDATE note SET version = ?, base = ?, mine = ?, problem = '' WHERE id = ?`, c.Version, string(text), string(text), c.ID.String())
}
