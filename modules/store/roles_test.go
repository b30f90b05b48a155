package store_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// A poster hangs in a room. Those with red or blue seats put up posters and change them; whoever put one up takes it down, or the room's owner.
type poster struct {
	store.Base[uuid.UUID]
	RoomID uuid.UUID `db:"room_id" json:"room_id" write:"create"        ref:"room" many:"posters"`
	Slug   string    `db:"slug"    json:"slug"    write:"create"`
	Text   string    `db:"text"    json:"text"    write:"create,update"`
}

var posters = store.NewRepo[poster]("poster", store.Access{
	Read: auth.Member, Write: auth.Member, Members: seated("room_id"),
	Writers:  filter.Members{Column: "room_id", Table: "seat", Group: "room_id", User: "user_id", Role: "color", Roles: []string{"red", "blue"}},
	Deleters: []filter.Members{{Column: "id", Table: "poster", Group: "id", User: "cid"}, ownerOf("room_id")},
}, store.Unique("slug"))

// newGallery is a house with users 4, 5 and 6 on a red, a blue and a green seat, and the functions to give out other seats.
func newGallery(t *testing.T) (h *house, paint func(user int64, color string)) {
	t.Helper()
	h = newHouse(t)
	h.Exec(t, `
		CREATE TABLE poster (
			tenant_id uuid NOT NULL, id uuid NOT NULL, room_id uuid NOT NULL, slug text COLLATE "C" NOT NULL, text text COLLATE "C" NOT NULL,
			version bigint NOT NULL, cid bigint NOT NULL, ctime timestamptz NOT NULL, mid bigint NOT NULL, mtime timestamptz NOT NULL,
			PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, slug), FOREIGN KEY (tenant_id, room_id) REFERENCES room (tenant_id, id));
		CALL tenant_table('poster')`)
	for i, color := range []string{"red", "blue", "green"} {
		must[seat](t)(seats.Create(h.as(t, 1), seat{RoomID: h.room, UserID: int64(i) + 4, Color: color}))
	}
	return h, func(user int64, color string) {
		t.Helper()
		f := parse(t, seats.Schema(), fmt.Sprintf(`{"user_id":%d}`, user))
		must[[]seat](t)(seats.UpdateAll(h.as(t, 1), f, store.Set{"color": color}))
	}
}

// All members read, those with a role write, and others are told that they may not; who is no member learns nothing.
func TestRolesOfMembers(t *testing.T) {
	t.Parallel()
	h, paint := newGallery(t)
	red, blue, green, outside := h.as(t, 4), h.as(t, 5), h.as(t, 6), h.as(t, 9)
	mine := must[poster](t)(posters.Create(red, poster{RoomID: h.room, Slug: "a", Text: "x"}))
	must[[]poster](t)(posters.CreateAll(blue, []poster{{RoomID: h.room, Slug: "b"}, {RoomID: h.room, Slug: "c"}}))
	must[poster](t)(posters.Update(blue, mine.ID, store.Set{"text": "y"}, store.Version{}))
	all := parse(t, posters.Schema(), `{}`)
	upsert := func(tx *store.Tx, slug string) error {
		return second(posters.Upsert(tx, store.Set{"room_id": h.room, "slug": slug, "text": "z"}, []string{"slug"}))
	}
	for tx, kind := range map[*store.Tx]apperr.Kind{green: apperr.Forbidden, h.as(t, 2): apperr.Forbidden, outside: apperr.NotFound} {
		wantKind(t, apperr.BadReference, second(posters.Create(tx, poster{RoomID: h.room, Slug: "d"})))
		wantKind(t, apperr.BadReference, second(posters.CreateAll(tx, []poster{{RoomID: h.room, Slug: "d"}, {RoomID: h.room, Slug: "e"}})))
		wantKind(t, apperr.BadReference, upsert(tx, "a"))
		wantKind(t, apperr.BadReference, upsert(tx, "d"))
		wantKind(t, kind, second(posters.Update(tx, mine.ID, store.Set{"text": "z"}, store.Version{})))
		wantKind(t, kind, second(posters.Delete(tx, mine.ID, store.Version{})))
		wantKind(t, apperr.NotFound, second(posters.DeleteAll(tx, []uuid.UUID{mine.ID})))
		if rows := must[[]poster](t)(posters.UpdateAll(tx, all, store.Set{"text": "z"})); len(rows) != 0 {
			t.Errorf("changed %v", rows)
		}
		if rows := must[[]poster](t)(posters.DeleteMatching(tx, all)); len(rows) != 0 {
			t.Errorf("deleted %v", rows)
		}
		seen := int64(3)
		if kind == apperr.NotFound {
			seen = 0
		}
		if n := must[int64](t)(posters.Count(tx, all)); n != seen {
			t.Errorf("%d posters are seen", n)
		}
	}
	if err := upsert(blue, "a"); err != nil {
		t.Error(err)
	}

	// A poster is taken down by whoever put it up, whatever their seat is now, and by the owner of the room, who may not put any up.
	wantKind(t, apperr.Forbidden, second(posters.Delete(blue, mine.ID, store.Version{})))
	wantKind(t, apperr.Conflict, second(posters.Delete(red, mine.ID, store.IfVersion(new(int64(1))))))
	paint(4, "green")
	wantKind(t, apperr.Forbidden, second(posters.Update(red, mine.ID, store.Set{"text": "z"}, store.Version{})))
	must[poster](t)(posters.Delete(red, mine.ID, store.Version{}))
	wantKind(t, apperr.BadReference, second(posters.Create(h.as(t, 1), poster{RoomID: h.room, Slug: "d"})))
	if gone := must[[]poster](t)(posters.DeleteMatching(h.as(t, 1), all)); len(gone) != 2 {
		t.Errorf("the owner deleted %v", gone)
	}
	must[[]seat](t)(seats.DeleteMatching(blue, parse(t, seats.Schema(), `{"user_id":5}`)))
	wantKind(t, apperr.BadReference, second(posters.Create(blue, poster{RoomID: h.room, Slug: "f"})))
}

// A write and the change of the role that allows it are in an order, as those of a membership's end are.
func TestNoWriteComesAfterTheEndOfARole(t *testing.T) {
	t.Parallel()
	h, paint := newGallery(t)
	mine := must[poster](t)(posters.Create(h.as(t, 5), poster{RoomID: h.room, Slug: "a"}))
	writes := map[string]func(*store.Tx) error{
		"create": func(tx *store.Tx) error { return second(posters.Create(tx, poster{RoomID: h.room, Slug: "b"})) },
		"update": func(tx *store.Tx) error {
			return second(posters.Update(tx, mine.ID, store.Set{"text": "x"}, store.Version{}))
		},
		"upsert": func(tx *store.Tx) error {
			return second(posters.Upsert(tx, store.Set{"room_id": h.room, "slug": "a", "text": "x"}, []string{"slug"}))
		},
	}
	user4 := parse(t, seats.Schema(), `{"user_id":4}`)
	for name, write := range writes {
		var refused error
		var late sync.WaitGroup
		err := h.InTx(as(t.Context(), tenantA, 1, auth.Member), func(tx *store.Tx) error {
			if _, err := seats.UpdateAll(tx, user4, store.Set{"color": "green"}); err != nil {
				return err
			}
			late.Go(func() { refused = write(h.as(t, 4)) })
			return waitForLock(tx)
		})
		late.Wait()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if kind := apperr.From(refused).Kind; refused == nil || kind != apperr.Forbidden && kind != apperr.BadReference {
			t.Errorf("%s: after the role's end: %v", name, refused)
		}
		paint(4, "red")
		undo := fmt.Errorf("undo")
		var repainted error
		err = h.InTx(as(t.Context(), tenantA, 4, auth.Member), func(tx *store.Tx) error {
			if err := write(tx); err != nil {
				return err
			}
			late.Go(func() {
				repainted = second(seats.UpdateAll(h.as(t, 1), user4, store.Set{"color": "green"}))
			})
			if err := waitForLock(tx); err != nil {
				return err
			}
			return undo
		})
		late.Wait()
		if err != undo || repainted != nil { //nolint:errorlint // it is not wrapped
			t.Fatalf("%s: %v, %v", name, err, repainted)
		}
		paint(4, "red")
	}
}

// Rows that two take down at once are not in each other's way.
func TestTwoDeleteAtOnce(t *testing.T) {
	t.Parallel()
	h, _ := newGallery(t)
	for n := range 20 {
		mine := must[poster](t)(posters.Create(h.as(t, 4), poster{RoomID: h.room, Slug: fmt.Sprint(n)}))
		var all sync.WaitGroup
		errs := make([]error, 4)
		for i, user := range []int64{1, 4, 1, 4} {
			tx := h.as(t, user)
			all.Go(func() { errs[i] = second(posters.Delete(tx, mine.ID, store.Version{})) })
		}
		all.Wait()
		done := 0
		for _, err := range errs {
			if err == nil {
				done++
			} else {
				wantKind(t, apperr.NotFound, err)
			}
		}
		if done != 1 {
			t.Errorf("%d deleted it", done)
		}
	}
}
