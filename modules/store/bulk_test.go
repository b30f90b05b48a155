package store_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

func addThings(t testing.TB, db *storetest.Database, n int) {
	db.Exec(t, `INSERT INTO thing (tenant_id, label, n, w, j, k, owner, seal, version, cid, ctime, mid, mtime)
		SELECT '`+tenantA.String()+`', n, n, 'open', '{"state":"open"}', '{"state":"open"}', 1, '', 1, 1, now(), 1, now() FROM generate_series(1, $1) AS n`, n)
}

func admin(t testing.TB, db *storetest.Database) *store.Tx {
	return must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 8, auth.Admin)))
}

func TestBulkWritesByFilterAreBounded(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	addThings(t, db, store.MaxBulk+1)
	all := parsed(t, `{}`)
	versions := func() (n, sum int) {
		t.Helper()
		if err := db.Owner(t).QueryRowContext(t.Context(), `SELECT count(*), sum(version) FROM thing`).Scan(&n, &sum); err != nil {
			t.Fatal(err)
		}
		return n, sum
	}
	wantIssue(t, apperr.InvalidParams, "filters", second(things.UpdateAll(tx, all, store.Set{"n": nil})))
	wantIssue(t, apperr.InvalidParams, "filters", second(things.DeleteMatching(tx, all)))
	if n, sum := versions(); n != store.MaxBulk+1 || sum != n {
		t.Fatalf("refused calls left %d rows, of versions %d in all", n, sum)
	}
	err := db.InTx(as(t.Context(), tenantA, 7, auth.Member), func(tx *store.Tx) error {
		return second(things.UpdateAll(tx, all, store.Set{"n": nil}))
	})
	wantIssue(t, apperr.InvalidParams, "filters", err)
	if n, sum := versions(); sum != n {
		t.Fatalf("a refused transaction left versions %d of %d rows", sum, n)
	}

	some := parsed(t, `{"label":{"$not":"1"}}`)
	rows := must[[]thing](t)(things.UpdateAll(tx, some, store.Set{"n": nil, "s": "x"}))
	if len(rows) != store.MaxBulk || !slices.IsSortedFunc(rows, func(a, b thing) int { return int(a.ID - b.ID) }) {
		t.Fatalf("%d rows, or not in the order of their ids", len(rows))
	}
	for _, r := range rows {
		if r.Version != 2 || r.N != nil || *r.S != "x" || r.MID != 7 || !r.MTime.Equal(tx.Now()) || r.CID != 1 {
			t.Fatalf("updated: %+v", r)
		}
	}
	if gone := must[[]thing](t)(things.DeleteMatching(tx, some)); len(gone) != store.MaxBulk || gone[0].Version != 2 {
		t.Fatalf("%d rows were deleted", len(gone))
	}
	if n, sum := versions(); n != 1 || sum != 1 {
		t.Fatalf("%d rows are left, of versions %d", n, sum)
	}
	if none := must[[]thing](t)(things.UpdateAll(tx, parsed(t, `[]`), store.Set{"n": nil})); len(none) != 0 {
		t.Fatalf("[] chose %v", none)
	}
	// What breaks a rule of the table for one row leaves all as they were.
	addMore := must[thing](t)(things.Create(tx, thing{Label: "other"}))
	wantKind(t, apperr.AlreadyExists, second(things.UpdateAll(tx, all, store.Set{"label": "same"})))
	if now := must[thing](t)(things.Get(tx, addMore.ID)); now.Version != 1 {
		t.Errorf("a failed update left %+v", now)
	}
}

func TestBulkWritesReachOwnRowsOnly(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	a, member := admin(t, db), session(t, db, tenantA)
	boss := must[thing](t)(things.Create(a, thing{Label: "boss"}))
	for i := range 10 {
		must[card](t)(cards.Create(a, card{OwnerID: 7 + int64(i%2), Name: fmt.Sprint(i), Thing: &boss.ID}))
	}
	every := must[*filter.Filter](t)(filter.Parse([]byte(`{}`), cards.Schema(), ""))
	// The same text from the cache, for both kinds of actor.
	for range 2 {
		if rows := must[[]card](t)(cards.UpdateAll(member, every, store.Set{"thing_id": boss.ID})); len(rows) != 5 {
			t.Errorf("a member updated %d rows", len(rows))
		}
		if rows := must[[]card](t)(cards.UpdateAll(a, every, store.Set{"thing_id": boss.ID})); len(rows) != 10 {
			t.Errorf("an admin updated %d rows", len(rows))
		}
	}
	// A thing has cards of others, which do not count for a member.
	f := parsed(t, `{"cards":{"$some":{"owner_id":8}}}`)
	if rows := must[[]thing](t)(things.UpdateAll(member, f, store.Set{"n": int64(1)})); len(rows) != 0 {
		t.Errorf("a member updated %v by what they may not see", rows)
	}
	if rows := must[[]thing](t)(things.UpdateAll(a, f, store.Set{"n": int64(1)})); len(rows) != 1 {
		t.Errorf("an admin updated %v", rows)
	}
	if rows := must[[]card](t)(cards.DeleteMatching(member, every)); len(rows) != 5 {
		t.Errorf("a member deleted %d rows", len(rows))
	}
	left := must[store.Page[card]](t)(cards.List(a, store.ListOptions{}))
	for _, c := range left.Rows {
		if c.OwnerID != 8 || c.Version != 3 {
			t.Errorf("left: %+v", c)
		}
	}
	if n := len(must[[]card](t)(cards.DeleteMatching(must[*store.Tx](t)(db.Session(as(t.Context(), tenantB, 8, auth.Owner))), every))); n != 0 || len(left.Rows) != 5 {
		t.Errorf("another tenant deleted %d of %d rows", n, len(left.Rows))
	}
	reader := as(t.Context(), tenantA, 8, auth.Admin)
	auth.RequestFrom(reader).Actor.Scope = auth.ScopeRead
	tx := must[*store.Tx](t)(db.Session(reader))
	wantKind(t, apperr.Forbidden, second(cards.UpdateAll(tx, every, store.Set{"name": "x"})))
	wantKind(t, apperr.Forbidden, second(cards.DeleteMatching(tx, every)))
	wantKind(t, apperr.Forbidden, second(cards.Upsert(tx, store.Set{"name": "x"}, []string{"name"})))
}

func TestConcurrentBulkWritesDoNotDeadlock(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	addThings(t, db, 300)
	filters := []string{`{}`, `{"n":{"$gt":100}}`, `{"$search":"open"}`, `{"k.state":"open"}`, `{"n":{"$in":[300,200,100,1,150]}}`, `{"j.state":"open","n":{"$lt":250}}`}
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			tx := session(t, db, tenantA)
			for j := range 6 {
				if _, err := things.UpdateAll(tx, parsed(t, filters[(i+j)%len(filters)]), store.Set{"f": float64(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	rows := must[store.Page[thing]](t)(things.List(session(t, db, tenantA), store.ListOptions{})).Rows
	if v := rows[49].Version; v != 1+12*4 { // of the six, four choose it
		t.Errorf("the version of row 50 is %d", v)
	}
}

// A filter holds for a row as it is when it is written: of those who claim the same rows at the same time, one gets them.
func TestBulkUpdateClaimsARowOnce(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	owner := db.Owner(t)
	for _, c := range []struct {
		filter string
		set    store.Set
	}{
		{`{"n":{"$gt":0}}`, store.Set{"n": int64(-1)}},
		{`{"j.state":"open"}`, store.Set{"j": jsontext.Value(`{"state":"taken"}`)}},
		{`{"k.state":"open"}`, store.Set{"k": jsontext.Value(`{"state":"taken"}`)}},
		{`{"$search":"open"}`, store.Set{"w": "taken"}},
		{`{"$search":"open or shut"}`, store.Set{"w": "taken"}},
		{`{"$search":"-taken"}`, store.Set{"w": "taken"}},
	} {
		db.Exec(t, `DELETE FROM thing`)
		addThings(t, db, 20)
		f, late := parsed(t, c.filter), make(chan int, 1)
		err := db.InTx(as(t.Context(), tenantA, 7, auth.Member), func(tx *store.Tx) error {
			rows, err := things.UpdateAll(tx, f, c.set)
			if len(rows) != 20 {
				t.Errorf("%s: %d rows", c.filter, len(rows))
			}
			go func() {
				rows, err := things.UpdateAll(session(t, db, tenantA), f, c.set)
				if err != nil {
					t.Error(err)
				}
				late <- len(rows)
			}()
			for waiting := 0; waiting == 0; time.Sleep(time.Millisecond) {
				if err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&waiting); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n := <-late; n != 0 {
			t.Errorf("%s: %d rows were claimed twice", c.filter, n)
		}
	}
}

func TestUpsert(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx, a := session(t, db, tenantA), admin(t, db)
	name := []string{"name"}
	upsert := func(tx *store.Tx, raw string) (card, error) {
		t.Helper()
		set, err := cards.DecodeUpsert([]byte(raw))
		if err != nil {
			t.Fatal(err)
		}
		return cards.Upsert(tx, set, name)
	}
	made := must[card](t)(upsert(tx, `{"name":"a","owner_id":7,"suit":"hearts","secret":1}`))
	if made.Version != 1 || made.CID != 7 || made.Suit != "hearts" || *made.Secret != 1 {
		t.Fatalf("made %+v", made)
	}
	later := must[card](t)(upsert(tx, `{"name":"a","owner_id":7,"suit":"hearts","secret":null}`))
	if later.ID != made.ID || later.Version != 2 || later.Secret != nil || !later.MTime.Equal(tx.Now()) || !later.CTime.Equal(made.CTime) {
		t.Fatalf("changed to %+v", later)
	}
	// What is not given stays.
	must[card](t)(upsert(tx, `{"name":"a","owner_id":7,"secret":5}`))
	if kept := must[card](t)(upsert(tx, `{"name":"a","owner_id":7,"thing_id":3}`)); *kept.Secret != 5 || kept.Suit != "hearts" || kept.Version != 4 {
		t.Fatalf("kept %+v", kept)
	}
	wantIssue(t, apperr.ValidationFailed, "data.suit", second(upsert(tx, `{"name":"a","owner_id":7,"suit":"spades"}`)))
	wantIssue(t, apperr.ValidationFailed, "data.owner_id", second(upsert(a, `{"name":"a","owner_id":8}`)))
	wantKind(t, apperr.Forbidden, second(upsert(tx, `{"name":"a","owner_id":8}`)))

	// Another's row is there, and that is all that is told of it.
	must[card](t)(upsert(a, `{"name":"theirs","owner_id":8,"suit":"clubs"}`))
	for _, suit := range []string{"clubs", "spades"} {
		e := wantKind(t, apperr.AlreadyExists, second(upsert(tx, `{"name":"theirs","owner_id":7,"suit":"`+suit+`"}`)))
		if fmt.Sprint(e.Data["fields"]) != "[name]" || e.Data["entity"] != "card" || len(e.Issues()) != 0 {
			t.Errorf("%+v", e)
		}
	}
	if theirs := must[card](t)(upsert(a, `{"name":"theirs","owner_id":8}`)); theirs.Version != 2 {
		t.Errorf("theirs: %+v", theirs)
	}
	b := session(t, db, tenantB)
	if other := must[card](t)(upsert(b, `{"name":"a","owner_id":7}`)); other.ID == made.ID || other.Version != 1 {
		t.Errorf("in another tenant: %+v", other)
	}
	for path, do := range map[string]func() error{
		"data.name":  func() error { return second(upsert(tx, `{"owner_id":7}`)) },
		"data.label": func() error { return second(things.Upsert(tx, store.Set{"n": nil}, []string{"label"})) },
		"on": func() error {
			return second(cards.Upsert(tx, store.Set{"name": "a", "owner_id": int64(7)}, []string{"suit"}))
		},
	} {
		wantIssue(t, apperr.InvalidParams, path, do())
	}
	for _, on := range [][]string{nil, {}, {"name", "name"}, {"name", "suit"}, {"id"}, {`name" DO NOTHING --`}, {"Name"}, {""}, {"tenant_id", "name"}} {
		wantIssue(t, apperr.InvalidParams, "on", second(cards.Upsert(tx, store.Set{"name": "a", "owner_id": int64(7)}, on)))
	}
	wantKind(t, apperr.ValidationFailed, second(things.Upsert(tx, store.Set{"label": ""}, []string{"label"})))
	wantKind(t, apperr.BadReference, second(things.Upsert(tx, store.Set{"label": "x", "boss_id": int64(1 << 40)}, []string{"label"})))
}

func TestConcurrentUpsertsOfOneKeyMakeOneRow(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	versions := map[int64]bool{}
	for i := range 16 {
		wg.Go(func() {
			row, err := things.Upsert(session(t, db, tenantA), store.Set{"label": "a", "n": int64(i)}, []string{"label"})
			mu.Lock()
			defer mu.Unlock()
			if versions[row.Version] = true; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	rows := must[store.Page[thing]](t)(things.List(session(t, db, tenantA), store.ListOptions{})).Rows
	if len(rows) != 1 || rows[0].Version != 16 || len(versions) != 16 {
		t.Errorf("%d rows, versions %v", len(rows), versions)
	}
}
