package store_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

// A room has seats, which are who is in it, and posts, which they read and write. Its owner gives out the seats.
type (
	room struct {
		store.Base[uuid.UUID]
		OwnerID int64  `db:"owner_id" json:"owner_id"`
		Name    string `db:"name"     json:"name" write:"create,update"`
	}
	seat struct {
		store.Base[uuid.UUID]
		RoomID uuid.UUID `db:"room_id" json:"room_id" write:"create" ref:"room" many:"seats"`
		UserID int64     `db:"user_id" json:"user_id" write:"create"`
		Color  string    `db:"color"   json:"color"   write:"create,update"`
	}
	post struct {
		store.Base[uuid.UUID]
		RoomID uuid.UUID  `db:"room_id" json:"room_id" write:"create"        ref:"room" many:"posts"`
		Topic  *uuid.UUID `db:"topic"   json:"topic_id" write:"create,update" ref:"post" many:"answers"`
		Slug   string     `db:"slug"    json:"slug"    write:"create"`
		Text   string     `db:"text"    json:"text"    write:"create,update"`
	}
)

func (r *room) PrepareCreate(tx *store.Tx) error {
	r.OwnerID = tx.Actor.User
	return nil
}

func seated(column string) filter.Members {
	return filter.Members{Column: column, Table: "seat", Group: "room_id", User: "user_id"}
}

func ownerOf(column string) filter.Members {
	return filter.Members{Column: column, Table: "room", Group: "id", User: "owner_id"}
}

var (
	rooms = store.NewRepo[room]("room", store.Access{Read: auth.Member, Write: auth.Member, Members: seated("id"), Writers: ownerOf("id")})
	seats = store.NewRepo[seat]("seat", store.Access{Read: auth.Member, Write: auth.Member, Members: seated("room_id"), Writers: ownerOf("room_id")},
		store.Unique("room_id", "user_id"))
	posts = store.NewRepo[post]("post", store.Access{Read: auth.Member, Write: auth.Member, Members: seated("room_id")}, store.Unique("slug"))
)

// house is a room of user 1, who is in it with user 2; user 3 is not, and user 9 is an admin who is not.
type house struct {
	*storetest.Database
	room uuid.UUID
	post post
}

func newHouse(t *testing.T) *house {
	t.Helper()
	db := newDB(t)
	db.Exec(t, `
		CREATE TABLE room (
			tenant_id uuid NOT NULL, id uuid NOT NULL, owner_id bigint NOT NULL, name text COLLATE "C" NOT NULL,
			version bigint NOT NULL, cid bigint NOT NULL, ctime timestamptz NOT NULL, mid bigint NOT NULL, mtime timestamptz NOT NULL,
			PRIMARY KEY (tenant_id, id));
		CALL tenant_table('room');
		CREATE TABLE seat (
			tenant_id uuid NOT NULL, id uuid NOT NULL, room_id uuid NOT NULL, user_id bigint NOT NULL, color text COLLATE "C" NOT NULL,
			version bigint NOT NULL, cid bigint NOT NULL, ctime timestamptz NOT NULL, mid bigint NOT NULL, mtime timestamptz NOT NULL,
			PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, room_id, user_id), FOREIGN KEY (tenant_id, room_id) REFERENCES room (tenant_id, id));
		CALL tenant_table('seat');
		CREATE TABLE post (
			tenant_id uuid NOT NULL, id uuid NOT NULL, room_id uuid NOT NULL, topic uuid, slug text COLLATE "C" NOT NULL, text text COLLATE "C" NOT NULL,
			version bigint NOT NULL, cid bigint NOT NULL, ctime timestamptz NOT NULL, mid bigint NOT NULL, mtime timestamptz NOT NULL,
			PRIMARY KEY (tenant_id, id), UNIQUE (tenant_id, slug), FOREIGN KEY (tenant_id, room_id) REFERENCES room (tenant_id, id));
		CALL tenant_table('post')`)
	h := &house{Database: db}
	owner := h.as(t, 1)
	h.room = must[room](t)(rooms.Create(owner, room{Name: "attic"})).ID
	for user := range int64(2) {
		must[seat](t)(seats.Create(owner, seat{RoomID: h.room, UserID: user + 1}))
	}
	h.post = must[post](t)(posts.Create(h.as(t, 2), post{RoomID: h.room, Slug: "a", Text: "hello"}))
	return h
}

func (h *house) as(t *testing.T, user int64) *store.Tx {
	t.Helper()
	role := auth.Member
	if user == 9 {
		role = auth.Owner
	}
	return must[*store.Tx](t)(h.Session(as(t.Context(), tenantA, user, role)))
}

func parse(t *testing.T, s *filter.Schema, text string) *filter.Filter {
	t.Helper()
	return must[*filter.Filter](t)(filter.Parse([]byte(text), s, "filters"))
}

func TestOnlyMembersReachTheRowsOfAGroup(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	all := parse(t, posts.Schema(), `{}`)
	for _, user := range []int64{3, 9} { // whatever their role
		tx := h.as(t, user)
		own := must[room](t)(rooms.Create(tx, room{Name: "cellar"}))
		must[seat](t)(seats.Create(tx, seat{RoomID: own.ID, UserID: user}))
		mine := must[post](t)(posts.Create(tx, post{RoomID: own.ID, Topic: &h.post.ID, Slug: fmt.Sprint(user)}))

		wantKind(t, apperr.NotFound, second(posts.Get(tx, h.post.ID)))
		wantKind(t, apperr.NotFound, second(posts.GetSelected(tx, h.post.ID, &filter.Selection{})))
		wantKind(t, apperr.NotFound, second(posts.Update(tx, h.post.ID, store.Set{"text": "x"}, store.Version{})))
		wantKind(t, apperr.NotFound, second(posts.Update(tx, h.post.ID, store.Set{"text": "x"}, store.IfVersion(new(int64(1))))))
		wantKind(t, apperr.NotFound, second(posts.Delete(tx, h.post.ID, store.Version{})))
		wantKind(t, apperr.NotFound, second(posts.DeleteAll(tx, []uuid.UUID{h.post.ID})))
		wantKind(t, apperr.NotFound, second(rooms.Get(tx, h.room)))
		wantKind(t, apperr.NotFound, second(rooms.Update(tx, h.room, store.Set{"name": "x"}, store.Version{})))
		wantKind(t, apperr.AlreadyExists, second(posts.Upsert(tx, store.Set{"room_id": own.ID, "slug": "a", "text": "x"}, []string{"slug"})))
		if found := must[map[uuid.UUID]post](t)(posts.GetAll(tx, []uuid.UUID{h.post.ID, mine.ID})); len(found) != 1 {
			t.Errorf("user %d gets %v", user, found)
		}
		if page := must[store.Page[post]](t)(posts.List(tx, store.ListOptions{Total: true})); len(page.Rows) != 1 || *page.Total != 1 {
			t.Errorf("user %d lists %v of %d", user, page.Rows, *page.Total)
		}
		if rows := must[[]post](t)(posts.UpdateAll(tx, all, store.Set{"text": "x"})); len(rows) != 1 {
			t.Errorf("user %d changed %v", user, rows)
		}
		agg := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{Aggregates: []byte(`{"n":"count","texts":{"max":"topic.text"}}`)}, posts.Schema(), ""))
		if g := must[store.Groups](t)(posts.Aggregate(tx, agg, nil)); g.Rows[0][0] != int64(1) || g.Rows[0][1] != nil {
			t.Errorf("user %d aggregates %v", user, g.Rows)
		}
		// Nor is anything told by a way through a row that one does reach.
		for text, want := range map[string]int64{
			`{"topic.text":"hello"}`: 0, `{"topic":null}`: 1, `{"topic.text":{"$not":"hello"}}`: 1, `{"room":{"posts":{"$some":{"slug":"a"}}}}`: 0,
			`{"topic.room.name":"attic"}`: 0, `{"room":{"seats":{"$every":{"user_id":2}}}}`: 0, `{"room.name":"cellar"}`: 1,
		} {
			if n := must[int64](t)(posts.Count(tx, parse(t, posts.Schema(), text))); n != want {
				t.Errorf("user %d counts %d for %s", user, n, text)
			}
		}
		sel := must[*filter.Selection](t)(filter.ParseSelection(nil, []byte(`{"topic":{"include":{"room":{}}},"room":{"include":{"posts":{},"seats":{}}}}`), posts.Schema(), ""))
		order := must[*filter.Order](t)(filter.ParseOrder([]byte(`["topic.text","!topic.room.name"]`), posts.Schema(), ""))
		page := must[store.Page[store.Record]](t)(posts.Select(tx, store.ListOptions{Order: order, Limit: new(int64(5))}, sel))
		if len(page.Rows) != 1 || page.Rows[0].Refs[0].One != nil || len(page.Rows[0].Refs[1].One.Refs[0].Rows) != 1 || len(page.Rows[0].Refs[1].One.Refs[1].Rows) != 1 {
			t.Errorf("user %d embeds %+v", user, page.Rows)
		}

		// A new row is refused in the same words whether or not there is such a group.
		there := second(posts.Create(tx, post{RoomID: h.room, Slug: "new"}))
		wantKind(t, apperr.BadReference, there)
		for _, r := range []uuid.UUID{h.room, uuid.New()} {
			for _, err := range []error{
				second(posts.Create(tx, post{RoomID: r, Slug: "new"})),
				second(posts.CreateAll(tx, []post{{RoomID: own.ID, Slug: "b"}, {RoomID: r, Slug: "c"}})),
				second(posts.Upsert(tx, store.Set{"room_id": r, "slug": "a", "text": "x"}, []string{"slug"})),
			} {
				e := wantKind(t, apperr.BadReference, err)
				if e.Message != apperr.From(there).Message || fmt.Sprint(e.Data) != fmt.Sprint(apperr.From(there).Data) {
					t.Errorf("user %d is told %v, and else %v", user, e, there)
				}
			}
			wantKind(t, apperr.BadReference, second(seats.Create(tx, seat{RoomID: r, UserID: user})))
			wantKind(t, apperr.BadReference, second(seats.Upsert(tx, store.Set{"room_id": r, "user_id": int64(2), "color": "x"}, []string{"room_id", "user_id"})))
		}
		if rows := must[[]post](t)(posts.DeleteMatching(tx, all)); len(rows) != 1 || rows[0].ID != mine.ID {
			t.Errorf("user %d deleted %v", user, rows)
		}
	}
	if got := must[post](t)(posts.Get(h.as(t, 1), h.post.ID)); got != h.post {
		t.Errorf("the post is now %+v", got)
	}
}

func TestWritersAreTheMembersWhoMayWrite(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	owner, member := h.as(t, 1), h.as(t, 2)
	wantKind(t, apperr.Forbidden, second(rooms.Update(member, h.room, store.Set{"name": "x"}, store.Version{})))
	wantKind(t, apperr.Forbidden, second(rooms.Update(member, h.room, store.Set{"name": "x"}, store.IfVersion(new(int64(1))))))
	wantKind(t, apperr.Conflict, second(rooms.Update(owner, h.room, store.Set{"name": "x"}, store.IfVersion(new(int64(2))))))
	must[room](t)(rooms.Update(owner, h.room, store.Set{"name": "loft"}, store.IfVersion(new(int64(1)))))
	wantKind(t, apperr.BadReference, second(seats.Create(member, seat{RoomID: h.room, UserID: 3})))
	wantKind(t, apperr.BadReference, second(seats.Upsert(member, store.Set{"room_id": h.room, "user_id": int64(1), "color": "x"}, []string{"room_id", "user_id"})))
	if changed := must[seat](t)(seats.Upsert(owner, store.Set{"room_id": h.room, "user_id": int64(2), "color": "red"}, []string{"room_id", "user_id"})); changed.Version != 2 {
		t.Errorf("upserted %+v", changed)
	}
	if rows := must[[]seat](t)(seats.UpdateAll(member, parse(t, seats.Schema(), `{}`), store.Set{"color": "blue"})); len(rows) != 0 {
		t.Errorf("a member changed %v", rows)
	}
	// Everybody ends their own membership, and no other.
	seat1 := must[store.Page[seat]](t)(seats.List(member, store.ListOptions{Filter: parse(t, seats.Schema(), `{"user_id":1}`)})).Rows[0]
	wantKind(t, apperr.Forbidden, second(seats.Delete(member, seat1.ID, store.Version{})))
	wantKind(t, apperr.NotFound, second(seats.DeleteAll(member, []uuid.UUID{seat1.ID})))
	if gone := must[[]seat](t)(seats.DeleteMatching(member, parse(t, seats.Schema(), `{}`))); len(gone) != 1 || gone[0].UserID != 2 {
		t.Errorf("a member deleted %v", gone)
	}
	wantKind(t, apperr.NotFound, second(posts.Get(member, h.post.ID)))
	wantKind(t, apperr.BadReference, second(posts.Create(member, post{RoomID: h.room, Slug: "late"})))
}

// Of a write and the end of the membership that allows it, one comes first: a write that is still under way holds the end up, and one
// that began before an end which is still under way waits for it, and is refused.
func TestNoWriteComesAfterTheEndOfAMembership(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	member2 := parse(t, seats.Schema(), `{"user_id":2}`)
	writes := map[string]func(*store.Tx) error{
		"create": func(tx *store.Tx) error { return second(posts.Create(tx, post{RoomID: h.room, Slug: "x1"})) },
		"create all": func(tx *store.Tx) error {
			return second(posts.CreateAll(tx, []post{{RoomID: h.room, Slug: "x2"}, {RoomID: h.room, Slug: "x3"}}))
		},
		"update": func(tx *store.Tx) error {
			return second(posts.Update(tx, h.post.ID, store.Set{"text": "x"}, store.Version{}))
		},
		"update all": func(tx *store.Tx) error {
			rows, err := posts.UpdateAll(tx, parse(t, posts.Schema(), `{}`), store.Set{"text": "x"})
			return noneOf(rows, err)
		},
		"upsert": func(tx *store.Tx) error {
			return second(posts.Upsert(tx, store.Set{"room_id": h.room, "slug": "a", "text": "x"}, []string{"slug"}))
		},
		"delete":      func(tx *store.Tx) error { return second(posts.Delete(tx, h.post.ID, store.Version{})) },
		"delete some": func(tx *store.Tx) error { return second(posts.DeleteAll(tx, []uuid.UUID{h.post.ID})) },
	}
	for name, write := range writes {
		// The end first, but not yet committed.
		var refused error
		var late sync.WaitGroup
		err := h.InTx(as(t.Context(), tenantA, 1, auth.Member), func(tx *store.Tx) error {
			if rows, err := seats.DeleteMatching(tx, member2); err != nil || len(rows) != 1 {
				return fmt.Errorf("removed %v: %w", rows, err)
			}
			late.Go(func() { refused = write(h.as(t, 2)) })
			return waitForLock(tx)
		})
		late.Wait()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if kind := apperr.From(refused).Kind; refused == nil || kind != apperr.NotFound && kind != apperr.BadReference {
			t.Errorf("%s: after the membership's end: %v", name, refused)
		}
		must[seat](t)(seats.Create(h.as(t, 1), seat{RoomID: h.room, UserID: 2}))
		// The write first.
		undo := fmt.Errorf("undo")
		var removed error
		err = h.InTx(as(t.Context(), tenantA, 2, auth.Member), func(tx *store.Tx) error {
			if err := write(tx); err != nil {
				return err
			}
			late.Go(func() { removed = noneOf(seats.DeleteMatching(h.as(t, 1), member2)) })
			if err := waitForLock(tx); err != nil {
				return err
			}
			return undo
		})
		late.Wait()
		if err != undo || removed != nil { //nolint:errorlint // it is not wrapped
			t.Fatalf("%s: %v, %v", name, err, removed)
		}
		must[seat](t)(seats.Create(h.as(t, 1), seat{RoomID: h.room, UserID: 2}))
	}
}

// noneOf is an error for no rows.
func noneOf[E any](rows []E, err error) error {
	if err == nil && len(rows) == 0 {
		err = apperr.New(apperr.NotFound, "no rows")
	}
	return err
}

// waitForLock waits until somebody waits for the transaction.
func waitForLock(tx *store.Tx) error {
	ctx, cancel := context.WithTimeout(tx.Context(), time.Minute)
	defer cancel()
	for waiting := 0; waiting == 0; {
		err := tx.Get(&waiting, `SELECT count(*) FROM pg_locks WHERE NOT granted AND transactionid = pg_current_xact_id()::xid`)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// Calls that are committed together are each held to what their own actor may do.
func TestMembersInAGroup(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	var all sync.WaitGroup
	for i := range 60 {
		user := []int64{1, 2, 3, 9}[i%4]
		tx := h.as(t, user)
		all.Go(func() {
			var err error
			if i < 30 {
				_, err = posts.Create(tx, post{RoomID: h.room, Slug: fmt.Sprint("g", i)})
			} else {
				_, err = posts.Update(tx, h.post.ID, store.Set{"text": fmt.Sprint(i)}, store.Version{})
			}
			if allowed := user < 3; allowed != (err == nil) {
				t.Errorf("user %d: %v", user, err)
			} else if kind := apperr.From(err); !allowed && kind.Kind != apperr.NotFound && kind.Kind != apperr.BadReference {
				t.Errorf("user %d is refused with %v", user, err)
			}
		})
	}
	all.Wait()
	if n := must[int64](t)(posts.Count(h.as(t, 1), nil)); n != 1+16 {
		t.Errorf("%d posts", n)
	}
}
