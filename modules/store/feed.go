package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Feed is one transaction that many goroutines send calls to. The calls run one after another, in the order in which they
// came, on a goroutine of the feed, and are kept or lost together: the first that fails, or panics, ends the
// transaction, and every other call, before or after it, comes to nothing.
//
// All methods may be called by any number of goroutines, but not from within a call, which would wait for itself: Send and
// Do with the context of the call's Tx see that and fail.
type Feed struct {
	db     *DB
	calls  chan *fed
	cancel context.CancelFunc
	done   chan struct{} // closed when the transaction has ended

	mu     sync.RWMutex // read-locked to send to calls, locked to close it
	closed bool

	tx  *Tx   // set before [DB.Feed] returns
	err error // what came of it; set before done is closed
}

// fed is a call that waits for its turn.
type fed struct {
	call   func(*Tx) error
	taken  atomic.Bool // by the feed, to run it, or back by its sender
	result chan error
}

func newFed(call func(*Tx) error) *fed { return &fed{call: call, result: make(chan error, 1)} }

var (
	errFeedEnded  = apperr.New(apperr.Aborted, "The transaction has ended; this call did not run")
	errFeedItself = errors.New("store: a call of a Feed cannot wait for another")
	errFeedExit   = errors.New("store: a call ended its goroutine")
)

// Feed begins a transaction for the actor of the context's request. Of the calls that are sent to it, up to waiting ones
// wait for their turn; who sends one more is held up. The feed must be ended by Commit or Rollback; the end of ctx rolls it
// back too. Its statements are not counted among those of the context's request, which may go on beside it.
//
// Errors by kind: UNAUTHENTICATED without an actor; INVALID_REQUEST within a transaction, of which a feed cannot be a part;
// UNAVAILABLE and TIMEOUT of the database.
func (db *DB) Feed(ctx context.Context, waiting int) (*Feed, error) {
	if _, within := db.within(ctx); within {
		return nil, errApart
	}
	request := *auth.RequestFrom(ctx)
	ctx, cancel := context.WithCancel(auth.WithRequest(ctx, &request))
	f := &Feed{db: db, calls: make(chan *fed, waiting), cancel: cancel, done: make(chan struct{}), err: errFeedExit}
	begun := make(chan struct{})
	go func() {
		defer close(f.done)
		defer cancel()
		f.err = db.InTx(ctx, func(tx *Tx) error {
			f.tx = tx
			close(begun)
			return f.run()
		})
	}()
	select {
	case <-begun:
		return f, nil
	case <-f.done:
		return nil, f.err
	}
}

// Send queues a call and returns without waiting for its turn. While too many wait, it blocks, until ctx ends; then the
// call never runs. What comes of the call is in the outcome of Commit. ABORTED if the transaction has ended.
//
// The call gets the transaction, under the feed's context and not under ctx.
func (f *Feed) Send(ctx context.Context, call func(*Tx) error) error {
	return f.queue(ctx, newFed(call))
}

// Do queues a call, as Send does, waits until it has run, and returns its error. Nil means that it ran, and not yet that it is
// kept. If ctx ends first, the call never runs, unless it has begun: then it is waited for. ABORTED if it did not run
// because the transaction ended before.
func (f *Feed) Do(ctx context.Context, call func(*Tx) error) error {
	c := newFed(call)
	if err := f.queue(ctx, c); err != nil {
		return err
	}
	var ended error
	select {
	case err := <-c.result:
		return err
	case <-ctx.Done():
		ended = ctx.Err()
	case <-f.done:
		ended = errFeedEnded
	}
	if c.taken.CompareAndSwap(false, true) {
		return ended
	}
	return <-c.result
}

func (f *Feed) queue(ctx context.Context, c *fed) error {
	if tx, _ := f.db.within(ctx); tx != nil && tx == f.tx {
		return errFeedItself
	}
	if !f.mu.TryRLock() { // somebody is ending it
		return errFeedEnded
	}
	defer f.mu.RUnlock()
	if f.closed {
		return errFeedEnded
	}
	select { // what has ended already counts before a free place
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return errFeedEnded
	default:
	}
	select {
	case f.calls <- c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return errFeedEnded
	}
}

// Commit lets the calls that wait run, commits, and returns what came of the transaction: nil if all is kept, else the
// error of the first call that failed, or that of the commit itself, as [DB.InTx] has it. Calling it again, or after
// Rollback, changes nothing and returns the same.
func (f *Feed) Commit() error {
	f.close()
	<-f.done
	return f.err
}

// Rollback ends the transaction, and the call that runs, and keeps nothing. After Commit it does nothing, so it can be
// deferred.
func (f *Feed) Rollback() {
	f.cancel()
	_ = f.Commit() // which has nothing to commit any more
}

func (f *Feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.calls)
	}
}

// run runs the calls until one fails or there are no more.
func (f *Feed) run() error {
	ctx := f.tx.Context()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c, more := <-f.calls:
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case !more:
				return nil
			case !c.taken.CompareAndSwap(false, true):
				continue
			}
			if err := c.run(f.tx); err != nil {
				return err
			}
		}
	}
}

// run runs the call and tells its sender what came of it. A panic is an error.
func (c *fed) run(tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("store: a call panicked: %v\n%s", p, debug.Stack())
		}
		c.result <- err
	}()
	err = errFeedExit // what remains if it never returns
	err = c.call(tx)
	return err
}
