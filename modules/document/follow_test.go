package document_test

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"rowcall/modules/document"
	"rowcall/modules/textcrdt"
)

// follower takes what a following brings.
type follower struct {
	*document.Following
	t      testing.TB
	frames chan document.Frame // one that is full blocks
	ended  chan document.Ending
	gone   chan struct{}
	at     int64
}

func (f *follower) Deliver(frames []*document.Frame) error {
	for _, frame := range frames {
		select {
		case f.frames <- *frame:
		case <-f.gone:
			return errors.New("gone")
		}
	}
	return nil
}

func (f *follower) End(why document.Ending) { f.ended <- why }

func (n *node) follow(doc uuid.UUID, user, since int64) *follower {
	n.w.t.Helper()
	return n.followWith(doc, user, since, 1<<16)
}

func (n *node) followWith(doc uuid.UUID, user, since int64, room int) *follower {
	n.w.t.Helper()
	f := &follower{t: n.w.t, frames: make(chan document.Frame, room), ended: make(chan document.Ending, 1), gone: make(chan struct{}), at: since}
	following, err := n.Follow(as(user), doc, since, f)
	if err != nil {
		n.w.t.Fatal(err)
	}
	f.Following = following
	n.w.t.Cleanup(func() {
		close(f.gone)
		following.Close()
	})
	return f
}

// message is a frame as the wire has it.
type message struct {
	Document   uuid.UUID     `json:"document_id"`
	Prev       int64         `json:"prev"`
	Position   int64         `json:"position"`
	Operations string        `json:"operations"`
	Site       textcrdt.Site `json:"site"`
	User       int64         `json:"user_id"`
	Presence   *struct {
		Name string `json:"name"`
	} `json:"presence"`
}

func (f *follower) parse(frame document.Frame) (m message) {
	f.t.Helper()
	if err := json.Unmarshal(frame.Text, &m); err != nil || m.Prev != frame.Prev || m.Position != frame.Position {
		f.t.Errorf("%s: %v", frame.Text, err)
	}
	return m
}

// apply gives a frame to a replica.
func (f *follower) apply(r *replica, frame document.Frame) {
	f.t.Helper()
	m := f.parse(frame)
	if m.Position == 0 {
		return
	}
	if m.Prev != f.at {
		f.t.Errorf("after %d comes what follows %d", f.at, m.Prev)
	}
	batch, err := base64.StdEncoding.DecodeString(m.Operations)
	if err != nil {
		f.t.Error(err)
	}
	ops, err := textcrdt.DecodeOps(batch)
	if err != nil || int64(len(ops)) != m.Position-m.Prev {
		f.t.Errorf("%d operations from %d to %d: %v", len(ops), m.Prev, m.Position, err)
	}
	if err := r.Apply(ops, nil); err != nil {
		f.t.Error(err)
	}
	f.at, r.at = m.Position, m.Position
}

// drain applies what has come.
func (f *follower) drain(r *replica) {
	f.t.Helper()
	for {
		select {
		case frame := <-f.frames:
			f.apply(r, frame)
		default:
			return
		}
	}
}

// to applies what comes, up to a position.
func (f *follower) to(r *replica, position int64) {
	f.t.Helper()
	for f.at < position {
		select {
		case frame := <-f.frames:
			f.apply(r, frame)
		case why := <-f.ended:
			f.t.Error("it ended: ", why)
			return
		case <-time.After(time.Minute):
			f.t.Error("nothing comes after ", f.at)
			return
		}
	}
}

// until applies what comes until the replica has all that the node can read.
func (f *follower) until(r *replica, n *node) {
	f.t.Helper()
	for {
		p, err := n.Read(as(r.user), r.doc, f.at, 1)
		if err != nil {
			f.t.Error(err)
			return
		}
		if p.Head == f.at {
			return
		}
		f.to(r, p.Head)
	}
}

// end returns why the following ended, whatever comes before.
func (f *follower) end() document.Ending {
	f.t.Helper()
	for {
		select {
		case <-f.frames:
		case why := <-f.ended:
			return why
		case <-time.After(time.Minute):
			f.t.Fatal("it does not end")
		}
	}
}
