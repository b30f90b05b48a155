package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/google/uuid"

	"rowcall/clients/go/api"
	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
)

const label = "Household"

func (s *show) writeOffline(ctx context.Context) (err error) {
	if s.collection, err = s.laptop.CreateCollection(ctx, label); err != nil {
		return err
	}
	if err := sync(ctx, s.laptop); err != nil { // which brings the key
		return err
	}
	s.laptop.Offline = true
	for text, id := range map[string]*uuid.UUID{"milk\neggs": &s.milk, "build a rocket": &s.rocket, "poetry": &s.poetry} {
		if *id, err = s.laptop.Write(ctx, s.collection, text); err != nil {
			return err
		}
	}
	if err := s.laptop.Edit(ctx, s.poetry, new("a poem")); err != nil {
		return err
	}
	if err := s.laptop.Sync(ctx); !errors.Is(err, errOffline) {
		return fmt.Errorf("it is not offline: %w", err)
	}
	if err := s.expect(ctx, s.laptop, "milk\neggs", "build a rocket", "a poem"); err != nil {
		return err
	}
	s.laptop.Offline = false
	if err := sync(ctx, s.laptop); err != nil {
		return err
	}
	return s.expect(ctx, s.laptop, "milk\neggs", "build a rocket", "a poem")
}

func (s *show) secondDevice(ctx context.Context) error {
	if err := s.phone.Follow(ctx, s.collection, s.laptop.Identity.User); err != nil {
		return err
	}
	if err := sync(ctx, s.phone); err != nil {
		return err
	}
	return s.expect(ctx, s.phone, "milk\neggs", "build a rocket", "a poem")
}

func (s *show) conflict(ctx context.Context) error {
	if err := s.laptop.Edit(ctx, s.milk, new("milk\neggs\nbread")); err != nil {
		return err
	}
	if err := s.phone.Edit(ctx, s.milk, new("eggs\ncheese")); err != nil {
		return err
	}
	if err := sync(ctx, s.laptop, s.phone, s.laptop); err != nil {
		return err
	}
	for _, d := range []*Device{s.laptop, s.phone} {
		if err := s.expect(ctx, d, "eggs\nbread\ncheese", "build a rocket", "a poem"); err != nil {
			return err
		}
	}
	return nil
}

func (s *show) lostAnswer(ctx context.Context) error {
	if _, err := s.laptop.Write(ctx, s.collection, "once only"); err != nil {
		return err
	}
	network := &lossy{}
	s.laptop.Client.HTTP.Transport = network
	if err := s.laptop.pull(ctx); err != nil {
		return err
	}
	network.lose = true
	if _, err := s.laptop.push(ctx); !errors.Is(err, errLost) {
		return fmt.Errorf("the answer was not lost: %w", err)
	}
	network.lose = false
	if err := sync(ctx, s.laptop, s.phone); err != nil {
		return err
	}
	return s.expect(ctx, s.phone, "eggs\nbread\ncheese", "build a rocket", "a poem", "once only")
}

func (s *show) share(ctx context.Context) error {
	if err := s.tablet.Follow(ctx, s.collection, s.laptop.Identity.User); err != nil {
		return err
	}
	if err := sync(ctx, s.tablet); err != nil {
		return err
	}
	if err := s.expect(ctx, s.tablet); err != nil { // it sees nothing yet
		return err
	}
	if err := s.laptop.Share(ctx, s.collection, s.tablet.Identity.Contact()); err != nil {
		return err
	}
	if err := sync(ctx, s.tablet); err != nil {
		return err
	}
	if err := s.expect(ctx, s.tablet, "eggs\nbread\ncheese", "build a rocket", "a poem", "once only"); err != nil {
		return err
	}
	if err := s.tablet.Edit(ctx, s.rocket, new("build a rocket\nfind a launch site")); err != nil {
		return err
	}
	if err := sync(ctx, s.tablet, s.phone, s.laptop); err != nil {
		return err
	}
	return s.expect(ctx, s.laptop, "eggs\nbread\ncheese", "build a rocket\nfind a launch site", "a poem", "once only")
}

func (s *show) changedAndDeleted(ctx context.Context) error {
	if err := s.laptop.Edit(ctx, s.poetry, nil); err != nil {
		return err
	}
	if err := s.tablet.Edit(ctx, s.poetry, new("a poem\nby demo2")); err != nil {
		return err
	}
	if err := sync(ctx, s.laptop, s.tablet, s.laptop, s.phone); err != nil {
		return err
	}
	for _, d := range []*Device{s.laptop, s.phone, s.tablet} {
		if err := s.expect(ctx, d, "eggs\nbread\ncheese", "build a rocket\nfind a launch site", "a poem\nby demo2", "once only"); err != nil {
			return err
		}
	}
	return nil
}

// nothingToRead looks at what the server has, as a member gets it, and as an admin.
func (s *show) nothingToRead(ctx context.Context) error {
	ours := api.VaultItemFilters{{CollectionID: &api.UUIDCondition{Eq: rpcclient.Value(s.collection)}}}
	stored := ""
	for item, err := range rpcclient.Rows(ctx, s.laptop.Client, api.ListVaultItems, api.ListVaultItemsParams{Filters: ours}) {
		if err != nil {
			return err
		}
		stored += fmt.Sprintf("%+v\n", item)
	}
	c, err := api.GetVaultCollection.Call(ctx, s.laptop.Client, api.GetVaultCollectionParams{ID: s.collection})
	if err != nil {
		return err
	}
	stored += fmt.Sprintf("%+v\n", c.Data)
	for _, word := range []string{"milk", "eggs", "rocket", "poem", "once", label} {
		if strings.Contains(stored, word) {
			return fmt.Errorf("the server has the word %q:\n%s", word, stored)
		}
	}
	line, _, _ := strings.Cut(stored, "\n")
	fmt.Printf("   of a note the server has: %.300s\n", line)

	admin := rpcclient.New(s.server)
	if _, err := admin.Login(ctx, "admin", "welcome", "demo"); err != nil {
		return err
	}
	n, err := api.CountVaultItems.Call(ctx, admin, api.CountVaultItemsParams{Filters: ours})
	if err != nil || n.Data.Count != 0 {
		return fmt.Errorf("the admin counts %d notes: %w", n.Data.Count, err)
	}
	_, err = api.GetVaultCollection.Call(ctx, admin, api.GetVaultCollectionParams{ID: s.collection})
	return refused(err, apperr.NotFound)
}

// moved does what a server could do: it puts a note's payload into another note, and an old one back.
func (s *show) moved(ctx context.Context) error {
	var payloads []string
	for _, id := range []uuid.UUID{s.milk, s.rocket} {
		item, err := api.GetVaultItem.Call(ctx, s.tablet.Client, api.GetVaultItemParams{ID: id})
		if err != nil {
			return err
		}
		payloads = append(payloads, item.Data.Payload)
	}
	put := func(payload string) error {
		_, err := api.UpdateVaultItem.Call(ctx, s.tablet.Client, api.UpdateVaultItemParams{ID: s.milk, Data: api.VaultItemUpdate{Payload: &payload}})
		return err
	}
	for _, payload := range []string{payloads[1], payloads[0]} {
		if err := put(payload); err != nil {
			return err
		}
		if err := sync(ctx, s.phone); err != nil {
			return err
		}
		notes, err := s.phone.Notes(ctx, s.collection)
		if err != nil {
			return err
		}
		for _, n := range notes {
			if n.ID == s.milk && (n.Text != "eggs\nbread\ncheese" || n.Problem == "") {
				return fmt.Errorf("the phone takes it for %+v", n)
			}
		}
	}
	if err := s.expect(ctx, s.phone, "eggs\nbread\ncheese", "build a rocket\nfind a launch site", "a poem\nby demo2", "once only"); err != nil {
		return err
	}
	// Whoever has the note writes it anew.
	if err := s.phone.Overwrite(ctx, s.milk); err != nil {
		return err
	}
	if err := sync(ctx, s.phone, s.laptop, s.tablet); err != nil {
		return err
	}
	return s.expect(ctx, s.laptop, "eggs\nbread\ncheese", "build a rocket\nfind a launch site", "a poem\nby demo2", "once only")
}

func (s *show) remove(ctx context.Context) error {
	had, err := keyringOf(ctx, s.tablet, s.collection)
	if err != nil {
		return err
	}
	if err := s.laptop.Remove(ctx, s.collection, s.tablet.Identity.User); err != nil {
		return err
	}
	secret, err := s.laptop.Write(ctx, s.collection, "not for demo2")
	if err != nil {
		return err
	}
	if _, err := s.tablet.Write(ctx, s.collection, "too late"); err != nil {
		return err
	}
	if err := sync(ctx, s.laptop, s.tablet); err != nil {
		return err
	}
	if err := s.expect(ctx, s.tablet); err != nil { // all of the collection is gone from it
		return err
	}
	payload := "AAAA"
	_, err = api.CreateVaultItem.Call(ctx, s.tablet.Client, api.CreateVaultItemParams{Data: api.VaultItemCreate{CollectionID: s.collection, Payload: payload}})
	if err := refused(err, apperr.BadReference); err != nil {
		return err
	}
	_, err = api.GetVaultItem.Call(ctx, s.tablet.Client, api.GetVaultItemParams{ID: secret})
	if err := refused(err, apperr.NotFound); err != nil {
		return err
	}
	// Even with the payload, the keys that demo2 has kept are of no use.
	item, err := api.GetVaultItem.Call(ctx, s.laptop.Client, api.GetVaultItemParams{ID: secret})
	if err != nil {
		return err
	}
	if plain, err := had.Open(item.Data.Payload, place{s.collection, entityItem, secret, item.Data.Version}); err == nil {
		return fmt.Errorf("the old keys open %q", plain)
	}
	if err := sync(ctx, s.phone); err != nil {
		return err
	}
	return s.expect(ctx, s.phone, "eggs\nbread\ncheese", "build a rocket\nfind a launch site", "a poem\nby demo2", "once only", "not for demo2")
}

func keyringOf(ctx context.Context, d *Device, id uuid.UUID) (k Keyring, err error) {
	err = d.Replica.InTx(ctx, func(tx *replicaTx) error {
		of, err := tx.collection(id)
		if err == nil && of != nil {
			k = of.keyring
		}
		return err
	})
	return k, err
}

func (s *show) restart(ctx context.Context) (err error) {
	if _, err := s.phone.Write(ctx, s.collection, "written before the battery was empty"); err != nil {
		return err
	}
	if err := s.phone.Replica.Close(); err != nil {
		return err
	}
	if s.phone.Replica, err = OpenReplica(ctx, filepath.Join(s.dir, "phone.db")); err != nil {
		return err
	}
	if err := sync(ctx, s.phone, s.laptop); err != nil {
		return err
	}
	return s.expect(ctx, s.laptop, "eggs\nbread\ncheese", "build a rocket\nfind a launch site", "a poem\nby demo2", "once only", "not for demo2",
		"written before the battery was empty")
}
