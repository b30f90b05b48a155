package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// labels are the labels of the tenant's things, in the order in which they were made.
func labels(t *testing.T, db *store.DB) []string {
	t.Helper()
	tx, err := db.Session(as(t.Context(), tenantA, 7, auth.Member))
	if err != nil {
		t.Fatal(err)
	}
	made := []string{}
	for _, row := range must[store.Page[thing]](t)(things.List(tx, store.ListOptions{})).Rows {
		made = append(made, row.Label)
	}
	return made
}

// makeThing makes a thing in a session of its own.
func makeThing(ctx context.Context, db *store.DB, label string) error {
	tx, err := db.Session(ctx)
	if err == nil {
		_, err = things.Create(tx, thing{Label: label})
	}
	return err
}

func TestAtomicWorkIsOneTransaction(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	boom := errors.New("boom")
	several := func(ctx context.Context) error {
		if err := makeThing(ctx, db.DB, "session"); err != nil {
			return err
		}
		err := db.InTx(ctx, func(tx *store.Tx) error { return second(things.Create(tx, thing{Label: "transaction"})) })
		if err != nil {
			return err
		}
		return db.Atomic(ctx, func(ctx context.Context) error { return makeThing(ctx, db.DB, "within") })
	}

	err := db.Atomic(ctx, func(ctx context.Context) error {
		if err := several(ctx); err != nil {
			return err
		}
		if n := len(labels(t, db.DB)); n != 0 {
			t.Errorf("others see %d rows before the commit", n)
		}
		tx := must[*store.Tx](t)(db.Session(ctx))
		if n := must[int64](t)(things.Count(tx, nil)); n != 3 {
			t.Errorf("the transaction sees %d of its rows", n)
		}
		page := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Total: true}))
		if *page.Total != 3 {
			t.Errorf("a list with its total sees %d rows", *page.Total)
		}
		return boom
	})
	if !errors.Is(err, boom) || len(labels(t, db.DB)) != 0 {
		t.Fatalf("%v; kept %q", err, labels(t, db.DB))
	}
	if err := db.Atomic(ctx, several); err != nil || len(labels(t, db.DB)) != 3 {
		t.Fatalf("%v; kept %q", err, labels(t, db.DB))
	}
}

// Parts that took a connection of their own would wait for each other when all connections are taken by transactions.
func TestAtomicWorkTakesOneConnection(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	one, err := store.Open(t.Context(), store.Config{TenantURL: db.TenantURL, PlatformURL: db.PlatformURL, TenantConns: 1, PlatformConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close() //nolint:errcheck // of a test
	ctx, cancel := context.WithTimeout(as(t.Context(), tenantA, 7, auth.Member), time.Minute)
	defer cancel()
	err = one.Atomic(ctx, func(ctx context.Context) error {
		if err := makeThing(ctx, one, "x"); err != nil {
			return err
		}
		return one.InTx(ctx, func(tx *store.Tx) error {
			page := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Total: true}))
			if err := second(things.DeleteAll(tx, []int64{page.Rows[0].ID})); err != nil {
				return err
			}
			var n int
			return one.Platform(tx.Context()).Get(&n, `SELECT 1`)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A part that keeps all of its work or none cannot be taken back by itself, so it takes the whole with it, even where its
// error is lost.
func TestAtomicPartsThatFailFailTheWhole(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	boom := errors.New("boom")
	err := db.Atomic(ctx, func(ctx context.Context) error {
		_ = db.InTx(ctx, func(tx *store.Tx) error {
			must[thing](t)(things.Create(tx, thing{Label: "half"}))
			return boom
		})
		return nil
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	err = db.InTx(ctx, func(tx *store.Tx) error {
		row := must[thing](t)(things.Create(tx, thing{Label: "deleted"}))
		wantKind(t, apperr.NotFound, second(things.DeleteAll(tx, []int64{row.ID, row.ID + 1})))
		return nil
	})
	wantKind(t, apperr.NotFound, err)
	if kept := labels(t, db.DB); len(kept) != 0 {
		t.Fatalf("kept %q", kept)
	}
}

func TestThePlatformsWorkIsNoPartOfATransaction(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.Exec(t, `CREATE TABLE platform_note (text text); GRANT ALL ON platform_note TO rowcall_platform; INSERT INTO platform_note VALUES ('x')`)
	work := func(ctx context.Context) error {
		var n int
		p := db.Platform(ctx)
		if err := p.Get(&n, `SELECT count(*) FROM platform_note`); err != nil || n != 1 {
			t.Errorf("reading: %d, %v", n, err)
		}
		var some []string
		if err := p.Select(&some, `SELECT text FROM platform_note`); err != nil || len(some) != 1 {
			t.Errorf("reading: %q, %v", some, err)
		}
		wantKind(t, apperr.InvalidRequest, second(p.Exec(`DELETE FROM platform_note WHERE text = $1`, "x")))
		wantKind(t, apperr.InvalidRequest, p.Get(&some, `DELETE FROM platform_note RETURNING text`))
		wantKind(t, apperr.InvalidRequest, db.InPlatformTx(ctx, func(*store.PlatformTx) error {
			t.Error("it ran")
			return nil
		}))
		_, err := db.Feed(ctx, 1)
		wantKind(t, apperr.InvalidRequest, err)
		return nil
	}
	for name, ctx := range map[string]context.Context{
		"a member": as(t.Context(), tenantA, 7, auth.Member),
		"nobody":   t.Context(),
	} {
		if err := db.Atomic(ctx, work); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := must[int64](t)(db.Platform(t.Context()).Exec(`DELETE FROM platform_note WHERE text = $1`, "x")); n != 1 {
		t.Fatal("it did not survive")
	}
}

func TestATransactionIsOneActors(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	err := db.Atomic(as(t.Context(), tenantA, 7, auth.Member), func(ctx context.Context) error {
		return makeThing(as(ctx, tenantB, 7, auth.Member), db.DB, "another tenant's")
	})
	wantKind(t, apperr.Internal, err)
	err = db.Atomic(t.Context(), func(ctx context.Context) error { return makeThing(ctx, db.DB, "nobody's") })
	wantKind(t, apperr.Unauthenticated, err)
	if kept := labels(t, db.DB); len(kept) != 0 {
		t.Fatalf("kept %q", kept)
	}
}

const deferred = `ALTER TABLE thing ALTER CONSTRAINT thing_tenant_id_boss_fkey DEFERRABLE INITIALLY DEFERRED`

func TestErrorsOfACommitHaveKinds(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.Exec(t, deferred)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	err := db.InTx(ctx, func(tx *store.Tx) error {
		return second(things.Create(tx, thing{Label: "x", Boss: new(int64(1 << 40))}))
	})
	if e := wantKind(t, apperr.BadReference, err); e.Data["entity"] != "thing" || e.Data["field"] != "boss_id" {
		t.Errorf("%v", e.Data)
	}
	err = db.InTx(ctx, func(tx *store.Tx) error {
		_, _ = things.Create(tx, thing{Label: "forbidden"}) // a statement's error that is lost
		return nil
	})
	wantKind(t, apperr.Internal, err)

	ending, cancel := context.WithCancel(ctx)
	err = db.InTx(ending, func(tx *store.Tx) error {
		defer cancel()
		return second(things.Create(tx, thing{Label: "cancelled"}))
	})
	wantKind(t, apperr.Aborted, err)
	if kept := labels(t, db.DB); len(kept) != 0 {
		t.Fatalf("kept %q", kept)
	}
}

// When the answer to a commit is lost, nobody knows whether it happened, and that is what is said.
func TestACommitWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	p, silent := through(t, newDB(t))
	ctx, cancel := context.WithCancel(as(t.Context(), tenantA, 7, auth.Member))
	defer cancel()
	err := silent.InTx(ctx, func(tx *store.Tx) error {
		defer time.AfterFunc(time.Second, cancel)
		defer p.freeze()
		must[thing](t)(things.Create(tx, thing{Label: "x"}))
		return tx.Flush() // so that only the commit is left
	})
	if e := wantKind(t, apperr.Unavailable, err); e.Message != "The database was lost during the commit: it is not known whether the work was kept" {
		t.Error(e.Message)
	}
}

// A part that panicked leaves nothing of the whole, whoever recovers from it.
func TestPanicOfAPartFailsTheWhole(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	err := db.InTx(ctx, func(tx *store.Tx) error {
		func() {
			defer func() { _ = recover() }()
			_ = db.InTx(tx.Context(), func(tx *store.Tx) error {
				must[thing](t)(things.Create(tx, thing{Label: "half"}))
				panic("in the middle")
			})
		}()
		return nil
	})
	if err == nil {
		t.Error("the whole was kept")
	}
	if n := must[int64](t)(things.Count(session(t, db, tenantA), nil)); n != 0 {
		t.Errorf("%d rows were kept", n)
	}
}

// What is to follow a commit sees what was committed, and does not follow a rollback.
func TestAfterCommit(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	seen := 0
	work := func(undo error) error {
		return db.InTx(ctx, func(tx *store.Tx) error {
			err := db.InTx(tx.Context(), func(part *store.Tx) error {
				part.AfterCommit(func() { seen += len(labels(t, db.DB)) })
				return second(things.Create(part, thing{Label: "x"}))
			})
			return errors.Join(err, undo)
		})
	}
	if work(errors.New("boom")) == nil || seen != 0 {
		t.Errorf("%d after a rollback", seen)
	}
	if err := work(nil); err != nil || seen != 1 {
		t.Errorf("%d after the commit, %v", seen, err)
	}
}
