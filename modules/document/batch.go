package document

import (
	"context"
	"errors"
	"slices"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// push is operations that wait to be committed.
type push struct {
	user   int64
	memory auth.Memory // of the user's login, which the commit is to prove; nil: it has been
	site   textcrdt.Site
	ops    []textcrdt.Op
	done   chan outcome

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

// maxGroup is how many operations are committed together, but for a push that has more by itself.
const maxGroup = 2000

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

// passing tells whether an error says nothing about the document.
func passing(err error) bool {
	switch kind := apperr.From(err).Kind; kind {
	case apperr.Unavailable, apperr.Timeout, apperr.Aborted:
		return true
	default:
		return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	}
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
