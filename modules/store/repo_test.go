package store_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

func TestCreateReadUpdateDelete(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	when := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	id := uuid.New()
	made := must[thing](t)(things.Create(tx, thing{
		Label: "é€😀", N: new(int64(-5)), F: new(1.5), B: new(false), S: new(""), T: &when, U: &id,
		J: jsontext.Value(`{"a":[1,null]}`), Owner: 3, Seal: "secret",
	}))
	if made.ID == 0 || made.Version != 1 || made.CID != 7 || made.MID != 7 || !made.CTime.Equal(tx.Now()) || made.CTime != made.MTime {
		t.Fatalf("base fields: %+v", made.Base)
	}
	if *made.N != -5 || *made.F != 1.5 || *made.B || *made.S != "" || !made.T.Equal(when) || *made.U != id ||
		string(made.J) != `{"a": [1, null]}` || made.Seal != "secret" || made.Label != "é€😀" {
		t.Fatalf("values: %+v", made)
	}
	if got := must[thing](t)(things.Get(tx, made.ID)); !reflect.DeepEqual(got, made) {
		t.Fatalf("get %+v, created %+v", got, made)
	}

	changed := must[thing](t)(things.Update(tx, made.ID, store.Set{"n": nil, "b": true, "label": "x"}, store.Version{}))
	if changed.N != nil || !*changed.B || changed.Label != "x" || changed.Version != 2 || *changed.F != 1.5 {
		t.Fatalf("updated: %+v", changed)
	}
	gone := must[thing](t)(things.Delete(tx, made.ID, store.Version{}))
	if !reflect.DeepEqual(gone, changed) {
		t.Fatalf("deleted %+v, was %+v", gone, changed)
	}
	wantKind(t, apperr.NotFound, second(things.Get(tx, made.ID)))
	wantKind(t, apperr.NotFound, second(things.Update(tx, made.ID, store.Set{"b": true}, store.Version{})))
	wantKind(t, apperr.NotFound, second(things.Delete(tx, made.ID, store.IfVersion(new(int64(2))))))
}

// A generic single-row call is one statement, without a transaction around it.
func TestSingleRowCallsAreOneStatement(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	stats := &auth.RequestFrom(ctx).Stats
	tx := must[*store.Tx](t)(db.Session(ctx))
	var id int64
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"create", func() error { made, err := things.Create(tx, thing{Label: "a"}); id = made.ID; return err }},
		{"get", func() error { return second(things.Get(tx, id)) }},
		{"update", func() error {
			return second(things.Update(tx, id, store.Set{"n": int64(1)}, store.IfVersion(new(int64(1)))))
		}},
		{"list", func() error { return second(things.List(tx, store.ListOptions{})) }},
		{"count", func() error { return second(things.Count(tx, nil)) }},
		{"create several", func() error { return second(things.CreateAll(tx, []thing{{Label: "b"}, {Label: "c"}})) }},
		{"delete", func() error { return second(things.Delete(tx, id, store.Version{})) }},
	} {
		before := stats.Statements
		if err := c.call(); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if n := stats.Statements - before; n != 1 {
			t.Errorf("%s: %d statements", c.name, n)
		}
	}
	if stats.Statements == 0 || stats.Rows == 0 || stats.Database == 0 {
		t.Errorf("what the work took: %+v", *stats)
	}
}

func TestVersionsAreComparedAndSet(t *testing.T) {
	t.Parallel()
	tx := session(t, newDB(t), tenantA)
	made := must[thing](t)(things.Create(tx, thing{Label: "a"}))
	must[thing](t)(things.Update(tx, made.ID, store.Set{"label": "b"}, store.IfVersion(new(int64(1)))))
	for _, err := range []error{
		second(things.Update(tx, made.ID, store.Set{"label": "c"}, store.IfVersion(new(int64(1))))),
		second(things.Delete(tx, made.ID, store.IfVersion(new(int64(3))))),
	} {
		e := wantKind(t, apperr.Conflict, err)
		if current, ok := e.Data["current"].(thing); !ok || current.Label != "b" || current.Version != 2 {
			t.Fatalf("current is %v", e.Data["current"])
		}
	}
	must[thing](t)(things.Delete(tx, made.ID, store.IfVersion(new(int64(2)))))
}

func TestConcurrentUpdatesOfOneVersionHaveOneWinner(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	made := must[thing](t)(things.Create(session(t, db, tenantA), thing{Label: "a"}))
	var won, lost int
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := things.Update(session(t, db, tenantA), made.ID, store.Set{"n": int64(1)}, store.IfVersion(new(int64(1))))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case apperr.From(err).Kind == apperr.Conflict:
				lost++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won != 1 || lost != 15 {
		t.Fatalf("%d won, %d lost", won, lost)
	}
}

func TestViolationsBecomeKinds(t *testing.T) {
	t.Parallel()
	tx := session(t, newDB(t), tenantA)
	boss := must[thing](t)(things.Create(tx, thing{Label: "boss"}))
	must[thing](t)(things.Create(tx, thing{Label: "serf", Boss: &boss.ID}))

	e := wantKind(t, apperr.AlreadyExists, second(things.Create(tx, thing{Label: "boss"})))
	if e.Data["entity"] != "thing" || !slices.Equal(e.Data["fields"].([]string), []string{"label"}) {
		t.Fatalf("unique: %v", e.Data)
	}
	e = wantKind(t, apperr.BadReference, second(things.Create(tx, thing{Label: "x", Boss: new(int64(99))})))
	if e.Data["entity"] != "thing" || e.Data["field"] != "boss_id" {
		t.Fatalf("foreign key: %v", e.Data)
	}
	e = wantKind(t, apperr.Referenced, second(things.Delete(tx, boss.ID, store.Version{})))
	if e.Data["entity"] != "thing" || e.Data["field"] != "boss_id" {
		t.Fatalf("referenced: %v", e.Data)
	}
	wantIssue(t, apperr.ValidationFailed, "label", second(things.Create(tx, thing{Label: "forbidden"})))
	wantIssue(t, apperr.ValidationFailed, "label", second(things.Create(tx, thing{Label: ""})))
	wantIssue(t, apperr.ValidationFailed, "label", second(things.Create(tx, thing{Label: strings.Repeat("é", 21)})))
	wantIssue(t, apperr.ValidationFailed, "label", second(things.Create(tx, thing{Label: "a\x00b"})))
	wantIssue(t, apperr.ValidationFailed, "s", second(things.Update(tx, boss.ID, store.Set{"s": "\x00"}, store.Version{})))
	wantIssue(t, apperr.ValidationFailed, "j.a", second(things.Create(tx, thing{Label: "j", J: jsontext.Value(`{"a":"\u0000"}`)})))
	wantIssue(t, apperr.ValidationFailed, "j[0]", second(things.Create(tx, thing{Label: "j", J: jsontext.Value(`[1e999999]`)})))
	wantIssue(t, apperr.ValidationFailed, "j", second(things.Create(tx, thing{Label: "j", J: jsontext.Value(strings.Repeat("[", 1001) + strings.Repeat("]", 1001))})))
	deep := strings.Repeat("[", 1000) + strings.Repeat("]", 1000)
	must[thing](t)(things.Create(tx, thing{Label: "deep", J: jsontext.Value(deep)}))
	for _, err := range []error{&e, second(things.Create(tx, thing{Label: "boss"}))} {
		if m := apperr.From(err).Message; strings.Contains(m, "pq:") || strings.Contains(m, "constraint") || strings.Contains(m, "_fkey") {
			t.Errorf("the message shows the driver's text: %s", m)
		}
	}
	must[thing](t)(things.Create(tx, thing{Label: strings.Repeat("é", 20)}))
}

func TestBulkIsAllOrNothingAndInOrder(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	when := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	var rows []thing
	for i := range store.MaxBulk {
		rows = append(rows, thing{Label: fmt.Sprint("row ", i), N: new(int64(i) - 1<<62), F: new(0.1), T: &when, J: jsontext.Value(`{"x": "\""}`), S: new(`"\'`)})
	}
	made := must[[]thing](t)(things.CreateAll(tx, rows))
	for i, row := range made {
		if row.Label != rows[i].Label || *row.N != *rows[i].N || !row.T.Equal(when) || *row.S != `"\'` || *row.F != 0.1 || row.U != nil {
			t.Fatalf("row %d: %+v", i, row)
		}
	}
	wantIssue(t, apperr.ValidationFailed, "[1].label", second(things.CreateAll(tx, []thing{{Label: "new"}, {}})))
	wantKind(t, apperr.AlreadyExists, second(things.CreateAll(tx, []thing{{Label: "new"}, {Label: "row 3"}})))
	wantKind(t, apperr.InvalidParams, second(things.CreateAll(tx, make([]thing, store.MaxBulk+1))))
	if n := must[int64](t)(things.Count(tx, nil)); n != store.MaxBulk {
		t.Fatalf("%d rows after refused bulk creates", n)
	}

	ids := []int64{made[5].ID, made[2].ID, made[9].ID}
	e := wantKind(t, apperr.NotFound, second(things.DeleteAll(tx, append(ids, 1<<60))))
	if e.Data["id"] != int64(1<<60) {
		t.Fatalf("which one: %v", e.Data)
	}
	gone := must[[]thing](t)(things.DeleteAll(tx, ids))
	if len(gone) != 3 || gone[0].Label != "row 5" || gone[1].Label != "row 2" || gone[2].Label != "row 9" {
		t.Fatalf("deleted %v", gone)
	}
	if n := must[int64](t)(things.Count(tx, nil)); n != store.MaxBulk-3 {
		t.Fatalf("%d rows", n)
	}
	if none := must[[]thing](t)(things.CreateAll(tx, nil)); none == nil || len(none) != 0 {
		t.Fatal("creating no rows")
	}
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	boom := errors.New("boom")
	if err := db.InTx(ctx, func(tx *store.Tx) error {
		must[thing](t)(things.Create(tx, thing{Label: "rolled back"}))
		return boom
	}); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was swallowed")
			}
		}()
		_ = db.InTx(ctx, func(tx *store.Tx) error {
			must[thing](t)(things.Create(tx, thing{Label: "panicked"}))
			panic(boom)
		})
	}()
	cancelled, cancel := context.WithCancel(ctx)
	err := db.InTx(cancelled, func(tx *store.Tx) error {
		must[thing](t)(things.Create(tx, thing{Label: "cancelled"}))
		cancel()
		_, err := things.Create(tx, thing{Label: "after"})
		return err
	})
	wantKind(t, apperr.Aborted, err)
	if err := db.InTx(ctx, func(tx *store.Tx) error {
		must[thing](t)(things.Create(tx, thing{Label: "kept"}))
		must[thing](t)(things.Create(tx, thing{Label: "too"}))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if n := must[int64](t)(things.Count(session(t, db, tenantA), nil)); n != 2 {
		t.Fatalf("%d rows, want 2", n)
	}
	if _, err := db.Session(t.Context()); apperr.From(err).Kind != apperr.Unauthenticated {
		t.Fatalf("a session without an actor: %v", err)
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	mine := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 1, auth.Member)))
	theirs := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 2, auth.Member)))
	admin := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 3, auth.Admin)))
	n := must[note](t)(notes.Create(mine, note{Text: "x"}))
	if n.ID.Version() != 7 {
		t.Fatalf("id %v is not a UUIDv7", n.ID)
	}
	wantKind(t, apperr.NotFound, second(notes.Get(theirs, n.ID)))
	wantKind(t, apperr.NotFound, second(notes.Update(theirs, n.ID, store.Set{"text": "y"}, store.Version{})))
	wantKind(t, apperr.NotFound, second(notes.Delete(theirs, n.ID, store.IfVersion(new(int64(5))))))
	wantKind(t, apperr.NotFound, second(notes.DeleteAll(theirs, []uuid.UUID{n.ID})))
	wantKind(t, apperr.Forbidden, second(notes.Create(theirs, note{UserID: 1})))
	if c := must[int64](t)(notes.Count(theirs, nil)); c != 0 {
		t.Fatal("another's note is counted")
	}
	if p := must[store.Page[note]](t)(notes.List(theirs, store.ListOptions{Total: true})); len(p.Rows) != 0 || *p.Total != 0 {
		t.Fatal("another's note is listed")
	}
	must[note](t)(notes.Get(admin, n.ID))
	must[note](t)(notes.Update(mine, n.ID, store.Set{"text": "y"}, store.Version{}))

	for _, a := range []*auth.Actor{
		{Tenant: tenantA, User: 1, Role: auth.Nobody, Scope: auth.ScopeAdmin},
		{Tenant: tenantA, User: 1, Role: auth.Owner, Scope: auth.ScopeNone},
	} {
		tx := must[*store.Tx](t)(db.Session(auth.WithRequest(t.Context(), &auth.Request{Now: time.Now, Actor: a})))
		wantKind(t, apperr.Forbidden, second(notes.List(tx, store.ListOptions{})))
		wantKind(t, apperr.Forbidden, second(notes.Get(tx, n.ID)))
	}
	reader := &auth.Actor{Tenant: tenantA, User: 1, Role: auth.Owner, Scope: auth.ScopeRead}
	tx := must[*store.Tx](t)(db.Session(auth.WithRequest(t.Context(), &auth.Request{Now: time.Now, Actor: reader})))
	must[note](t)(notes.Get(tx, n.ID))
	wantKind(t, apperr.Forbidden, second(notes.Create(tx, note{Text: "z"})))
	wantKind(t, apperr.Forbidden, second(notes.Delete(tx, n.ID, store.Version{})))
	wantKind(t, apperr.Forbidden, second(notes.DeleteAll(tx, []uuid.UUID{n.ID})))
}

func TestListOptions(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	for _, label := range []string{"b", "a", "c"} {
		must[thing](t)(things.Create(tx, thing{Label: label}))
	}
	list := func(order string, o store.ListOptions) string {
		t.Helper()
		o.Order = must[*filter.Order](t)(filter.ParseOrder(jsontext.Value(order), things.Schema(), ""))
		page := must[store.Page[thing]](t)(things.List(tx, o))
		labels := ""
		for _, row := range page.Rows {
			labels += row.Label
		}
		if (page.Total != nil) != o.Total || (o.Total && *page.Total != 3) {
			t.Fatalf("total is %v", page.Total)
		}
		return labels
	}
	for _, c := range []struct {
		order string
		o     store.ListOptions
		want  string
	}{
		{`null`, store.ListOptions{}, "bac"},
		{`"label"`, store.ListOptions{Total: true}, "abc"},
		{`"!label"`, store.ListOptions{}, "cba"},
		{`["n","!label"]`, store.ListOptions{Limit: new(int64(2)), Total: true}, "cb"},
		{`"label"`, store.ListOptions{Limit: new(int64(0)), Total: true}, ""},
		{`"label"`, store.ListOptions{Offset: 2}, "c"},
		{`"label"`, store.ListOptions{Offset: 9, Total: true}, ""},
	} {
		if got := list(c.order, c.o); got != c.want {
			t.Errorf("%s %+v: %q, want %q", c.order, c.o, got, c.want)
		}
	}
	wantIssue(t, apperr.InvalidParams, "limit", second(things.List(tx, store.ListOptions{Limit: new(int64(5001))})))
	wantIssue(t, apperr.InvalidParams, "limit", second(things.List(tx, store.ListOptions{Limit: new(int64(-1))})))
	wantIssue(t, apperr.InvalidParams, "offset", second(things.List(tx, store.ListOptions{Offset: -1})))
}

// A result is bounded by its size and not only by its rows, and a bulk delete that is refused for it deletes nothing.
func TestLargeResultsAreRefused(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	db.Exec(t, `INSERT INTO thing (tenant_id, label, s, owner, seal, version, cid, ctime, mid, mtime)
		SELECT '`+tenantA.String()+`', n, repeat('x', 1 << 20), 1, '', 1, 1, now(), 1, now() FROM generate_series(1, 70) AS n`)
	wantIssue(t, apperr.InvalidParams, "limit", second(things.List(tx, store.ListOptions{})))
	page := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Limit: new(int64(60))}))
	var ids []int64
	for id := page.Rows[0].ID; len(ids) < 70; id++ {
		ids = append(ids, id)
	}
	wantKind(t, apperr.InvalidParams, second(things.DeleteAll(tx, ids)))
	if n := must[int64](t)(things.Count(tx, nil)); n != 70 || len(page.Rows) != 60 {
		t.Errorf("%d rows, %d listed", n, len(page.Rows))
	}
}

func second[T any](_ T, err error) error { return err }

// wantKind returns the error, as a value that is no error to be checked again.
func wantKind(t *testing.T, kind apperr.Kind, err error) apperr.Error {
	t.Helper()
	e := apperr.From(err)
	if e == nil || e.Kind != kind {
		t.Fatalf("error %v, want kind %s", err, kind)
	}
	return *e
}

func wantIssue(t *testing.T, kind apperr.Kind, path string, err error) {
	t.Helper()
	e := wantKind(t, kind, err)
	if len(e.Issues()) == 0 || e.Issues()[0].Path != path {
		t.Fatalf("issues %v, want the path %q", e.Issues(), path)
	}
}
