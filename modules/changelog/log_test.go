package changelog_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

func TestMain(m *testing.M) { storetest.Main(m) }

var (
	tenantA = uuid.MustParse("00000000-0000-4000-8000-00000000000a")
	tenantB = uuid.MustParse("00000000-0000-4000-8000-00000000000b")
)

func newDB(t testing.TB) *storetest.Database { return storetest.New(t, sqlscripts.Migrations()) }

func session(t testing.TB, db *store.DB, tenant uuid.UUID) *store.Tx {
	t.Helper()
	tx, err := db.Session(auth.WithRequest(t.Context(), &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: tenant, User: 7, Role: auth.Member, Scope: auth.ScopeRead},
	}))
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// fill makes a log of n entries, by turns of two entities, each of so many bytes.
func fill(t testing.TB, db *storetest.Database, tenant uuid.UUID, n, bytes int) {
	t.Helper()
	db.Exec(t, `INSERT INTO change_head (tenant_id, head) VALUES ($1, $2)
		ON CONFLICT (tenant_id) DO UPDATE SET head = excluded.head`, tenant.String(), n)
	db.Exec(t, `INSERT INTO change (tenant_id, position, at, actor, method, entity, row_id, op, version, data)
		SELECT $1, p, '2026-01-02T03:04:05.678901Z', 7, 'create_it', CASE p % 2 WHEN 1 THEN 'odd' ELSE 'even' END, p, 'create', 1,
			jsonb_build_object('id', p, 'text', repeat('x', $3))
		FROM generate_series(1, $2::bigint) p`, tenant.String(), n, bytes)
}

func prune(t testing.TB, db *storetest.Database, tenant uuid.UUID, tail int64) {
	t.Helper()
	db.Exec(t, `WITH h AS (UPDATE change_head SET tail = $2 WHERE tenant_id = $1)
		DELETE FROM change WHERE tenant_id = $1 AND position <= $2`, tenant.String(), tail)
}

func after(t testing.TB, tx *store.Tx, since int64, limit int, entities []string) changelog.Page {
	t.Helper()
	p, err := changelog.New().After(tx, since, limit, entities)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func positions(p changelog.Page) []int64 {
	var all []int64
	for _, e := range p.Entries {
		all = append(all, e.Position)
	}
	return all
}

func TestAfter(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db.DB, tenantA)
	if p := after(t, tx, 0, 10, nil); len(p.Entries) != 0 || p.Position != 0 || p.Head.Position != 0 || p.Head.Epoch == "" {
		t.Errorf("the log of a tenant without changes: %+v", p)
	}
	fill(t, db, tenantA, 10, 1)
	fill(t, db, tenantB, 3, 1)
	for _, c := range []struct {
		since    int64
		limit    int
		entities []string
		want     []int64
		position int64
	}{
		{0, 100, nil, []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, 10},
		{7, 100, nil, []int64{8, 9, 10}, 10},
		{2, 3, nil, []int64{3, 4, 5}, 5},
		{2, 3, []string{"even"}, []int64{4, 6, 8}, 8},
		{8, 100, []string{"odd"}, []int64{9}, 10}, // and it is known that 10 is not of them
		{0, 5, []string{}, nil, 10},
		{0, 5, []string{"none"}, nil, 10},
		{10, 5, nil, nil, 10},
	} {
		p := after(t, tx, c.since, c.limit, c.entities)
		if !slices.Equal(positions(p), c.want) || p.Position != c.position || p.Head.Position != 10 {
			t.Errorf("%d entries of %q after %d are %v up to %d of %d, not %v up to %d", c.limit, c.entities, c.since, positions(p), p.Position, p.Head.Position, c.want, c.position)
		}
	}
	e := after(t, tx, 0, 1, nil).Entries[0]
	if e.At != time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC) || e.Actor != 7 || e.Method != "create_it" || e.Entity != "odd" ||
		e.RowID != "1" || e.Op != changelog.Create || e.Version != 1 || e.Before != nil || string(e.Data) != `{"id": 1, "text": "x"}` {
		t.Errorf("the entry is %+v", e)
	}
}

// TestAfterBounds: a page has a bound in bytes and in positions, and there is progress all the same.
func TestAfterBounds(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db.DB, tenantA)
	fill(t, db, tenantA, 100, 100_000)
	var all []int64
	for since, pages := int64(0), 0; since < 100; pages++ {
		p := after(t, tx, since, 1000, nil)
		if p.Position <= since || p.Position != p.Entries[len(p.Entries)-1].Position {
			t.Fatalf("a page after %d ends at %d", since, p.Position)
		}
		if len(p.Entries) > 60 {
			t.Fatalf("%d entries of 100 KB are in one page", len(p.Entries))
		}
		all, since = append(all, positions(p)...), p.Position
	}
	if len(all) != 100 || !slices.IsSorted(all) {
		t.Errorf("the pages have the positions %v", all)
	}

	fill(t, db, tenantB, 50_000, 1)
	tx = session(t, db.DB, tenantB)
	if p := after(t, tx, 0, 10, []string{"none"}); len(p.Entries) != 0 || p.Position != 20_000 || p.Head.Position != 50_000 {
		t.Errorf("one page goes on for 50,000 positions: it ends at %d", p.Position)
	}
	if p := after(t, tx, 40_000, 10, []string{"none"}); p.Position != 50_000 {
		t.Errorf("the last page ends at %d", p.Position)
	}
}

func TestHead(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db.DB, tenantA)
	fill(t, db, tenantA, 10, 1)
	prune(t, db, tenantA, 4)
	log := changelog.New()
	h, err := log.Head(tx)
	if err != nil {
		t.Fatal(err)
	}
	if h.Position != 10 || h.Tail != 4 || h.Epoch == "" {
		t.Errorf("the head is %+v", h)
	}
	for _, c := range []struct {
		since int64
		epoch string
		fits  bool
	}{
		{4, "", true}, {10, h.Epoch, true}, {3, "", false}, {11, "", false}, {5, "another", false}, {-1, h.Epoch, false},
	} {
		err := h.Check(c.since, c.epoch)
		if (err == nil) != c.fits {
			t.Errorf("since %d, epoch %q: %v", c.since, c.epoch, err)
		}
		if e := apperr.From(err); e != nil && (e.Kind != apperr.ResyncRequired || e.Data["head"] != int64(10) || e.Data["tail"] != int64(4)) {
			t.Errorf("since %d: %+v", c.since, e)
		}
	}
	if other, err := changelog.New().Head(session(t, db.DB, tenantB)); err != nil || other.Position != 0 || other.Epoch != h.Epoch {
		t.Errorf("the head of another tenant, without changes, is %+v, %v", other, err)
	}
	db.Exec(t, `CALL new_epoch()`)
	if fresh, err := changelog.New().Head(tx); err != nil || fresh.Epoch == h.Epoch {
		t.Errorf("the new epoch is %q, %v", fresh.Epoch, err)
	}
}
