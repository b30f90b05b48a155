package document

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// maxReplays bounds the connections to the database that those who read old operations take from everybody else.
const maxReplays = 3

// retryAfter is when old operations are read again after the database could not be reached.
const retryAfter = time.Second

func newFrame(method string, prev, position int64, text []byte) *Frame {
	n := slices.Concat([]byte(`{"jsonrpc":"2.0","method":"`+method+`","params":`), text, []byte{'}'})
	end := len(n) - 1
	return &Frame{Prev: prev, Position: position, Text: n[end-len(text) : end], Notification: n}
}

func operationsFrame(document uuid.UUID, prev, position int64, operations []byte) *Frame {
	b := make([]byte, 0, 128+base64.StdEncoding.EncodedLen(len(operations)))
	b = append(append(append(b, `{"document_id":"`...), document.String()...), `","prev":`...)
	b = append(strconv.AppendInt(b, prev, 10), `,"position":`...)
	b = append(strconv.AppendInt(b, position, 10), `,"operations":"`...)
	b = append(base64.StdEncoding.AppendEncode(b, operations), `"}`...)
	return newFrame("document_operations", prev, position, b)
}

// Following is one follower's way through a document's log.
type Following struct {
	room *room
	to   Follower
	user int64

	position atomic.Int64
	behind   int64         // up to where it began: what is before that is read from the log
	done     chan struct{} // closed when the following is

	// Guarded by room.mu.
	frames []*Frame // that wait
	size   int      // of their texts
	taken  []*Frame // that are being delivered
	served bool     // it is among those who wait for a goroutine, or one is with it
}

// Follow brings the follower all operations after the position, and then those to come, without a hole or a repeat, and what others show.
// It begins at once, on a goroutine of the hub, and goes on until Close or End. RESYNC_REQUIRED (head) for a position over the head.
func (h *Hub) Follow(ctx context.Context, document uuid.UUID, since int64, to Follower) (*Following, error) {
	actor, err := h.actor(ctx, auth.ScopeRead)
	if err != nil {
		return nil, err
	}
	f := &Following{to: to, user: actor.User, done: make(chan struct{})}
	f.position.Store(since)
	r := h.enter(key{actor.Tenant, document})
	f.room = r
	err = r.ask(ctx, true, func(*store.Tx) error { return r.admit(f, since) })
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// ask has the goroutine of the room do something. r.mu is held, and released.
func (r *room) ask(ctx context.Context, fresh bool, do func(tx *store.Tx) error) error {
	a := &ask{fresh: fresh, do: do, done: make(chan error, 1)}
	r.asks = append(r.asks, a)
	r.wake()
	r.mu.Unlock()
	select {
	case err := <-a.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// admit adds a follower to the room, which knows the head.
func (r *room) admit(f *Following, since int64) error {
	switch {
	case r.members[f.user] == "":
		return noDocument(r.document)
	case since > r.position:
		return errAhead(r.position)
	}
	f.behind = r.position
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Closed() { // nobody waits for it any more
		return nil
	}
	f.served = true
	for _, frame := range r.presence.frames(r.document) {
		f.queue(frame)
	}
	if !r.hub.spawn(f.run) {
		return errStopped
	}
	r.followers[f] = struct{}{}
	r.hub.counts.followers.Add(1)
	return nil
}

// errAhead is for a position over the head. The log of a document has no tail: nothing of it is ever pruned.
func errAhead(head int64) error {
	return apperr.New(apperr.ResyncRequired, "The document has not come to this position: open it again").
		With("head", head).With("tail", 0)
}

// Position returns the position up to which the follower has been given everything.
func (f *Following) Position() int64 { return f.position.Load() }

// Close ends the following. A Deliver may still be under way; there is none after it.
func (f *Following) Close() {
	f.room.mu.Lock()
	defer f.room.mu.Unlock()
	f.room.leave(f)
}

// leave takes a follower out of the room, and tells whether it was not closed already. r.mu is held.
func (r *room) leave(f *Following) bool {
	if f.Closed() {
		return false
	}
	f.frames = nil
	close(f.done)
	if _, there := r.followers[f]; there {
		delete(r.followers, f)
		r.used = time.Now()
		r.hub.counts.followers.Add(-1)
	}
	return true
}

// end ends a following as the hub does. Nobody waits for a follower who does not take it. r.mu is held.
func (r *room) end(f *Following, why Ending) {
	if r.leave(f) {
		r.hub.spawn(func() { f.to.End(why) })
	}
}

// replay delivers what was there when the following began, unless that is closed before. The error is of what cannot be read.
func (f *Following) replay() error {
	for at := f.position.Load(); at < f.behind; at = f.position.Load() {
		frame, err := f.old(at)
		switch {
		case err == nil:
			if !f.deliver([]*Frame{frame}) {
				return nil
			}
			continue
		case !passing(err):
			return err
		}
		select {
		case <-time.After(retryAfter):
		case <-f.done:
			return nil
		}
	}
	return nil
}

// old returns a frame of operations after a position, up to where the following began.
func (f *Following) old(since int64) (*Frame, error) {
	h, r := f.room.hub, f.room
	select {
	case h.replays <- struct{}{}:
	case <-f.done:
		return nil, context.Canceled
	}
	defer func() { <-h.replays }()
	ctx, cancel := context.WithTimeout(h.ctx, workTimeout)
	defer cancel()
	tx, err := h.session(ctx, r.tenant)
	if err != nil {
		return nil, err
	}
	limit := int(min(pageRuns, f.behind-since))
	part, err := readAfter(tx, r.document, since, limit)
	if err != nil {
		return nil, err
	}
	operations, last, err := part.batch(limit)
	if err == nil && last == since {
		err = errCorrupt
	}
	if err != nil {
		return nil, err
	}
	return operationsFrame(r.document, since, last, operations), nil
}
