package document

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/store"
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
	presence  presence
	at        state // of the goroutine that works, for the others to look at

	// Of the goroutine that works.
	state
	members   map[int64]Role          // nil: nothing has been read yet
	sites     map[textcrdt.Site]int64 // whose they are; 0: a node's
	doc       *textcrdt.Doc           // nil: to be loaded when somebody writes
	persisted textcrdt.Version        // what of the doc is committed
	own       textcrdt.Site           // with which the room does what users leave to the server; 0: none has been given yet
	session   uint32                  // that it was given with
	tail      tail
	rest      time.Time // before which there is no other commit
}

// state is how much of the database a room has seen.
type state struct{ position, membersVersion int64 }

// push is operations that wait to be committed.
type push struct {
	user int64
	site textcrdt.Site // 0: the server's own, which get their ids when it is their turn
	ops  []textcrdt.Op
	done chan outcome

	staged bool // the replica has, or had, the operations
}

type outcome struct {
	position int64
	err      error
}

// answer is for whoever waits. Only the first counts: after a panic it is not known who has been answered.
func (p *push) answer(position int64, err error) {
	select {
	case p.done <- outcome{position, err}:
	default:
	}
}

// ask is something else that is done by the goroutine of a room.
type ask struct {
	fresh bool // what the room knows must not be older
	do    func(tx *store.Tx) error
	done  chan error
}

func (a *ask) answer(err error) {
	select {
	case a.done <- err:
	default:
	}
}

// maxGroup is how many operations are committed together, but for a push that has more by itself.
const maxGroup = 2000

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
	pauseFor = 50 * time.Microsecond
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

// passing tells whether an error says nothing about the document.
func passing(err error) bool {
	switch kind := apperr.From(err).Kind; kind {
	case apperr.Unavailable, apperr.Timeout, apperr.Aborted:
		return true
	default:
		return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	}
}

// batch is what a room does at once.
type batch struct {
	pushes []*push
	asks   []*ask
	stale  bool
}

func (b *batch) empty() bool { return len(b.pushes) == 0 && len(b.asks) == 0 && !b.stale }

// answer answers those who have not been.
func (b *batch) answer(err error) {
	for _, p := range b.pushes {
		p.answer(0, err)
	}
	for _, a := range b.asks {
		a.answer(err)
	}
	b.pushes, b.asks = nil, nil
}

// take takes what waits, as much as goes into a group. r.mu is held.
func (r *room) take() batch {
	n, runs, size := 0, 0, 0
	for _, p := range r.pushes {
		runs += len(p.ops)
		for i := range p.ops {
			size += len(p.ops[i].Text)
		}
		if n > 0 && (runs > maxGroup || size > MaxPush) {
			break
		}
		n++
	}
	b := batch{pushes: slices.Clone(r.pushes[:n]), asks: r.asks, stale: r.stale}
	r.pushes, r.asks, r.stale = slices.Delete(r.pushes, 0, n), nil, false
	return b
}

// fail ends the room, and nothing else.
func (r *room) fail(b batch, err error) {
	why := Failed
	if apperr.From(err).Kind == apperr.NotFound {
		why = Deleted
	} else {
		r.hub.Logger.Error("a document has failed", zap.Stringer("document", r.document), zap.Error(err))
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

// refused tells whether an error is the caller's own affair.
func refused(err error) bool {
	switch apperr.From(err).Kind {
	case apperr.NotFound, apperr.Forbidden, apperr.ResyncRequired, apperr.ValidationFailed:
		return true
	default:
		return false
	}
}

// catchUp reads what other nodes have written, and who the members are, and tells the followers.
func (r *room) catchUp(tx *store.Tx) error {
	since := r.position
	if r.members == nil {
		since = nowhere // it begins at the head
	}
	for {
		part, err := readAfter(tx, r.document, since, pageRuns)
		if err != nil {
			return err
		}
		if r.members == nil || part.membersVersion != r.membersVersion {
			if err := r.readMembers(tx); err != nil {
				return err
			}
		}
		switch {
		case since == nowhere:
			r.position = part.head
			return nil
		case part.head < since:
			return fmt.Errorf("%w: it has gone back from %d to %d", errCorrupt, since, part.head)
		}
		ops, size, err := part.decode()
		if err != nil {
			return err
		}
		if len(ops) > 0 {
			if r.doc != nil && applyAll(r.doc, ops) != nil {
				r.doc = nil // it has something else of this node, which was not kept
			}
			r.tail.add(len(ops), size)
			r.advance(ops)
		}
		if since = r.position; since >= part.head {
			return nil
		}
	}
}

// readMembers reads who the members are, and ends the followings of those who are no longer.
func (r *room) readMembers(tx *store.Tx) (err error) {
	r.members, r.membersVersion, err = membersOf(tx, r.document)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for f := range r.followers {
		if r.members[f.user] == "" {
			r.end(f, Forbidden)
		}
	}
	for _, s := range r.presence {
		if r.members[s.User] == "" {
			r.tell(s.leave(), false) // the other nodes find out themselves
		}
	}
	return nil
}

// advance takes operations that are committed at the next positions, and sends them to the followers.
func (r *room) advance(ops []textcrdt.Op) {
	prev := r.position
	r.position += int64(len(ops))
	if r.doc != nil {
		for i := range ops {
			r.persisted[ops[i].Site] = last(&ops[i])
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = r.state
	r.rest = time.Now().Add(min(time.Duration(len(r.followers))*pauseFor, maxPause))
	if len(r.followers) > 0 {
		r.broadcast(newFrame(r.document, prev, r.position, textcrdt.AppendOps(nil, ops)))
	}
}

// broadcast queues a frame for all followers. r.mu is held.
func (r *room) broadcast(frame *Frame) {
	for f := range r.followers {
		if !f.queue(frame) {
			r.hub.counts.slow.Add(1)
			r.end(f, Resync)
		}
	}
}

// load makes the replica that pushes are checked against.
func (r *room) load(tx *store.Tx) error {
	if err := r.catchUp(tx); err != nil {
		return err
	}
	s, err := load(tx, r.document, r.position)
	if err != nil {
		return err
	}
	if s.position < r.position {
		return fmt.Errorf("%w: it ends at %d, and was at %d", errCorrupt, s.position, r.position)
	}
	r.doc, r.persisted = s.doc, s.doc.Version().Clone()
	r.tail = tail{snapshot: s.snapshot, runs: s.runs, size: s.size}
	return nil
}

// last returns the seq of an operation's last character.
func last(op *textcrdt.Op) uint32 { return op.Seq + uint32(op.N) - 1 }

// tail is what of a log its snapshot does not have.
type tail struct {
	snapshot int // its bytes
	runs     int64
	size     int
}

func (t *tail) add(runs, size int) {
	t.runs += int64(runs)
	t.size += size
}

// due tells whether there should be another snapshot. It is so much work that it waits for the more the larger it is.
func (t *tail) due() bool {
	return t.runs > maxTail+int64(t.snapshot>>10) || t.size > maxTailBytes+t.snapshot>>2
}

// Bounds of what is not in the snapshot of a short document.
const (
	maxTail      = 1000
	maxTailBytes = 256 << 10
)
