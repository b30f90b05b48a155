package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

// logged is an entry of the change log as the table has it.
type logged struct {
	Position int64     `db:"position"`
	At       time.Time `db:"at"`
	Actor    int64     `db:"actor"`
	Method   string    `db:"method"`
	Entity   string    `db:"entity"`
	RowID    string    `db:"row_id"`
	Op       string    `db:"op"`
	Version  int64     `db:"version"`
	Before   *string   `db:"before"`
	Data     *string   `db:"data"`
}

// entries returns the log of the session's tenant.
func entries(t testing.TB, tx *store.Tx) []logged {
	t.Helper()
	var all []logged
	if err := tx.Select(&all, `SELECT position, at, actor, method, entity, row_id, op, version, before, data FROM change ORDER BY position`); err != nil {
		t.Fatal(err)
	}
	for i, e := range all {
		if e.Position != int64(i+1) {
			t.Fatalf("the entry %d has the position %d", i+1, e.Position)
		}
	}
	return all
}

// holds tells whether an entry's JSON is that of the row.
func holds(t testing.TB, doc *string, row *thing) bool {
	t.Helper()
	if doc == nil || row == nil {
		return doc == nil && row == nil
	}
	var got thing
	if err := json.Unmarshal([]byte(*doc), &got); err != nil {
		t.Fatal(err)
	}
	want := *row
	want.Seal = ""
	a, b := must[[]byte](t)(json.Marshal(got, json.Deterministic(true))), must[[]byte](t)(json.Marshal(want, json.Deterministic(true)))
	return strings.EqualFold(string(a), string(b))
}

func TestWritesAreLogged(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"each by itself", "in a transaction"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			ctx := as(t.Context(), tenantA, 7, auth.Member)
			auth.RequestFrom(ctx).Method = "the_method"
			run := func(do func(tx *store.Tx) error) *int64 {
				t.Helper()
				tx := must[*store.Tx](t)(db.Session(ctx))
				var err error
				if way == "in a transaction" {
					err = db.InTx(ctx, func(whole *store.Tx) error {
						tx = must[*store.Tx](t)(db.Session(whole.Context()))
						defer func() {
							if *tx.Position() != 0 {
								t.Error("a position is known before its entry is appended")
							}
						}()
						return do(tx)
					})
				} else {
					err = do(tx)
				}
				if err != nil {
					t.Fatal(err)
				}
				return tx.Position()
			}
			type change struct {
				op            string
				before, after *thing
			}
			var want []change
			at := func(position *int64) {
				t.Helper()
				if *position != int64(len(want)) {
					t.Errorf("the position is %d, want %d", *position, len(want))
				}
			}
			var one, two thing
			text, when, id := "a text", time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC), uuid.New()
			at(func() *int64 {
				position := run(func(tx *store.Tx) (err error) {
					one, err = things.Create(tx, thing{Label: "one", N: new(int64(1 << 60)), F: new(0.1), B: new(true), S: &text, T: &when, U: &id,
						J: []byte(`{"a":[1,null,"ü"]}`), Owner: 7, Seal: "hidden"})
					return err
				})
				want = append(want, change{"create", nil, &one})
				return position
			}())
			var all []thing
			position := run(func(tx *store.Tx) (err error) {
				all, err = things.CreateAll(tx, []thing{{Label: "two"}, {Label: "three"}, {Label: "four"}})
				return err
			})
			two = all[0]
			three, four := all[1], all[2]
			want = append(want, change{"create", nil, &two}, change{"create", nil, &three}, change{"create", nil, &four})
			at(position)
			var one2 thing
			position = run(func(tx *store.Tx) (err error) {
				one2, err = things.Update(tx, one.ID, store.Set{"label": "uno", "f": nil}, store.IfVersion(&one.Version))
				return err
			})
			want = append(want, change{"update", &one, &one2})
			at(position)
			var changed []thing
			position = run(func(tx *store.Tx) (err error) {
				f := must[*filter.Filter](t)(filter.Parse([]byte(`{"label":{"$in":["two","three"]}}`), things.Schema(), "f"))
				changed, err = things.UpdateAll(tx, f, store.Set{"n": int64(5)})
				return err
			})
			want = append(want, change{"update", &two, &changed[0]}, change{"update", &three, &changed[1]})
			at(position)
			var upserted, made thing
			position = run(func(tx *store.Tx) (err error) {
				upserted, err = things.Upsert(tx, store.Set{"label": "four", "n": int64(9)}, []string{"label"})
				return err
			})
			want = append(want, change{"update", &four, &upserted})
			at(position)
			position = run(func(tx *store.Tx) (err error) {
				made, err = things.Upsert(tx, store.Set{"label": "five"}, []string{"label"})
				return err
			})
			want = append(want, change{"create", nil, &made})
			at(position)
			run(func(tx *store.Tx) error { return second(things.Delete(tx, one.ID, store.Version{})) })
			want = append(want, change{"delete", &one2, nil})
			position = run(func(tx *store.Tx) error { return second(things.DeleteAll(tx, []int64{two.ID, four.ID})) })
			want = append(want, change{"delete", &changed[0], nil}, change{"delete", &upserted, nil})
			at(position)
			run(func(tx *store.Tx) error {
				f := must[*filter.Filter](t)(filter.Parse([]byte(`{"label":"three"}`), things.Schema(), "f"))
				return second(things.DeleteMatching(tx, f))
			})
			want = append(want, change{"delete", &changed[1], nil})

			// What does not change a row is not in the log.
			if position := run(func(tx *store.Tx) error { return second(things.CreateAll(tx, nil)) }); *position != 0 {
				t.Errorf("the position of nothing is %d", *position)
			}
			run(func(tx *store.Tx) error {
				f := must[*filter.Filter](t)(filter.Parse([]byte(`{"label":"nobody"}`), things.Schema(), "f"))
				return second(things.DeleteMatching(tx, f))
			})
			tx := session(t, db, tenantA)
			_ = second(things.Update(tx, made.ID, store.Set{"n": int64(1)}, store.IfVersion(new(int64(77)))))
			_ = second(things.Create(tx, thing{Label: "five"}))
			_ = db.InTx(ctx, func(tx *store.Tx) error {
				must[thing](t)(things.Create(tx, thing{Label: "never"}))
				return errors.New("undo")
			})

			got := entries(t, session(t, db, tenantA))
			if len(got) != len(want) {
				t.Fatalf("%d entries, want %d", len(got), len(want))
			}
			for i, w := range want {
				e, row, version := got[i], w.after, int64(0)
				if row == nil {
					row, version = w.before, 1
				}
				version += row.Version
				if e.Op != w.op || e.Entity != "thing" || e.RowID != fmt.Sprint(row.ID) || e.Version != version || e.Actor != 7 || e.Method != "the_method" {
					t.Errorf("the entry %d is %+v, want %s of %+v", i+1, e, w.op, row)
				}
				if w.after != nil && !e.At.Equal(w.after.MTime) {
					t.Errorf("the entry %d is of %v, its row of %v", i+1, e.At, w.after.MTime)
				}
				if !holds(t, e.Before, w.before) || !holds(t, e.Data, w.after) {
					t.Errorf("the entry %d has %v -> %v, want %+v -> %+v", i+1, e.Before, e.Data, w.before, w.after)
				}
				for _, doc := range []*string{e.Before, e.Data} {
					if doc != nil && strings.Contains(*doc, "hidden") {
						t.Errorf("the entry %d holds what no client sees: %s", i+1, *doc)
					}
				}
			}
			if other := entries(t, session(t, db, tenantB)); len(other) != 0 {
				t.Errorf("another tenant has %d entries", len(other))
			}
		})
	}
}

// Entries that get large are appended before the transaction's end, and are undone with it.
func TestManyEntriesOfATransaction(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	big := strings.Repeat("x", 1<<20)
	write := func(tx *store.Tx) error {
		for i := range 10 {
			must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint(i), S: &big}))
		}
		return nil
	}
	if err := db.InTx(ctx, func(tx *store.Tx) error { _ = write(tx); return errors.New("undo") }); err == nil {
		t.Error("it was kept")
	}
	if got := entries(t, session(t, db, tenantA)); len(got) != 0 {
		t.Errorf("%d entries were kept", len(got))
	}
	if err := db.InTx(ctx, write); err != nil {
		t.Fatal(err)
	}
	if got := entries(t, session(t, db, tenantA)); len(got) != 10 {
		t.Errorf("%d entries", len(got))
	}
}

// Whatever the writers do, on however many nodes, who reads the log in the order of its positions never misses an entry.
func TestPositionsAreDenseAndInTheOrderOfCommits(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	other := must[*store.DB](t)(store.Open(t.Context(), store.Config{TenantURL: db.TenantURL, PlatformURL: db.PlatformURL}))
	defer other.Close() //nolint:errcheck // of a test
	var told sync.Map
	for _, node := range []*store.DB{db.DB, other} {
		node.OnCommit(func(tenant uuid.UUID, position int64) { told.Store(position, tenant) })
	}
	const writers, each = 8, 25
	done := make(chan struct{})
	var wg, readers sync.WaitGroup
	for w := range writers {
		node := []*store.DB{db.DB, other}[w%2]
		random := rand.New(rand.NewPCG(1, uint64(w)))
		ctx := as(t.Context(), tenantA, int64(w), auth.Member)
		wg.Go(func() {
			var mine []int64
			for i := range each {
				label := func(j int) string { return fmt.Sprint(w, " ", i, " ", j) }
				tx, err := node.Session(ctx)
				switch random.IntN(4) {
				case 0:
					err = errors.Join(err, node.InTx(ctx, func(tx *store.Tx) error {
						for j := range 1 + random.IntN(3) {
							row, err := things.Create(tx, thing{Label: label(j)})
							if err != nil {
								return err
							}
							mine = append(mine, row.ID)
						}
						time.Sleep(time.Duration(random.IntN(3)) * time.Millisecond) // a slow handler
						if err := tx.Flush(); err != nil {
							return err
						}
						time.Sleep(time.Duration(random.IntN(2)) * time.Millisecond) // a slow commit
						return nil
					}))
				case 1:
					_ = node.InTx(ctx, func(tx *store.Tx) error {
						_, _ = things.Create(tx, thing{Label: label(0)})
						_ = tx.Flush()
						return errors.New("undo")
					})
				case 2:
					if len(mine) > 0 {
						_, err = things.Update(tx, mine[random.IntN(len(mine))], store.Set{"n": int64(i)}, store.Version{})
						break
					}
					fallthrough
				default:
					var row thing
					row, err = things.Create(tx, thing{Label: label(0)})
					mine = append(mine, row.ID)
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for r := range 3 {
		node := []*store.DB{db.DB, other}[r%2]
		tx := must[*store.Tx](t)(node.Session(as(t.Context(), tenantA, 7, auth.Member)))
		readers.Go(func() {
			position := int64(0)
			for last := false; ; {
				var got []int64
				if err := tx.Select(&got, `SELECT position FROM change WHERE position > $1 ORDER BY position LIMIT $2`, position, 7); err != nil {
					t.Error(err)
					return
				}
				for _, p := range got {
					if p != position+1 {
						t.Errorf("%d comes after %d", p, position)
						return
					}
					position = p
				}
				if last && len(got) == 0 {
					return
				}
				select {
				case <-done:
					last = true
				default:
				}
			}
		})
	}
	wg.Wait()
	close(done)
	readers.Wait()
	all := entries(t, session(t, db, tenantA))
	last := int64(len(all))
	if tenant, ok := told.Load(last); !ok || tenant != tenantA {
		t.Errorf("nobody was told of the position %d", last)
	}
	versions := map[string]int64{}
	for _, e := range all { // each row's versions are in order, and follow one another
		if e.Version != versions[e.RowID]+1 {
			t.Fatalf("%+v after version %d", e, versions[e.RowID])
		}
		if before := versions[e.RowID]; before > 0 && (e.Before == nil || !strings.Contains(*e.Before, fmt.Sprintf(`"version": %d`, before))) {
			t.Fatalf("%+v is not after version %d", e, before)
		}
		versions[e.RowID] = e.Version
	}
}

// Concurrent updates of one row each know what it was just before.
func TestBeforeUnderContention(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	row := must[thing](t)(things.Create(session(t, db, tenantA), thing{Label: "x"}))
	var wg sync.WaitGroup
	for w := range 6 {
		ctx := as(t.Context(), tenantA, 7, auth.Member)
		wg.Go(func() {
			for i := range 20 {
				tx, err := db.Session(ctx)
				if err == nil {
					_, err = things.Update(tx, row.ID, store.Set{"n": int64(w*100 + i)}, store.Version{})
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all := entries(t, session(t, db, tenantA))
	for i, e := range all[1:] {
		if e.Before == nil || *e.Before != *all[i].Data {
			t.Fatalf("the entry %d does not begin where the one before it ends", i+2)
		}
	}
}

// A writer that waits for a row does not hold the head, so that writers of other rows go on.
func TestAWaitingWriterHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	row := must[thing](t)(things.Create(session(t, db, tenantA), thing{Label: "x"}))
	held, waiting := make(chan struct{}), make(chan error, 2)
	release := make(chan struct{})
	go func() {
		waiting <- db.InTx(ctx, func(tx *store.Tx) error {
			if _, err := things.Update(tx, row.ID, store.Set{"n": int64(1)}, store.Version{}); err != nil {
				return err
			}
			close(held)
			<-release
			return nil
		})
	}()
	<-held
	go func() {
		tx, err := db.Session(as(t.Context(), tenantA, 7, auth.Member))
		if err == nil {
			_, err = things.Update(tx, row.ID, store.Set{"n": int64(2)}, store.Version{})
		}
		waiting <- err
	}()
	lockWaits(t, db, 1)
	quick, cancel := context.WithTimeout(as(t.Context(), tenantA, 7, auth.Member), time.Minute)
	defer cancel()
	must[thing](t)(things.Create(must[*store.Tx](t)(db.Session(quick)), thing{Label: "y"}))
	close(release)
	for range 2 {
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	}
	got := entries(t, session(t, db, tenantA))
	ops := []string{}
	for _, e := range got {
		ops = append(ops, e.Op)
	}
	if !slices.Equal(ops, []string{"create", "create", "update", "update"}) {
		t.Errorf("%v", ops)
	}
}

// A row that is being changed can be referred to. Whoever does that has the head's lock when the reference is looked at, so that the writers
// would wait for each other.
func TestAChangedRowCanBeReferredTo(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	boss := must[thing](t)(things.Create(session(t, db, tenantA), thing{Label: "boss"}))
	err := db.InTx(as(t.Context(), tenantA, 7, auth.Member), func(tx *store.Tx) error {
		if _, err := things.Update(tx, boss.ID, store.Set{"n": int64(1)}, store.Version{}); err != nil {
			return err
		}
		quick, cancel := context.WithTimeout(as(t.Context(), tenantA, 7, auth.Member), time.Minute)
		defer cancel()
		beside, err := db.Session(quick)
		if err == nil {
			_, err = things.Create(beside, thing{Label: "other", Boss: &boss.ID})
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// lockWaits returns when so many of the database's connections wait for a lock.
func lockWaits(t testing.TB, db *storetest.Database, want int) {
	t.Helper()
	owner := db.Owner(t)
	for start := time.Now(); ; {
		var n int
		err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n)
		if err != nil {
			t.Fatal(err)
		}
		if n >= want {
			return
		}
		if time.Since(start) > time.Minute {
			t.Fatal("nobody waits")
		}
		time.Sleep(time.Millisecond)
	}
}
