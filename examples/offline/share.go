package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/google/uuid"

	"rowcall/clients/go/api"
	"rowcall/modules/rpcclient"
)

// This file has what only a collection's owner does, online.

// CreateCollection makes a collection of the user's own, and follows it, which comes first: so it is not lost if the answer is.
func (d *Device) CreateCollection(ctx context.Context, label string) (id uuid.UUID, err error) {
	if id, err = uuid.NewV7(); err != nil {
		return id, err
	}
	keyring := Keyring{Members: []int64{d.Identity.User}}.Rotated()
	p := api.CreateVaultCollectionParams{Data: api.VaultCollectionCreate{ID: &id}}
	if p.Data.Label, err = keyring.Seal([]byte(label), place{id, entityCollection, id, 1}); err != nil {
		return id, err
	}
	if p.WrappedKey, err = d.Identity.Wrap(keyring, id, d.Identity.Contact()); err != nil {
		return id, err
	}
	if err := d.Follow(ctx, id, d.Identity.User); err != nil {
		return id, err
	}
	_, err = api.CreateVaultCollection.Call(ctx, d.Client, p)
	return id, err
}

// Share lets a user read and write a collection: all that is in it, and that will be. CONFLICT if another of the owner's devices has shared it or
// removed somebody in the meantime: then call it again.
func (d *Device) Share(ctx context.Context, id uuid.UUID, with Contact) error {
	of, err := d.own(ctx, id)
	if err != nil {
		return err
	}
	next := of.keyring
	next.Members = append(slices.Clone(next.Members), with.User)
	wrapped, err := d.Identity.Wrap(next, id, with)
	if err != nil {
		return err
	}
	b := rpcclient.Batch{Atomic: true}
	api.CreateVaultMember.In(&b, api.CreateVaultMemberParams{Data: api.VaultMemberCreate{CollectionID: id, UserID: with.User, WrappedKey: wrapped}})
	for _, m := range of.members {
		if m.user == d.Identity.User { // which is changed by whoever gives out keys, so that devices do it one after another
			err = d.give(&b, m, id, next)
		}
	}
	if err != nil {
		return err
	}
	return b.Run(ctx, d.Client)
}

// give puts an update into the batch by which a member gets the keys, if the membership is still as it is known.
func (d *Device) give(b *rpcclient.Batch, m member, id uuid.UUID, k Keyring) error {
	to, ok := d.contact(m.user)
	if !ok {
		return fmt.Errorf("user %d is not known", m.user)
	}
	wrapped, err := d.Identity.Wrap(k, id, to)
	api.UpdateVaultMember.In(b, api.UpdateVaultMemberParams{
		ID: m.id, Version: rpcclient.Value(m.version), Data: api.VaultMemberUpdate{WrappedKey: &wrapped},
	})
	return err
}

// Remove ends a user's membership, and gives the others a new key, all at once: what is written with it the user cannot read, even who gets
// hold of it. What they could read before they may have kept. CONFLICT is as for Share.
func (d *Device) Remove(ctx context.Context, id uuid.UUID, user int64) error {
	of, err := d.own(ctx, id)
	if err != nil {
		return err
	}
	b := rpcclient.Batch{Atomic: true}
	next := of.keyring.Rotated()
	stays := func(m member) bool { return m.user != user && slices.Contains(of.keyring.Members, m.user) }
	next.Members = nil
	for _, m := range of.members {
		if stays(m) {
			next.Members = append(next.Members, m.user)
		}
	}
	for _, m := range of.members {
		if !stays(m) { // or was never given keys: the server alone says that it is a member
			api.DeleteVaultMember.In(&b, api.DeleteVaultMemberParams{ID: m.id})
		} else if err := d.give(&b, m, id, next); err != nil {
			return err
		}
	}
	if err := b.Run(ctx, d.Client); err != nil {
		return err
	}
	return d.Sync(ctx) // which brings the key from the own membership
}

// member is a membership of a collection.
type member struct {
	id      uuid.UUID
	user    int64
	version int64
}

// ownCollection is a collection of the user's own.
type ownCollection struct {
	*collection
	members []member
}

func (d *Device) own(ctx context.Context, id uuid.UUID) (own ownCollection, err error) {
	if d.Offline {
		return own, errOffline
	}
	if err := d.Sync(ctx); err != nil {
		return own, err
	}
	err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
		if own.collection, err = tx.collection(id); err != nil {
			return err
		}
		var m member
		return tx.each(`SELECT id, user, version FROM member WHERE collection = ? ORDER BY id`, []any{id.String()}, []any{&m.id, &m.user, &m.version}, func() error {
			own.members = append(own.members, m)
			return nil
		})
	})
	if err == nil && (own.collection == nil || own.owner != d.Identity.User) {
		err = errors.New("it is not the user's own collection")
	}
	return own, err
}
