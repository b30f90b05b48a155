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
			if err := d.apply(tx, page.Data, false); err != nil {
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
		if err := d.apply(tx, rows, true); err != nil {
			return err
		}
		for _, id := range collections {
			member, err := tx.isMember(id, d.Identity.User)
			if err == nil && !member {
				err = tx.forget(id)
			}
			if err := errors.Join(err, tx.exec(`UPDATE collection SET copied = 1 WHERE id = ?`, id.String())); err != nil {
				return err
			}
		}
		if _, since, err := tx.place(); err != nil || since > 0 {
			return err
		}
		return tx.setPlace(first.Epoch, first.Position)
	})
}

// dropOthers drops what was in a collection and is not there any more, but for what was changed here; and all of its memberships, which come anew.
func (t *replicaTx) dropOthers(collection uuid.UUID, there map[uuid.UUID]bool) error {
	var id uuid.UUID
	var gone []uuid.UUID
	err := t.each(`SELECT id FROM note WHERE collection = ? AND base IS mine`, []any{collection.String()}, []any{&id}, func() error {
		if !there[id] {
			gone = append(gone, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range gone {
		if err := t.exec(`DELETE FROM note WHERE id = ?`, id.String()); err != nil {
			return err
		}
	}
	return t.exec(`DELETE FROM member WHERE collection = ?`, collection.String())
}

// apply applies changes in their order, but first those of memberships, as these have the keys for the rest: those that begin before those that
// end, as one can take the place of another. copied says that they are the rows as they are now.
func (d *Device) apply(tx *replicaTx, changes []change, copied bool) error {
	for _, ended := range []bool{false, true} {
		for _, c := range changes {
			if c.Entity != entityMember || (c.Data == nil) != ended {
				continue
			}
			if err := d.applyMember(tx, c); err != nil {
				return err
			}
		}
	}
	for _, c := range changes {
		var err error
		switch c.Entity {
		case entityCollection:
			err = d.applyCollection(tx, c)
		case entityItem:
			err = d.applyItem(tx, c, copied)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) applyMember(tx *replicaTx, c change) error {
	var version, user int64
	var collection uuid.UUID
	known, err := tx.get(`SELECT version, user, collection FROM member WHERE id = ?`, []any{c.ID.String()}, &version, &user, &collection)
	switch {
	case err != nil, known && c.Version <= version, !known && c.Data == nil:
		return err
	case c.Data == nil:
		err := tx.exec(`DELETE FROM member WHERE id = ?`, c.ID.String())
		if err != nil || user != d.Identity.User {
			return err
		}
		again, err := tx.isMember(collection, user)
		if err != nil || again {
			return err
		}
		return tx.forget(collection) // nothing of it will be heard of any more
	}
	of, err := tx.collection(c.Data.CollectionID)
	if err != nil || of == nil {
		return err
	}
	err = tx.exec(`INSERT INTO member (id, collection, user, version) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET version = excluded.version`,
		c.ID.String(), c.Data.CollectionID.String(), c.Data.UserID, c.Version)
	if err != nil || c.Data.UserID != d.Identity.User {
		return err
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
	if err != nil || keyring.Generation < of.keyring.Generation { // older keys are never taken for newer
		return err
	}
	return tx.setKeyring(c.Data.CollectionID, keyring)
}

// isMember tells whether a user is known to be a member of a collection.
func (t *replicaTx) isMember(collection uuid.UUID, user int64) (bool, error) {
	return t.get(`SELECT id FROM member WHERE collection = ? AND user = ?`, []any{collection.String(), user}, new(string))
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
	member, err := tx.isMember(c.ID, d.Identity.User)
	if err != nil || !member || c.Data == nil { // its end is that of the membership
		return err
	}
	of, err := tx.collection(c.ID)
	if err != nil {
		return err
	}
	label, err := of.keyring.Open(c.Data.Label, place{c.ID, entityCollection, c.ID, c.Version})
	if err != nil {
		return fmt.Errorf("the label of a collection: %w", err)
	}
	return tx.exec(`UPDATE collection SET label = ? WHERE id = ?`, string(label), c.ID.String())
}

// applyItem takes a note as it is on the server, unless it was changed here: then the push finds out. A copy that has an older version than
// the one known is of a server that was restored from a backup, or pretends it: then what is known here is a change, and is sent again.
func (d *Device) applyItem(tx *replicaTx, c change, copied bool) error {
	var version int64
	var changed bool
	known, err := tx.get(`SELECT version, base IS NOT mine FROM note WHERE id = ?`, []any{c.ID.String()}, &version, &changed)
	back := known && copied && c.Version < version
	switch {
	case err != nil, known && (changed || c.Version <= version && !copied):
		return err
	case c.Data == nil:
		return tx.exec(`DELETE FROM note WHERE id = ?`, c.ID.String())
	}
	member, err := tx.isMember(c.Data.CollectionID, d.Identity.User)
	if err != nil || !member { // any more
		return err
	}
	of, err := tx.collection(c.Data.CollectionID)
	if err != nil {
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
	return tx.exec(`UPDATE note SET version = ?, base = ?, mine = CASE WHEN ? THEN mine ELSE ? END, problem = '' WHERE id = ?`,
		c.Version, string(text), back, string(text), c.ID.String())
}
