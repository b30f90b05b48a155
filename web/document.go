package web

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
)

// maxFollowed is how many documents a stream may follow.
const maxFollowed = 100

// followed is a document that a stream follows.
type followed struct {
	*document.Following
	to document.Follower
}

// follow begins to bring a document's operations after the position to a follower, as the actor of ctx. There is one call of it at a time.
func (st *stream) follow(ctx context.Context, id uuid.UUID, since int64, to document.Follower) (*document.Following, error) {
	st.mu.Lock()
	_, twice := st.documents[id]
	n := len(st.documents)
	st.mu.Unlock()
	switch {
	case twice:
		return nil, apperr.New(apperr.InvalidRequest, "This connection follows the document already")
	case n == maxFollowed:
		return nil, apperr.New(apperr.InvalidRequest, fmt.Sprintf("This connection follows %d documents, which is the most", maxFollowed))
	}
	f, err := st.server.Documents.Follow(ctx, id, since, to)
	if err != nil {
		return nil, err
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.documents == nil {
		st.documents = map[uuid.UUID]followed{}
	}
	st.documents[id] = followed{f, to}
	return f, nil
}

// unfollow ends what follow began, and tells whether it had not ended yet. to is who followed; nil for anybody.
func (st *stream) unfollow(id uuid.UUID, to document.Follower) bool {
	st.mu.Lock()
	f, was := st.documents[id]
	if was = was && (to == nil || f.to == to); was {
		delete(st.documents, id)
	}
	st.mu.Unlock()
	if was {
		f.Close()
	}
	return was
}

func (st *stream) unfollowAll() {
	st.mu.Lock()
	all := st.documents
	st.documents = nil
	st.mu.Unlock()
	for _, f := range all {
		f.Close()
	}
}

// whenBegun returns when what a stream follows may bring something, which the channel says by being closed.
func (st *stream) whenBegun(begun <-chan struct{}) error {
	select {
	case <-begun: // as nearly always, and cheaper than to wait for two
		return nil
	default:
	}
	select {
	case <-begun:
		return nil
	case <-st.ctx.Done():
		return st.ctx.Err()
	}
}

// socketFollower takes what a document that a socket follows brings.
type socketFollower struct {
	*socket
	document  uuid.UUID
	answered  chan struct{}       // closed when the call that began it has been
	following *document.Following // from then on
}

// Follow implements rpc.Connection.
func (w *socket) Follow(ctx context.Context, document uuid.UUID, since int64) error {
	r := &socketFollower{socket: w, document: document, answered: make(chan struct{})}
	following, err := w.follow(ctx, document, since, r)
	if err != nil {
		return err
	}
	r.following, w.begun = following, append(w.begun, func() { close(r.answered) })
	return nil
}

// Unfollow implements rpc.Connection.
func (w *socket) Unfollow(document uuid.UUID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unfollow(document, nil)
}

// Deliver implements document.Follower.
func (r *socketFollower) Deliver(frames []*document.Frame) error {
	w := r.socket
	if err := w.whenBegun(r.answered); err != nil {
		return err
	}
	w.await()
	err := r.bring(frames)
	if errors.Is(err, changelog.ErrSlow) {
		w.end(slow)
	} else if err != nil {
		_ = w.conn.CloseNow() // ends run
	}
	return err
}

func (r *socketFollower) bring(frames []*document.Frame) error {
	w := r.socket
	w.mu.Lock()
	defer w.mu.Unlock()
	if r.following.Closed() {
		return nil
	}
	for _, f := range frames {
		if err := w.send(context.Background(), f.Notification); err != nil {
			return err
		}
	}
	w.delivered.Add(int64(len(frames)))
	return nil
}

// End implements document.Follower.
func (r *socketFollower) End(why document.Ending) {
	w := r.socket
	if w.whenBegun(r.answered) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unfollow(r.document, r) {
		_ = w.reply(fmt.Appendf(nil, `{"jsonrpc":"2.0","method":"document_closed","params":{"document_id":%q,"reason":%q}}`, r.document, why))
	}
}

// eventsFollower takes what a document that a stream of server-sent events follows brings.
type eventsFollower struct {
	*sse
	begun chan struct{} // closed when the first event has been sent
}

// followDocument begins to follow what a request asks for, and returns the first event.
func (e *sse) followDocument(id uuid.UUID, since int64) (first string, err error) {
	p := &eventsFollower{e, make(chan struct{})}
	f, err := e.follow(e.as(e.user()), id, since, p)
	if failed := apperr.From(err); err != nil && failed.Kind == apperr.ResyncRequired {
		return "", failed.With("reason", changelog.Ahead)
	} else if err != nil {
		return "", err
	}
	e.start, e.position = func() { close(p.begun) }, f.Position
	return hello(since, since, ""), nil
}

// Deliver implements document.Follower.
func (p *eventsFollower) Deliver(frames []*document.Frame) error {
	if err := p.whenBegun(p.begun); err != nil {
		return err
	}
	b := buffers.Get().(*[]byte)
	defer releaseBuffer(b)
	position := int64(0)
	for _, f := range frames {
		position = max(position, f.Position)
		if f.Position != 0 {
			*b = append(strconv.AppendInt(append(*b, "id: "...), f.Position, 10), "\nevent: operations\ndata: "...)
		} else {
			*b = append(*b, "event: presence\ndata: "...)
		}
		*b = append(append(*b, f.Notification...), "\n\n"...)
	}
	err := p.deliver(*b, len(frames), position)
	if errors.Is(err, changelog.ErrSlow) {
		p.end(slow)
	}
	return err
}

// endings are the reasons by which a stream of a document ends.
var endings = map[document.Ending]farewell{document.Resync: slow, document.Forbidden: forbidden, document.Deleted: deleted, document.Failed: "failed"}

// End implements document.Follower.
func (p *eventsFollower) End(why document.Ending) { p.end(endings[why]) }
