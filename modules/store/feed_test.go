package store_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

func newFeed(t *testing.T, db *store.DB, waiting int) *store.Feed {
	t.Helper()
	f, err := db.Feed(as(t.Context(), tenantA, 7, auth.Member), waiting)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Rollback)
	return f
}

// create returns a call that makes a thing.
func create(label string) func(*store.Tx) error {
	return func(tx *store.Tx) error { return second(things.Create(tx, thing{Label: label})) }
}

// hold sends a call that runs until release.
func hold(t *testing.T, f *store.Feed) (release func()) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	if err := f.Send(t.Context(), func(*store.Tx) error {
		close(begun)
		<-end
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	<-begun
	release = sync.OnceFunc(func() { close(end) })
	t.Cleanup(release)
	return release
}

func TestFeedRunsCallsInOrder(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	f := newFeed(t, db.DB, 4)
	const producers, each = 8, 20
	var ran []string // by the feed's goroutine only
	var wg sync.WaitGroup
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				label := fmt.Sprintf("%d %02d", p, i)
				send := f.Send
				if i%5 == 0 {
					send = f.Do
				}
				if err := send(t.Context(), func(tx *store.Tx) error {
					ran = append(ran, label)
					return create(label)(tx)
				}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(labels(t, db.DB)); n != 0 {
		t.Errorf("others see %d rows before the commit", n)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if kept := labels(t, db.DB); !slices.Equal(kept, ran) || len(kept) != producers*each {
		t.Fatalf("kept %d rows, ran %d calls", len(kept), len(ran))
	}
	for p := range producers {
		own := slices.DeleteFunc(slices.Clone(ran), func(label string) bool { return !strings.HasPrefix(label, fmt.Sprint(p, " ")) })
		if !slices.IsSorted(own) {
			t.Errorf("the order of producer %d was %q", p, own)
		}
	}
	wantKind(t, apperr.Aborted, f.Do(t.Context(), create("after")))
	wantKind(t, apperr.Aborted, f.Send(t.Context(), create("after")))
	f.Rollback()
	if err := f.Commit(); err != nil {
		t.Fatalf("the outcome has changed to %v", err)
	}
}

func TestFeedHasOneOutcome(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		call func(*store.Tx) error
		want func(error) bool
	}{
		"an error":       {func(*store.Tx) error { return boom }, func(err error) bool { return errors.Is(err, boom) }},
		"a violation":    {create("forbidden"), func(err error) bool { return apperr.From(err).Kind == apperr.ValidationFailed }},
		"a panic":        {func(*store.Tx) error { panic(boom) }, func(err error) bool { return strings.Contains(err.Error(), "panicked: boom") }},
		"an exit":        {func(*store.Tx) error { runtime.Goexit(); return nil }, func(err error) bool { return strings.Contains(err.Error(), "goroutine") }},
		"a lost backend": {func(tx *store.Tx) error { return second(tx.Exec(`SELECT die($1)`, 1)) }, func(err error) bool { return apperr.From(err).Kind == apperr.Unavailable }},
	} {
		if name == "a lost backend" {
			db.Exec(t, `CREATE FUNCTION die(int) RETURNS bool LANGUAGE sql SECURITY DEFINER AS 'SELECT pg_terminate_backend(pg_backend_pid())'`)
		}
		f := newFeed(t, db.DB, 10)
		if err := f.Do(t.Context(), create("before")); err != nil {
			t.Fatal(err)
		}
		release := hold(t, f)
		failed, waiting := make(chan error), make(chan error)
		go func() { failed <- f.Do(t.Context(), c.call) }()
		for store.Waiting(f) < 1 {
			runtime.Gosched()
		}
		go func() { waiting <- f.Do(t.Context(), create("behind")) }()
		for store.Waiting(f) < 2 {
			runtime.Gosched()
		}
		release()
		if err := <-failed; err == nil || !c.want(err) {
			t.Errorf("%s: the call's error is %v", name, err)
		}
		wantKind(t, apperr.Aborted, <-waiting)
		wantKind(t, apperr.Aborted, f.Send(t.Context(), create("after")))
		if err := f.Commit(); err == nil || !c.want(err) {
			t.Errorf("%s: the outcome is %v", name, err)
		}
		if kept := labels(t, db.DB); len(kept) != 0 {
			t.Errorf("%s: kept %q", name, kept)
		}
	}
}

func TestFeedHoldsProducersUp(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	f := newFeed(t, db.DB, 2)
	release := hold(t, f)
	for i := range 2 {
		if err := f.Send(t.Context(), create(fmt.Sprint("waiting ", i))); err != nil {
			t.Fatal(err)
		}
	}
	for name, send := range map[string]func(context.Context, func(*store.Tx) error) error{"Send": f.Send, "Do": f.Do} {
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		wantKind(t, apperr.Timeout, send(short, create("one too many, by "+name)))
		cancel()
	}
	release()
	if err := f.Send(t.Context(), create("later")); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if kept := labels(t, db.DB); !slices.Equal(kept, []string{"waiting 0", "waiting 1", "later"}) {
		t.Fatalf("kept %q", kept)
	}
}

// A call whose sender has gone before its turn does not run, and does the others no harm.
func TestFeedForgetsCallsThatAreTakenBack(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	f := newFeed(t, db.DB, 2)
	release := hold(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error)
	go func() { gone <- f.Do(ctx, create("taken back")) }()
	for store.Waiting(f) == 0 {
		runtime.Gosched()
	}
	cancel()
	wantKind(t, apperr.Aborted, <-gone)
	wantKind(t, apperr.Aborted, f.Send(ctx, create("never sent")))
	release()

	// One that has begun is waited for.
	ctx, cancel = context.WithCancel(t.Context())
	if err := f.Do(ctx, func(tx *store.Tx) error {
		cancel()
		return create("begun")(tx)
	}); err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if kept := labels(t, db.DB); !slices.Equal(kept, []string{"begun"}) {
		t.Fatalf("kept %q", kept)
	}
}

func TestFeedEndsWithItsContext(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx, cancel := context.WithCancel(as(t.Context(), tenantA, 7, auth.Member))
	f := must[*store.Feed](t)(db.Feed(ctx, 1))
	if err := f.Do(t.Context(), create("x")); err != nil {
		t.Fatal(err)
	}
	err := f.Do(t.Context(), func(tx *store.Tx) error {
		cancel()
		return second(tx.Exec(`SELECT pg_sleep($1)`, 60))
	})
	wantKind(t, apperr.Aborted, err)
	wantKind(t, apperr.Aborted, f.Commit())
	wantKind(t, apperr.Aborted, f.Do(t.Context(), create("x")))
	if kept := labels(t, db.DB); len(kept) != 0 {
		t.Fatalf("kept %q", kept)
	}
	_, err = db.Feed(ctx, 1)
	wantKind(t, apperr.Aborted, err)
	_, err = db.Feed(t.Context(), 1)
	wantKind(t, apperr.Unauthenticated, err)
}

func TestFeedRollsBack(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	f := newFeed(t, db.DB, 1)
	if err := f.Do(t.Context(), create("x")); err != nil {
		t.Fatal(err)
	}
	f.Rollback()
	wantKind(t, apperr.Aborted, f.Commit())
	if kept := labels(t, db.DB); len(kept) != 0 {
		t.Fatalf("kept %q", kept)
	}
}

func TestFeedRefusesCallsFromWithinACall(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	f := newFeed(t, db.DB, 1)
	err := f.Do(t.Context(), func(tx *store.Tx) error { return f.Do(tx.Context(), create("within")) })
	wantKind(t, apperr.Internal, err)
}

func TestFeedAnswersForACommitThatFails(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.Exec(t, deferred)
	f := newFeed(t, db.DB, 1)
	if err := f.Do(t.Context(), func(tx *store.Tx) error {
		return second(things.Create(tx, thing{Label: "x", Boss: new(int64(1 << 40))}))
	}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, apperr.BadReference, f.Commit())
}

// Whoever was told that their call is queued finds its row after a commit, also when it is committed meanwhile.
func TestFeedCommitsWhatWasQueuedBefore(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	for range 10 {
		before := len(labels(t, db.DB))
		f := newFeed(t, db.DB, 3)
		var sent atomic.Int64
		var wg sync.WaitGroup
		for p := range 6 {
			wg.Go(func() {
				for i := 0; ; i++ {
					send := f.Send
					if p%2 == 0 {
						send = f.Do
					}
					err := send(t.Context(), create(fmt.Sprint(before, " ", p, " ", i)))
					if err != nil {
						wantKindLater(t, apperr.Aborted, err)
						return
					}
					sent.Add(1)
				}
			})
		}
		for sent.Load() < 10 {
			runtime.Gosched()
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if kept := len(labels(t, db.DB)) - before; kept != int(sent.Load()) {
			t.Fatalf("kept %d rows of %d calls", kept, sent.Load())
		}
	}
}

// wantKindLater is wantKind for goroutines of a test.
func wantKindLater(t *testing.T, kind apperr.Kind, err error) {
	t.Helper()
	if e := apperr.From(err); e == nil || e.Kind != kind {
		t.Errorf("error %v, want kind %s", err, kind)
	}
}

func TestFeedExample(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	ctx := as(t.Context(), tenantA, 7, auth.Member)
	files := [][]string{{"a", "b"}, {"c"}, {}}
	if err := importLabels(ctx, db.DB, files); err != nil {
		t.Fatal(err)
	}
	wantKind(t, apperr.AlreadyExists, importLabels(ctx, db.DB, [][]string{{"d", "e"}, {"f", "c"}}))
	kept := labels(t, db.DB)
	slices.Sort(kept)
	if !slices.Equal(kept, []string{"a", "b", "c"}) {
		t.Fatalf("kept %q", kept)
	}
}
