package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/clients/go/api"
	"rowcall/modules/apperr"
	"rowcall/modules/rpcclient"
	"rowcall/modules/store/storetest"
	"rowcall/web/webtest"
)

// stage is devices on a server of the test's own: demo1's laptop and phone, demo2's tablet and the admin's desk, which know each other.
type stage struct {
	*testing.T
	*show
	db   *storetest.Database
	desk *Device
}

func newStage(t *testing.T) *stage {
	t.Helper()
	server, db := webtest.Start(t)
	s := &stage{t, &show{server: server, dir: t.TempDir()}, db, nil}
	s.ok(s.devices(t.Context()))
	desk, err := s.device(t.Context(), "desk", "admin", nil)
	s.ok(err)
	s.desk = desk
	all := []*Device{s.laptop, s.phone, s.tablet, s.desk}
	for _, d := range all {
		d.Contacts = map[int64]Contact{}
		for _, other := range all {
			d.Contacts[other.Identity.User] = other.Identity.Contact()
		}
		t.Cleanup(func() { _ = d.Replica.Close() })
	}
	s.collection = s.create("one")
	return s
}

func (s *stage) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *stage) create(label string) uuid.UUID {
	s.Helper()
	id, err := s.laptop.CreateCollection(s.Context(), label)
	s.ok(err)
	for _, d := range []*Device{s.phone, s.tablet, s.desk} {
		s.ok(d.Follow(s.Context(), id, s.laptop.Identity.User))
	}
	return id
}

func (s *stage) write(d *Device, text string) uuid.UUID {
	s.Helper()
	id, err := d.Write(s.Context(), s.collection, text)
	s.ok(err)
	return id
}

// has fails the test unless the notes of a device are these, and all of them are sent.
func (s *stage) has(d *Device, want ...string) {
	s.Helper()
	notes, err := d.Notes(s.Context(), s.collection)
	s.ok(err)
	var got []string
	for _, n := range notes {
		if n.Unsent || n.Problem != "" {
			s.Errorf("the %s has %+v", d.Name, n)
		}
		got = append(got, n.Text)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		s.Errorf("the %s has %q, not %q", d.Name, got, want)
	}
}

// litter adds items that nobody can read, so that the log takes several pages.
func (s *stage) litter(collection uuid.UUID) {
	s.Helper()
	all := make([]api.VaultItemCreate, 1000)
	for i := range all {
		all[i] = api.VaultItemCreate{CollectionID: collection, Payload: "AAAA"}
	}
	_, err := api.CreateVaultItems.Call(s.Context(), s.laptop.Client, api.CreateVaultItemsParams{Data: all})
	s.ok(err)
}

// before is a network that does something before a call goes out.
type before struct {
	method string
	do     func()
}

func (b *before) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	if do := b.do; do != nil && strings.Contains(string(body), `"`+b.method+`"`) {
		b.do = nil
		do()
	}
	return http.DefaultTransport.RoundTrip(r)
}

// Two devices of the owner give out keys at the same time: one of them has to do it again, and no key is lost.
func TestKeysAreGivenOutByOneDeviceAtATime(t *testing.T) {
	s := newStage(t)
	s.ok(s.laptop.Share(t.Context(), s.collection, s.tablet.Identity.Contact()))
	s.ok(s.laptop.Share(t.Context(), s.collection, s.desk.Identity.Contact()))
	s.phone.Client.HTTP.Transport = &before{"delete_vault_member", func() {
		s.ok(s.laptop.Remove(t.Context(), s.collection, s.tablet.Identity.User))
		s.write(s.laptop, "by the laptop's key")
		s.ok(s.laptop.Sync(t.Context()))
	}}
	err := s.phone.Remove(t.Context(), s.collection, s.desk.Identity.User)
	if rpcclient.KindOf(err) != apperr.Conflict {
		t.Errorf("the other removed at the same time: %v", err)
	}
	s.ok(s.phone.Remove(t.Context(), s.collection, s.desk.Identity.User))
	s.phone.Client.HTTP.Transport = &before{"create_vault_member", func() {
		s.ok(s.laptop.Share(t.Context(), s.collection, s.tablet.Identity.Contact()))
		s.ok(s.laptop.Remove(t.Context(), s.collection, s.tablet.Identity.User))
	}}
	if err := s.phone.Share(t.Context(), s.collection, s.desk.Identity.Contact()); rpcclient.KindOf(err) != apperr.Conflict {
		t.Errorf("the other shared at the same time: %v", err)
	}
	s.ok(s.phone.Share(t.Context(), s.collection, s.desk.Identity.Contact()))
	s.write(s.phone, "by the phone's key")
	s.ok(sync(t.Context(), s.phone, s.laptop, s.desk, s.tablet))
	for _, d := range []*Device{s.phone, s.laptop, s.desk} {
		s.has(d, "by the laptop's key", "by the phone's key")
	}
	s.has(s.tablet)
}

// Whoever is made a member by the server, and not by the owner, gets no new keys.
func TestOnlyMembersOfTheOwnersGetNewKeys(t *testing.T) {
	s := newStage(t)
	for _, d := range []*Device{s.tablet, s.desk} {
		s.ok(s.laptop.Share(t.Context(), s.collection, d.Identity.Contact()))
	}
	s.ok(s.tablet.Sync(t.Context()))
	had, err := keyringOf(t.Context(), s.tablet, s.collection)
	s.ok(err)
	s.ok(s.laptop.Remove(t.Context(), s.collection, s.tablet.Identity.User))
	wrapped, err := s.laptop.Identity.Wrap(had, s.collection, s.tablet.Identity.Contact()) // which the server has kept
	s.ok(err)
	_, err = api.CreateVaultMember.Call(t.Context(), s.laptop.Client, api.CreateVaultMemberParams{Data: api.VaultMemberCreate{
		CollectionID: s.collection, UserID: s.tablet.Identity.User, WrappedKey: wrapped,
	}})
	s.ok(err)
	s.ok(s.laptop.Remove(t.Context(), s.collection, s.desk.Identity.User))
	s.write(s.laptop, "a secret")
	s.ok(sync(t.Context(), s.laptop, s.phone, s.tablet))
	s.has(s.phone, "a secret")
	s.has(s.tablet)
	if now, err := keyringOf(t.Context(), s.tablet, s.collection); err != nil || now.Generation != had.Generation {
		t.Errorf("the tablet has the keys of generation %d: %v", now.Generation, err)
	}
}

// A copy is newer than the log that is followed, in which the keys of that time come again.
func TestOldKeysInTheLogAreNoHindrance(t *testing.T) {
	s := newStage(t)
	s.ok(s.laptop.Share(t.Context(), s.collection, s.tablet.Identity.Contact()))
	s.ok(s.tablet.Sync(t.Context()))
	first := s.collection
	s.collection = s.create("another")
	s.ok(s.tablet.Replica.InTx(t.Context(), func(tx *replicaTx) error { // as if the log were followed from here on
		return tx.exec(`UPDATE collection SET copied = 0 WHERE id = ?`, s.collection.String())
	}))
	for _, other := range []*Device{s.tablet, s.desk} {
		s.ok(s.laptop.Share(t.Context(), s.collection, other.Identity.Contact()))
	}
	s.litter(first)
	s.ok(s.laptop.Remove(t.Context(), s.collection, s.desk.Identity.User))
	s.write(s.laptop, "by the new key")
	s.ok(sync(t.Context(), s.laptop, s.tablet))
	s.has(s.tablet, "by the new key")
}

// Who is removed and added again, between two syncs or with one in between, has the collection again; what was not sent in the first case is.
func TestMembersCanComeBack(t *testing.T) {
	s := newStage(t)
	contact := s.tablet.Identity.Contact()
	s.ok(s.laptop.Share(t.Context(), s.collection, contact))
	s.write(s.laptop, "a note")
	s.ok(sync(t.Context(), s.laptop, s.tablet))
	s.write(s.tablet, "written offline")
	s.ok(s.laptop.Remove(t.Context(), s.collection, contact.User))
	s.ok(s.laptop.Share(t.Context(), s.collection, contact))
	s.ok(sync(t.Context(), s.tablet, s.laptop))
	s.has(s.tablet, "a note", "written offline")

	s.ok(s.laptop.Remove(t.Context(), s.collection, contact.User))
	s.ok(s.tablet.Sync(t.Context()))
	s.has(s.tablet)
	s.ok(s.laptop.Share(t.Context(), s.collection, contact))
	s.ok(sync(t.Context(), s.tablet))
	s.has(s.tablet, "a note", "written offline")
}

// A device that was offline for longer than mutations are remembered does not know what became of those it had sent.
func TestMutationsThatHaveExpired(t *testing.T) {
	s := newStage(t)
	s.ok(s.phone.Sync(t.Context()))
	s.ok(s.laptop.Sync(t.Context()))
	edited, deleted := s.write(s.laptop, "was"), s.write(s.laptop, "gone")
	s.ok(s.laptop.Sync(t.Context()))
	s.write(s.laptop, "new, and kept")
	s.ok(s.laptop.Edit(t.Context(), edited, new("edited, and kept")))
	s.ok(s.laptop.Edit(t.Context(), deleted, nil))
	lost := &lossy{lose: true}
	s.laptop.Client.HTTP.Transport = lost
	if _, err := s.laptop.push(t.Context()); err == nil {
		t.Fatal("the answer was not lost")
	}
	lost.lose = false
	s.write(s.laptop, "new, and not sent")
	s.ok(s.laptop.Replica.InTx(t.Context(), s.laptop.queue))
	s.expire(s.laptop)
	s.ok(sync(t.Context(), s.laptop, s.phone))
	for _, d := range []*Device{s.laptop, s.phone} {
		s.has(d, "edited, and kept", "new, and kept", "new, and not sent")
	}
}

// expire makes all mutations of a device 40 days old.
func (s *stage) expire(d *Device) {
	s.Helper()
	s.ok(d.Replica.InTx(context.WithoutCancel(s.Context()), func(tx *replicaTx) error {
		var is string
		var ids []string
		err := tx.each(`SELECT id FROM mutation`, nil, []any{&is}, func() error {
			ids = append(ids, is)
			return nil
		})
		for _, id := range ids {
			old := uuid.MustParse(id)
			at := make([]byte, 8)
			binary.BigEndian.PutUint64(at, uint64(time.Now().AddDate(0, 0, -40).UnixMilli()))
			copy(old[:6], at[2:])
			if err == nil {
				err = tx.exec(`UPDATE mutation SET id = ?, request = replace(request, ?, ?) WHERE id = ?`, old.String(), id, old.String(), id)
			}
		}
		return err
	}))
}

func (s *stage) epoch() string {
	s.Helper()
	head, err := api.SyncHead.Call(s.Context(), s.laptop.Client, api.SyncHeadParams{})
	s.ok(err)
	return head.Epoch
}

// After the server was restored from a backup, devices put back what it has lost of the notes that they have.
func TestServerIsRestored(t *testing.T) {
	s := newStage(t)
	s.ok(s.laptop.Share(t.Context(), s.collection, s.tablet.Identity.Contact()))
	s.ok(sync(t.Context(), s.laptop, s.phone, s.tablet))
	id := s.write(s.laptop, "of the backup")
	s.ok(s.laptop.Sync(t.Context()))
	item, err := api.GetVaultItem.Call(t.Context(), s.laptop.Client, api.GetVaultItemParams{ID: id})
	s.ok(err)
	s.ok(s.laptop.Edit(t.Context(), id, new("edited")))
	s.ok(sync(t.Context(), s.laptop, s.phone, s.laptop))
	s.ok(s.laptop.Edit(t.Context(), id, new("edited\nagain")))
	s.ok(sync(t.Context(), s.laptop, s.tablet))
	s.db.Exec(t, fmt.Sprintf(`UPDATE vault_item SET version = 1, payload = '%s' WHERE id = '%s'`, item.Data.Payload, id))
	before := s.epoch()
	s.db.Exec(t, `CALL new_epoch()`)
	for s.epoch() == before { // which the server remembers for a second
	}
	s.ok(sync(t.Context(), s.laptop, s.phone, s.tablet, s.laptop))
	for _, d := range []*Device{s.laptop, s.phone, s.tablet} {
		s.has(d, "edited\nagain")
	}
	s.ok(s.phone.Replica.Close())
	s.phone.Replica, err = OpenReplica(t.Context(), filepath.Join(s.dir, "new.db"))
	s.ok(err)
	s.ok(s.phone.Follow(t.Context(), s.collection, s.laptop.Identity.User))
	s.ok(s.phone.Sync(t.Context()))
	s.has(s.phone, "edited\nagain")
}
