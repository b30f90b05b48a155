package changelog

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Subscriber is who takes what a subscription brings. The hub calls it on goroutines of its own, one call at a time.
type Subscriber interface {
	// Deliver takes changes in the order of their positions, and keeps neither the slice nor what is in it. It may block as long as
	// the subscriber may take for them; the others are not kept waiting. An error ends the subscription: ErrSlow with a call of End, any other
	// without.
	Deliver(changes []Change) error

	// End is called once if the hub ends the subscription, as the last call but for a Deliver that is under way.
	End(why Ending)
}

// Change is an entry as one subscriber sees it.
type Change struct {
	Position int64
	Prev     int64  // of the change before it in the subscription; of the first, the position that that began after
	Text     []byte // its other members, as Views.Append has them; shared by all subscribers
}

// Ending is why the hub ends a subscription, in a word.
type Ending string

// The endings. After Slow the subscriber can go on from its position; after the others it has to start over.
const (
	Slow   Ending = "slow"   // it fell too far behind the log's head
	Pruned Ending = "pruned" // the entries after its position are gone
	Ahead  Ending = "ahead"  // the log has not come to its position
	Epoch  Ending = "epoch"  // the log has begun anew, or the subscriber's role is another
	Failed Ending = "failed" // an entry cannot be shown
)

// Interest is what a subscriber wants to follow.
type Interest struct {
	Since    *int64   // the position after which it begins; nil for the head
	Epoch    string   // that Since is of; "" for any
	Entities []string // nil for all

	// Groups, if not nil, leaves out the rows that belong to other groups; see Views.NewReader.
	Groups []uuid.UUID
}

// maxBehind is how many entries a subscriber may be behind once it has been at the head: the log is its queue.
const maxBehind = 1 << 16

// Bounds of one delivery.
const (
	maxChanges     = 256
	maxChangeBytes = 256 << 10
)

// Subscription is one subscriber's way through a tenant's log, from a position on and then live, without a hole or a repeat. While
// nothing happens it has no goroutine. Make one with [Hub.Subscribe].
type Subscription struct {
	hub      *Hub
	feed     *feed
	to       Subscriber
	entities []string
	epoch    string // of its positions
	reader   Reader
	role     auth.Role

	// Of the goroutine that delivers.
	cursor, prev int64
	current      bool // whether it has been at the head

	position atomic.Int64 // up to which everything has been delivered

	run   func() // of the method, made once
	mu    sync.Mutex
	state state
}

type state int8

const (
	paused state = iota
	idle
	delivering
	again // delivering, and there is more to come
	closed
)

// Subscribe adds a subscription for the actor of the context's request; the context must last as long, and its request is the
// subscription's own from now on. It brings nothing before Start. Head is as it was found; a subscription without Since begins there.
//
// FORBIDDEN for an actor who may read nothing, INVALID_PARAMS for an unknown entity, RESYNC_REQUIRED for a Since or an Epoch that cannot be
// followed, with the Ending in its data as the reason.
func (h *Hub) Subscribe(ctx context.Context, of Interest, to Subscriber) (*Subscription, Head, error) {
	tx, err := h.DB.Session(ctx)
	if err != nil {
		return nil, Head{}, err
	}
	known := h.Views.Entities()
	for i, name := range of.Entities {
		if !slices.Contains(known, name) {
			return nil, Head{}, apperr.Invalid(apperr.Issue{Path: apperr.Index("entities", i), Reason: "is not an entity", Allowed: known})
		}
	}
	reader, err := h.Views.NewReader(tx, of.Groups)
	if err != nil {
		return nil, Head{}, err
	}
	head, err := h.Log.Head(tx)
	if err != nil {
		return nil, Head{}, err
	}
	since := head.Position
	if of.Since != nil {
		since = *of.Since
	}
	if err := head.Check(since, of.Epoch); err != nil {
		h.counts.resyncs.Add(1)
		return nil, head, apperr.From(err).With("reason", head.reason(since, of.Epoch))
	}
	s := &Subscription{
		hub: h, to: to, entities: of.Entities, epoch: head.Epoch, cursor: since, prev: since, reader: reader, role: tx.Actor.Role,
	}
	s.run = s.bring
	s.position.Store(since)
	h.join(s, tx.Actor.Tenant, head.Position)
	return s, head, nil
}

// reason is why [Head.Check] fails.
func (h Head) reason(since int64, epoch string) Ending {
	switch {
	case epoch != "" && epoch != h.Epoch:
		return Epoch
	case since < h.Tail:
		return Pruned
	}
	return Ahead
}

// Start lets the subscription bring changes.
func (s *Subscription) Start() {
	s.mu.Lock()
	if s.state == paused {
		s.state = idle
	}
	s.mu.Unlock()
	s.kick()
}

// Position returns the position up to which the subscriber has been given everything that it sees.
func (s *Subscription) Position() int64 { return s.position.Load() }

// Close ends the subscription. A delivery may still be under way; there is none after it.
func (s *Subscription) Close() {
	s.mu.Lock()
	s.state = closed
	s.mu.Unlock()
	s.hub.leave(s)
}

// End ends the subscription as the hub does, and tells the subscriber, unless it has ended.
func (s *Subscription) End(why Ending) {
	s.mu.Lock()
	ended := s.state == closed
	s.state = closed
	s.mu.Unlock()
	s.hub.leave(s)
	if ended {
		return
	}
	if why == Slow {
		s.hub.counts.slow.Add(1)
	} else {
		s.hub.counts.resyncs.Add(1)
	}
	s.to.End(why)
}

// kick starts a delivery, unless one is under way, which then goes on.
func (s *Subscription) kick() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case idle:
		s.state = delivering
		s.hub.spawn(s.run)
	case delivering:
		s.state = again
	default:
	}
}

// retryAfter is when a delivery is tried again that failed for the database.
const retryAfter = time.Second

// bring delivers until there is nothing more.
func (s *Subscription) bring() {
	for {
		err := s.deliver()
		s.mu.Lock()
		if s.state == again && err == nil {
			s.state = delivering
			s.mu.Unlock()
			continue
		}
		if s.state != closed {
			s.state = idle
		}
		s.mu.Unlock()
		switch {
		case err == nil:
		case errors.Is(err, ErrSlow):
			s.End(Slow)
		case errors.Is(err, errUndelivered):
			s.Close()
		case errors.Is(err, errPruned):
			s.End(Pruned)
		case errors.Is(err, errUnshowable):
			s.hub.Logger.Error("an entry of the change log cannot be shown", zap.Error(err))
			s.End(Failed)
		case s.hub.ctx.Err() == nil:
			s.hub.Logger.Warn("the change log could not be read", zap.Error(err))
			time.AfterFunc(retryAfter, s.kick)
		}
		return
	}
}

// ErrSlow is the error of Deliver for a subscriber who takes too long.
var ErrSlow = errors.New("the subscriber is too slow")

var (
	errUndelivered = errors.New("the subscriber has gone")
	errUnshowable  = errors.New("an entry cannot be encoded")
)

// batches are for one delivery each.
var batches = sync.Pool{New: func() any { return new([]Change) }}

// deliver brings what there is.
func (s *Subscription) deliver() error {
	batch := batches.Get().(*[]Change)
	defer func() {
		clear(*batch)
		*batch = (*batch)[:0]
		batches.Put(batch)
	}()
	for !s.isClosed() {
		items, behind, err := s.feed.next(s.cursor)
		switch {
		case err != nil:
			return err
		case len(items) == 0:
			s.current = true
			return nil
		case s.current && behind > maxBehind:
			return ErrSlow
		}
		if err := s.give(items, batch); err != nil {
			return err
		}
	}
	return nil
}

// give delivers what the subscriber sees of the entries.
func (s *Subscription) give(items []*item, batch *[]Change) error {
	size, prev := 0, s.prev
	for n, i := range items {
		sight, err := s.reader.Sees(&i.Entry) // also of entities that are not wanted: it may learn from them
		if err != nil {
			return err
		}
		if sight != Hidden && (s.entities == nil || slices.Contains(s.entities, i.Entity)) {
			text, err := i.text(s.hub.Views, s.role, sight)
			if err != nil {
				return errors.Join(errUnshowable, err)
			}
			*batch = append(*batch, Change{i.Position, prev, text})
			prev = i.Position
			size += len(text)
		}
		if n < len(items)-1 && len(*batch) < maxChanges && size < maxChangeBytes {
			continue
		}
		if len(*batch) > 0 {
			if err := s.to.Deliver(*batch); err != nil {
				return errors.Join(errUndelivered, err)
			}
			s.hub.counts.delivered.Add(int64(len(*batch)))
		}
		clear(*batch)
		*batch, size = (*batch)[:0], 0
		s.cursor, s.prev = i.Position, prev
		s.position.Store(i.Position)
	}
	return nil
}

func (s *Subscription) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state == closed
}
