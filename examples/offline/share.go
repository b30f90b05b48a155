package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"rowcall/modules/rpcclient"
)

// This file has what only a collection's owner does, online.

type (
	createCollectionParams struct {
		Data struct {
			ID    uuid.UUID `json:"id"`
			Label string    `json:"label"`
		} `json:"data"`
		WrappedKey string `json:"wrapped_key"`
	}
	memberParams struct {
		ID   *uuid.UUID    `json:"id,omitzero"` // of a membership that is there
		Data *memberFields `json:"data,omitzero"`
	}
	memberFields struct {
		CollectionID *uuid.UUID `json:"collection_id,omitzero"`
		UserID       *int64     `json:"user_id,omitzero"`
		WrappedKey   string     `json:"wrapped_key"`
	}
)

var (
	createCollection = rpcclient.Method[createCollectionParams, rpcclient.Written[fields]]{Name: "create_vault_collection"}
	createMember     = rpcclient.Method[memberParams, rpcclient.Written[fields]]{Name: "create_vault_member"}
	updateMember     = rpcclient.Method[memberParams, rpcclient.Written[fields]]{Name: "update_vault_member"}
	deleteMember     = rpcclient.Method[memberParams, rpcclient.Written[fields]]{Name: "delete_vault_member"}
)

// CreateCollection makes a collection of the user's own, and follows it.
func (d *Device) CreateCollection(ctx context.Context, label string) (id uuid.UUID, err error) {
	if id, err = uuid.NewV7(); err != nil {
		return id, err
	}
	keyring := Keyring{}.Rotated()
	var p createCollectionParams
	p.Data.ID = id
	if p.Data.Label, err = keyring.Seal([]byte(label), place{id, entityCollection, id, 1}); err != nil {
		return id, err
	}
	if p.WrappedKey, err = d.Identity.Wrap(keyring, id, d.Identity.Contact()); err != nil {
		return id, err
	}
	if _, err := createCollection.Call(ctx, d.Client, p); err != nil {
		return id, err
	}
	return id, d.Follow(ctx, id, d.Identity.User)
}

// Share lets a user read and write a collection: all that is in it, and that will be.
func (d *Device) Share(ctx context.Context, id uuid.UUID, with Contact) error {
	of, err := d.own(ctx, id)
	if err != nil {
		return err
	}
	wrapped, err := d.Identity.Wrap(of.keyring, id, with)
	if err != nil {
		return err
	}
	_, err = createMember.Call(ctx, d.Client, memberParams{Data: &memberFields{CollectionID: &id, UserID: &with.User, WrappedKey: wrapped}})
	return err
}

// Remove ends a user's membership, and gives the others a new key, all at once: what is written with it the user cannot read, even who gets
// hold of it. What they could read before they may have kept.
func (d *Device) Remove(ctx context.Context, id uuid.UUID, user int64) error {
	of, err := d.own(ctx, id)
	if err != nil {
		return err
	}
	next := of.keyring.Rotated()
	b := rpcclient.Batch{Atomic: true}
	err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
		var membership uuid.UUID
		var member int64
		return tx.each(`SELECT id, user FROM member WHERE collection = ?`, []any{id.String()}, []any{&membership, &member}, func() error {
			row := membership
			if member == user {
				deleteMember.In(&b, memberParams{ID: &row})
				return nil
			}
			to, ok := d.contact(member)
			if !ok {
				return fmt.Errorf("user %d is not known", member)
			}
			wrapped, err := d.Identity.Wrap(next, id, to)
			updateMember.In(&b, memberParams{ID: &row, Data: &memberFields{WrappedKey: wrapped}})
			return err
		})
	})
	if err != nil {
		return err
	}
	if err := b.Run(ctx, d.Client); err != nil {
		return err
	}
	return d.Sync(ctx) // which brings the key from the own membership
}

// own returns a collection of the user's own.
func (d *Device) own(ctx context.Context, id uuid.UUID) (of *collection, err error) {
	if d.Offline {
		return nil, errOffline
	}
	if err := d.Sync(ctx); err != nil {
		return nil, err
	}
	err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
		of, err = tx.collection(id)
		return err
	})
	if err == nil && (of == nil || of.owner != d.Identity.User) {
		err = errors.New("it is not the user's own collection")
	}
	return of, err
}
