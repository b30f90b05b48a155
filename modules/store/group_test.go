package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/store/storetest"
)

// node opens the database once more, with groups of so many calls. It counts the statements with new rows of several calls, and the
// savepoints.
func node(t testing.TB, db *storetest.Database, group int) (*store.DB, *grouped) {
	t.Helper()
	g := &grouped{}
	n := must[*store.DB](t)(store.Open(t.Context(), store.Config{
		TenantURL: db.TenantURL, PlatformURL: db.PlatformURL, GroupCommit: group,
		Observe: func(_ context.Context, s store.Statement) {
			if strings.Contains(s.Text, "unnest") && s.Failure == "" {
				g.sets.Add(1)
			}
			if strings.Contains(s.Text, "; SAVEPOINT") {
				g.savepoints.Add(1)
			}
		},
	}))
	t.Cleanup(func() { _ = n.Close() })
	return n, g
}

type grouped struct{ sets, savepoints atomic.Int64 }

// headHeld runs do while another transaction holds the tenant's head, so that no write of it can commit.
func headHeld(t testing.TB, db *storetest.Database, tenant uuid.UUID, do func()) {
	t.Helper()
	err := db.InTx(as(t.Context(), tenant, 7, auth.Member), func(tx *store.Tx) error {
		must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint("held ", rand.IntN(1e9))}))
		if err := tx.Flush(); err != nil {
			return err
		}
		do()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// attempt is a call of a repository by an actor.
type attempt struct {
	user int64
	do   func(tx *store.Tx) (any, error)
}

// The kinds of attempts.
const (
	newRows    = 3 // of one entity
	succeeding = 8
	all        = 15
)

// attempts are calls whose outcomes do not depend on each other, of the first so many kinds.
func attempts(t testing.TB, db *store.DB, random *rand.Rand, n, kinds int) []attempt {
	t.Helper()
	setUp := func(i int, name string) thing {
		tx := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 7, auth.Member)))
		return must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint(name, " ", i), Owner: int64(i)}))
	}
	text, when, id := `a "text" \ {x,NULL}`, time.Date(2026, 1, 2, 3, 4, 5, 678000, time.UTC), uuid.MustParse("00000000-0000-4000-8000-0000000000ff")
	var calls []attempt
	add := func(do func(tx *store.Tx) (any, error)) { calls = append(calls, attempt{random.Int64N(5), do}) }
	for i := range n {
		label := fmt.Sprint("new ", i)
		switch random.IntN(kinds) {
		case 0, 1:
			add(func(tx *store.Tx) (any, error) { return things.Create(tx, thing{Label: label}) })
		case 2:
			add(func(tx *store.Tx) (any, error) {
				return things.Create(tx, thing{Label: label, N: new(int64(1 << 60)), F: new(0.1), B: new(true), S: &text, T: &when, U: &id,
					J: []byte(`{"a":[1,null,"ü\"\\"]}`), K: []byte(`null`), W: new(""), Seal: "hidden"})
			})
		case 3:
			add(func(tx *store.Tx) (any, error) {
				return cards.Create(tx, card{OwnerID: tx.Actor.User, Name: label, Suit: "NULL"})
			})
		case 4:
			add(func(tx *store.Tx) (any, error) {
				return notes.Create(tx, note{Base: store.Base[uuid.UUID]{ID: uuid.NewSHA1(id, []byte(label))}})
			})
		case 5:
			row := setUp(i, "old")
			add(func(tx *store.Tx) (any, error) {
				return things.Update(tx, row.ID, store.Set{"n": int64(i), "t": when}, store.IfVersion(&row.Version))
			})
		case 6:
			row := setUp(i, "old")
			add(func(tx *store.Tx) (any, error) { return things.Delete(tx, row.ID, store.Version{}) })
		case 7:
			row := setUp(i, "old")
			add(func(tx *store.Tx) (any, error) {
				return things.Upsert(tx, store.Set{"label": row.Label, "n": int64(i)}, []string{"label"})
			})
		case 8:
			row := setUp(i, "old")
			add(func(tx *store.Tx) (any, error) { return things.Create(tx, thing{Label: row.Label}) }) // ALREADY_EXISTS
		case 9:
			add(func(tx *store.Tx) (any, error) { return things.Create(tx, thing{Label: "forbidden"}) }) // VALIDATION
		case 10:
			add(func(tx *store.Tx) (any, error) {
				return things.Create(tx, thing{Label: label, Boss: new(int64(1 << 40))})
			}) // BAD_REFERENCE
		case 11:
			row := setUp(i, "old")
			add(func(tx *store.Tx) (any, error) {
				return things.Update(tx, row.ID, store.Set{"n": int64(1)}, store.IfVersion(new(int64(9)))) // CONFLICT
			})
		case 12:
			add(func(tx *store.Tx) (any, error) { return things.Delete(tx, 1<<40, store.Version{}) }) // NOT_FOUND
		case 13:
			tx := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 99, auth.Member)))
			others := must[card](t)(cards.Create(tx, card{OwnerID: 99, Name: fmt.Sprint("of another ", i)}))
			add(func(tx *store.Tx) (any, error) {
				return cards.Update(tx, others.ID, store.Set{"name": "mine"}, store.Version{}) // NOT_FOUND
			})
		case 14:
			boss := setUp(i, "boss")
			tx := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 7, auth.Member)))
			must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint("led ", i), Boss: &boss.ID}))
			add(func(tx *store.Tx) (any, error) { return things.Delete(tx, boss.ID, store.Version{}) }) // REFERENCED
		}
	}
	return calls
}

// outcome is what a call brought, without what two databases differ in.
func outcome(t testing.TB, row any, err error) string {
	t.Helper()
	if err != nil {
		e := apperr.From(err)
		data := map[string]any{}
		for name, v := range e.Data {
			if current, ok := v.(thing); ok {
				v = outcome(t, current, nil)
			}
			data[name] = v
		}
		return fmt.Sprint(e.Kind, e.Message, data)
	}
	switch r := row.(type) {
	case thing:
		r.ID, r.CTime, r.MTime = 0, time.Time{}, time.Time{}
		row = r
	case card:
		r.ID, r.CTime, r.MTime = 0, time.Time{}, time.Time{}
		row = r
	case note:
		r.CTime, r.MTime = time.Time{}, time.Time{}
		row = r
	}
	return string(must[[]byte](t)(json.Marshal(row, json.Deterministic(true))))
}

// In a group each call has the result or the error that it has by itself, and the log has the same entries.
func TestGroupedCallsEndAsAlone(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			const n = 60
			kinds := []int{newRows, succeeding, all}[seed%3]
			run := func(group int, begin func([]attempt, func(i int))) (outcomes []string, log map[string]int, g *grouped) {
				db := newDB(t)
				db.Exec(t, `ALTER SEQUENCE thing_id_seq RESTART 1000`)
				nodeDB, g := node(t, db, group)
				todo := attempts(t, db.DB, rand.New(rand.NewPCG(seed, 1)), n, kinds)
				outcomes = make([]string, n)
				positions := make([]int64, n)
				one := func(i int) {
					ctx := as(t.Context(), tenantA, todo[i].user, auth.Member)
					auth.RequestFrom(ctx).Method = fmt.Sprint("method ", i)
					tx, err := nodeDB.Session(ctx)
					if err != nil {
						t.Error(err)
						return
					}
					row, err := todo[i].do(tx)
					outcomes[i], positions[i] = outcome(t, row, err), *tx.Position()
				}
				if group == 1 {
					begin(todo, one)
				} else {
					headHeld(t, db, tenantB, func() {}) // another tenant's is in nobody's way
					headHeld(t, db, tenantA, func() { begin(todo, one) })
					begin(nil, nil)
				}
				log = map[string]int{}
				byPosition := map[int64]logged{}
				for _, e := range entries(t, session(t, db, tenantA)) {
					byPosition[e.Position] = e
					if strings.HasPrefix(e.Method, "method") {
						log[fmt.Sprint(e.Method, e.Actor, e.Entity, e.Op, e.Version, e.Before == nil, e.Data == nil)]++
					}
				}
				for i, p := range positions {
					if e := byPosition[p]; p > 0 && e.Method != fmt.Sprint("method ", i) {
						t.Errorf("the call %d is said to be at the position %d, which is of %q", i, p, e.Method)
					}
				}
				return outcomes, log, g
			}
			want, wantLog, _ := run(1, func(todo []attempt, one func(int)) {
				for i := range todo {
					one(i)
				}
			})
			var wg sync.WaitGroup
			got, gotLog, g := run(0, func(todo []attempt, one func(int)) {
				for i := range todo {
					wg.Go(func() { one(i) })
				}
				if todo == nil {
					wg.Wait()
				}
			})
			for i := range want {
				if got[i] != want[i] {
					t.Errorf("the call %d has\n%s\nand alone\n%s", i, got[i], want[i])
				}
			}
			if fmt.Sprint(gotLog) != fmt.Sprint(wantLog) {
				t.Errorf("the log has\n%v\nand of calls that go alone\n%v", gotLog, wantLog)
			}
			if g.sets.Load() == 0 || kinds == all && g.savepoints.Load() == 0 {
				t.Errorf("%d statements for several calls, %d savepoints", g.sets.Load(), g.savepoints.Load())
			}
		})
	}
}

// A call that waits for a row holds up those beside it for a moment, and not until it is done.
func TestABlockedCallLeavesItsGroup(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	row := must[thing](t)(things.Create(session(t, db, tenantA), thing{Label: "x"}))
	var blocked, others sync.WaitGroup
	err := db.InTx(as(t.Context(), tenantA, 7, auth.Member), func(tx *store.Tx) error {
		if _, err := things.Update(tx, row.ID, store.Set{"n": int64(0)}, store.Version{}); err != nil {
			return err
		}
		write := func(do func(tx *store.Tx) error) {
			tx, err := db.Session(as(t.Context(), tenantA, 7, auth.Member))
			if err == nil {
				err = do(tx)
			}
			if err != nil {
				t.Error(err)
			}
		}
		for i := range 3 {
			blocked.Go(func() {
				write(func(tx *store.Tx) error {
					return second(things.Update(tx, row.ID, store.Set{"n": int64(i)}, store.Version{}))
				})
			})
		}
		for i := range 40 {
			others.Go(func() {
				write(func(tx *store.Tx) error { return second(things.Create(tx, thing{Label: fmt.Sprint(i)})) })
			})
		}
		others.Wait() // or nothing goes on
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	blocked.Wait()
	if got := entries(t, session(t, db, tenantA)); len(got) != 1+40+4 {
		t.Errorf("%d entries", len(got))
	}
}

// What was acknowledged is there, whatever became of the connections, the callers and the node; and what is not known is said to be so.
func TestGroupsUnderFaults(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"connections are lost", "callers are cancelled", "the node is closed"} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			db := newDB(t)
			n, g := node(t, db, 0)
			owner := db.Owner(t)
			var acknowledged sync.Map
			var failed, done atomic.Int64
			var wg sync.WaitGroup
			stop := make(chan struct{})
			for w := range 24 {
				random := rand.New(rand.NewPCG(1, uint64(w)))
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						ctx, cancel := context.WithCancel(as(t.Context(), tenantA, 7, auth.Member))
						if fault == "callers are cancelled" {
							patience := 5*time.Millisecond + time.Duration(i)*100*time.Microsecond // more and more, so that some succeed on any machine
							ctx, cancel = context.WithTimeout(ctx, time.Duration(random.Int64N(int64(patience))))
						}
						label := fmt.Sprint(w, " ", i)
						tx, err := n.Session(ctx)
						var row thing
						if err == nil {
							row, err = things.Create(tx, thing{Label: label})
						}
						cancel()
						if err == nil && row.Label != label {
							t.Errorf("%s got %+v", label, row)
						}
						switch {
						case err == nil:
							acknowledged.Store(label, *tx.Position())
							done.Add(1)
						case fault == "connections are lost" && apperr.From(err).Kind == apperr.Unavailable,
							fault == "callers are cancelled" && errors.Is(err, context.DeadlineExceeded):
							failed.Add(1)
						case fault == "the node is closed" && err != nil && strings.Contains(err.Error(), "closed"):
							return
						default:
							t.Errorf("%s: %v", label, err)
							return
						}
					}
				})
			}
			for done.Load() < 200 {
				time.Sleep(time.Millisecond)
			}
			switch fault {
			case "connections are lost":
				for round := 0; round < 15 || failed.Load() == 0 && round < 500; round++ { // not each meets a statement that runs
					before := done.Load()
					if _, err := owner.ExecContext(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
						WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()`); err != nil {
						t.Error(err)
					}
					for done.Load() < before+20 {
						time.Sleep(time.Millisecond)
					}
				}
			case "callers are cancelled":
				for failed.Load() < 200 {
					time.Sleep(time.Millisecond)
				}
			case "the node is closed":
				if err := n.Close(); err != nil {
					t.Error(err)
				}
			}
			close(stop)
			wg.Wait()
			rows := map[string]string{}
			for _, e := range entries(t, session(t, db, tenantA)) {
				var row thing
				if err := json.Unmarshal([]byte(*e.Data), &row); err != nil {
					t.Fatal(err)
				}
				rows[row.Label] = fmt.Sprint(e.Position)
			}
			var there int
			if err := owner.QueryRowContext(t.Context(), `SELECT count(*) FROM thing`).Scan(&there); err != nil || there != len(rows) {
				t.Errorf("%d rows and %d entries: %v", there, len(rows), err)
			}
			acknowledged.Range(func(label, position any) bool {
				if rows[label.(string)] != fmt.Sprint(position) {
					t.Errorf("%v was acknowledged at %v and is at %q", label, position, rows[label.(string)])
				}
				return true
			})
			if g.sets.Load() == 0 || fault == "connections are lost" && failed.Load() == 0 {
				t.Errorf("%d groups, %d failures", g.sets.Load(), failed.Load())
			}
		})
	}
}
