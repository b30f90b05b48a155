package store_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"rowcall/modules/filter"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

// watch opens the database once more and collects the statements that run on it.
func watch(t *testing.T, db *storetest.Database) (*storetest.Database, func() []store.Statement) {
	t.Helper()
	var mu sync.Mutex
	var seen []store.Statement
	opened := must[*store.DB](t)(store.Open(t.Context(), store.Config{
		TenantURL: db.TenantURL, PlatformURL: db.PlatformURL, TenantConns: 2,
		Observe: func(_ context.Context, s store.Statement) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, s)
		},
	}))
	t.Cleanup(func() { _ = opened.Close() })
	take := func() []store.Statement {
		mu.Lock()
		defer mu.Unlock()
		taken := seen
		seen = nil
		return taken
	}
	take()
	return &storetest.Database{DB: opened, OwnerURL: db.OwnerURL}, take
}

func TestStatementsAreObserved(t *testing.T) {
	t.Parallel()
	db, take := watch(t, newDB(t))
	tx := session(t, db, tenantA)
	must[[]thing](t)(things.CreateAll(tx, []thing{{Label: "a"}, {Label: "b"}}))
	must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Total: true}))
	must[int64](t)(tx.Exec(`UPDATE thing SET n = $1`, 5))
	must[int64](t)(db.Platform(t.Context()).Exec(`SELECT pg_sleep($1)`, 0.02))
	if _, err := tx.Exec(`SELECT 1 / $1::int`, 0); err == nil {
		t.Fatal("divided by zero")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := db.Platform(ctx).Exec(`SELECT pg_sleep($1)`, 30); err == nil {
		t.Fatal("slept")
	}
	failed := errors.New("no")
	if err := db.InTx(tx.Context(), func(*store.Tx) error { return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	want := []struct {
		login, begins string
		rows          int64
		failure       string
	}{
		{"tenant", `WITH "=row" AS (INSERT INTO "thing"`, 2, ""},
		{"tenant", "BEGIN", 0, ""},
		{"tenant", "SELECT", 2, ""},
		{"tenant", "SELECT", 1, ""},
		{"tenant", "COMMIT", 0, ""},
		{"tenant", "UPDATE thing SET n = $1", 2, ""},
		{"platform", "SELECT pg_sleep($1)", 1, ""},
		{"tenant", "SELECT 1 / $1::int", 0, "22012"},
		{"platform", "SELECT pg_sleep($1)", 0, "canceled"},
		{"tenant", "BEGIN", 0, ""},
		{"tenant", "ROLLBACK", 0, ""},
	}
	seen := take()
	if len(seen) != len(want) {
		t.Fatalf("%d statements, want %d: %+v", len(seen), len(want), seen)
	}
	for i, w := range want {
		s := seen[i]
		if s.Login != w.login || !strings.HasPrefix(s.Text, w.begins) || s.Rows != w.rows || s.Failure != w.failure {
			t.Errorf("%d: %+v, want %+v", i, s, w)
		}
		if slept := strings.Contains(s.Text, "pg_sleep"); s.Start.IsZero() || s.Duration <= 0 || slept && s.Duration < 20*time.Millisecond {
			t.Errorf("%d: %+v took %v", i, s, s.Duration)
		}
	}
}

func TestPlan(t *testing.T) {
	t.Parallel()
	db, take := watch(t, newDB(t))
	tx := session(t, db, tenantA)
	label := must[*filter.Filter](t)(filter.Parse([]byte(`{"label":"nobody has any business with it"}`), things.Schema(), "filters"))
	must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Filter: label}))
	plan := must[string](t)(take()[0].Plan(t.Context()))
	if !strings.Contains(plan, "Scan") || !strings.Contains(plan, "label = $2") {
		t.Errorf("it is no generic plan of the list:\n%s", plan)
	}
	for _, value := range []string{"business", tenantA.String()} {
		if strings.Contains(plan, value) {
			t.Errorf("the plan has the value %q:\n%s", value, plan)
		}
	}
	must[thing](t)(things.Create(tx, thing{Label: "one"}))
	must[string](t)(take()[0].Plan(t.Context()))
	if seen := take(); len(seen) != 0 {
		t.Errorf("plans are observed: %+v", seen)
	}
	if n := must[int64](t)(things.Count(tx, nil)); n != 1 {
		t.Errorf("the plan of a create has made rows: there are %d", n)
	}
	take()
	must[int64](t)(tx.Exec(`SELECT 1; INSERT INTO thing (label) SELECT 'two' WHERE false`)) // a script
	for _, s := range append(take(), store.Statement{}, store.Statement{Text: "COMMIT"}) {
		if plan, err := s.Plan(t.Context()); err == nil {
			t.Errorf("%s has a plan: %s", s.Text, plan)
		}
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	db, _ := watch(t, newDB(t))
	tx := session(t, db, tenantA)
	texts := store.TextStats()
	for range 3 {
		must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Order: nil}))
	}
	tenant, platform := db.Stats()
	// Setting the tenant is a prepared statement, too. The other one is asked when the logins are checked.
	if p := tenant.Prepared; p.Misses != 3 || p.Hits != 2 || p.Size != 3 {
		t.Errorf("prepared: %+v", p)
	}
	if tenant.OpenConnections != 1 || tenant.MaxOpenConnections != 2 || platform.Prepared.Size != 1 {
		t.Errorf("tenant %+v, platform %+v", tenant, platform)
	}
	// Other tests use the texts, too.
	if now := store.TextStats(); now.Hits+now.Misses < texts.Hits+texts.Misses+3 || now.Hits < texts.Hits+2 || now.Size < 1 {
		t.Errorf("texts: %+v, then %+v", texts, now)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if tenant, platform = db.Stats(); tenant.Prepared.Size != 0 || platform.Prepared.Size != 0 {
		t.Errorf("closed: %+v, %+v", tenant.Prepared, platform.Prepared)
	}
}
