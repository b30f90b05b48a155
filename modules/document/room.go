package document

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/textcrdt"
)

// key names a document.
type key struct{ tenant, document uuid.UUID }

// room is a document that somebody of this node writes or follows. Whatever changes it runs on one goroutine, which there is while there is
// something to do.
type room struct {
	hub *Hub
	key

	mu        sync.Mutex
	pushes    []*push
	asks      []*ask
	stale     bool // somebody has spoken of what the room does not know
	working   bool
	closed    bool      // it is no longer the hub's
	used      time.Time // when somebody came or left
	written   time.Time // when somebody pushed
	followers map[*Following]struct{}
	waiting   []*Following // of them, for a goroutine that delivers
	presence  presence
	at        state // of the goroutine that works, for the others to look at

	// Of the goroutine that works.
	state
	members   map[int64]Role          // nil: nothing has been read yet
	sites     map[textcrdt.Site]int64 // whose they are; 0: the server's
	doc       *textcrdt.Doc           // nil: to be loaded when somebody writes
	persisted textcrdt.Version        // what of the doc is committed
	tail      tail
	rest      time.Time // before which there is no other commit
}

// state is how much of the database a room has seen.
type state struct{ position, membersVersion int64 }

// workTimeout bounds what a room does at once with the database.
const workTimeout = 10 * time.Second

// enter returns the room of a document, locked.
func (h *Hub) enter(k key) *room {
	for {
		h.mu.Lock()
		r := h.rooms[k]
		if r == nil {
			r = &room{hub: h, key: k, followers: map[*Following]struct{}{}, sites: map[textcrdt.Site]int64{}}
			h.rooms[k] = r
		}
		h.mu.Unlock()
		r.mu.Lock()
		if !r.closed {
			r.used = time.Now()
			return r
		}
		r.mu.Unlock()
	}
}

// hint tells the room what there is in the database. Zeros are for whoever does not know.
func (r *room) hint(now state) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now == (state{}) || now.position > r.at.position || now.membersVersion != r.at.membersVersion && now.membersVersion != 0 {
		r.stale = true
		r.wake()
	}
}

// wake lets the room work. r.mu is held.
func (r *room) wake() {
	if r.working || r.closed {
		return
	}
	r.working = true
	if !r.hub.spawn(r.work) {
		r.working = false
		r.abandon(errStopped)
	}
}

var errStopped = apperr.New(apperr.Unavailable, "The server is stopping")

// abandon answers all who wait. r.mu is held.
func (r *room) abandon(err error) {
	b := batch{pushes: r.pushes, asks: r.asks}
	b.answer(err)
	r.pushes, r.asks = nil, nil
}

// work does what there is to do.
func (r *room) work() {
	var b batch
	defer func() {
		if p := recover(); p != nil {
			r.fail(b, fmt.Errorf("document: a panic: %v\n%s", p, debug.Stack()))
		}
	}()
	for {
		r.pause()
		r.mu.Lock()
		r.at = r.state
		if b = r.take(); b.empty() || r.closed {
			r.working = false
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
		if err := r.serve(&b); err != nil {
			if !passing(err) {
				r.fail(b, err)
				return
			}
			if r.hub.ctx.Err() == nil {
				r.hub.Logger.Warn("a document could not be read or written", zap.Stringer("document", r.document), zap.Error(err))
			}
			r.doc = nil // it may have what is not kept
			b.answer(err)
		}
	}
}

// pauseFor is the pause after a commit for each follower, some times what sending them a frame takes: where many follow, what is written in a
// short time is sent to them together.
const (
	pauseFor = 110 * time.Microsecond
	maxPause = 10 * time.Millisecond
)

// pause waits until there may be another commit, if somebody waits for it.
func (r *room) pause() {
	r.mu.Lock()
	waiting := len(r.pushes) > 0
	r.mu.Unlock()
	if rest := time.Until(r.rest); waiting && rest > 0 {
		time.Sleep(rest)
	}
}

// caught makes an error of a panic. It is to be deferred.
func caught(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("document: a panic: %v\n%s", p, debug.Stack())
	}
}

// ending returns as what an error ends what it happens to, and logs it if it is not expected.
func (r *room) ending(err error) Ending {
	if apperr.From(err).Kind == apperr.NotFound {
		return Deleted
	}
	r.hub.Logger.Error("a document has failed", zap.Stringer("document", r.document), zap.Error(err))
	return Failed
}

// fail ends the room, and nothing else.
func (r *room) fail(b batch, err error) {
	why := r.ending(err)
	if why == Failed {
		err = apperr.Wrap(apperr.Internal, "The document cannot be read", err)
	}
	r.hub.forget(r)
	b.answer(err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.working = false
	r.abandon(err)
	for f := range r.followers {
		r.end(f, why)
	}
}

// serve does a batch. What it answers it takes out of that.
func (r *room) serve(b *batch) error {
	ctx, cancel := context.WithTimeout(r.hub.ctx, workTimeout)
	defer cancel()
	tx, err := r.hub.session(ctx, r.tenant)
	if err != nil {
		return err
	}
	if b.stale || r.members == nil || slices.ContainsFunc(b.asks, func(a *ask) bool { return a.fresh }) {
		if err := r.catchUp(tx); err != nil {
			return err
		}
	}
	for _, a := range b.asks {
		err := a.do(tx)
		if a.answer(err); err != nil && !refused(err) {
			return err
		}
	}
	b.asks = nil
	return r.commit(tx, b)
}
