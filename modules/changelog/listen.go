package changelog

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"
)

// Topics of the bus. A message of the first is a word "<tenant>:<position>" for each tenant with news, or allTenants, or following.
// The second is that of a trigger on auth_change.
const (
	changeTopic = "change"
	authTopic   = "auth"

	allTenants = "*"
	following  = "+" // the node has subscribers
)

const (
	pollEvery   = 800 * time.Millisecond // so that a lost hint costs less than a second
	pollTimeout = 5 * time.Second
	tellEvery   = 5 * time.Millisecond
	peerFor     = 4 * pollEvery // how long a node counts after it has said that it has subscribers

	// maxNoted is how many tenants go into one message, of at most bus.MaxPayload bytes.
	maxNoted = 100
)

// notes are what other nodes are to be told.
type notes struct {
	peer  atomic.Int64 // when another node said that it has subscribers, in Unix nanoseconds
	ready chan struct{}

	mu      sync.Mutex
	pending map[uuid.UUID]int64 // nil: nothing
	all     bool
}

// add notes a position, if there is another node with subscribers.
func (n *notes) add(tenant uuid.UUID, position int64) {
	if time.Since(time.Unix(0, n.peer.Load())) > peerFor {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.all:
		return
	case n.pending == nil:
		n.pending = map[uuid.UUID]int64{}
	case len(n.pending) == maxNoted:
		n.pending, n.all = map[uuid.UUID]int64{}, true
		return
	}
	if n.pending[tenant] = max(n.pending[tenant], position); len(n.pending) == 1 {
		wake(n.ready)
	}
}

// take returns the message for what has been noted, and forgets it.
func (n *notes) take() (payload []byte) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all {
		payload = append(payload, allTenants...)
	}
	for tenant, position := range n.pending {
		payload = append(append(payload, tenant.String()...), ':')
		payload = append(strconv.AppendInt(payload, position, 10), ' ')
	}
	n.pending, n.all = nil, false
	return payload
}

// tell tells other nodes what this one has committed.
func (h *Hub) tell(ctx context.Context) {
	for {
		select {
		case <-h.notes.ready:
		case <-ctx.Done():
			return
		}
		h.Bus.Publish(changeTopic, h.notes.take())
		select {
		case <-time.After(tellEvery):
		case <-ctx.Done():
			return
		}
	}
}

// listen hears what other nodes and triggers say.
func (h *Hub) listen(ctx context.Context) {
	defer h.Bus.Subscribe(changeTopic, h.heed)()
	defer h.Bus.Subscribe(authTopic, func([]byte) { wake(h.logins) })()
	<-ctx.Done()
}

// heed takes a message on changes.
func (h *Hub) heed(payload []byte) {
	text := string(payload)
	if text == following {
		h.notes.peer.Store(time.Now().UnixNano())
		return
	}
	if text == "" { // messages may have been lost
		wake(h.polls)
	}
	for word := range strings.FieldsSeq(text) {
		name, text, _ := strings.Cut(word, ":")
		tenant, err := uuid.Parse(name)
		position, numErr := strconv.ParseInt(text, 10, 64)
		if err != nil || numErr != nil { // allTenants, or a word of a later version
			wake(h.polls)
			return
		}
		h.hint(tenant, position)
	}
}

// poll looks at the heads of the tenants that have subscribers, and says that there are some.
func (h *Hub) poll(ctx context.Context) {
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for {
		if err := h.pollOnce(ctx); err != nil && ctx.Err() == nil {
			h.Logger.Warn("the heads of the change log could not be read", zap.Error(err))
		}
		select {
		case <-ticks.C:
		case <-h.polls:
		case <-ctx.Done():
			return
		}
	}
}

type polledHead struct {
	Tenant uuid.UUID `db:"tenant_id"`
	Head   int64     `db:"head"`
}

func (h *Hub) pollOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	feeds := h.all()
	if len(feeds) == 0 {
		return nil
	}
	h.Bus.Publish(changeTopic, []byte(following))
	tenants := make([]string, len(feeds))
	read := make(map[uuid.UUID]int64, len(feeds)) // how far each feed had come
	for i, f := range feeds {
		tenants[i] = f.tenant.String()
		read[f.tenant] = f.position()
	}
	tx := h.DB.Platform(ctx)
	var epoch string
	if err := tx.Get(&epoch, `SELECT current_epoch()`); err != nil {
		return err
	}
	var heads []polledHead
	if err := tx.Select(&heads, `SELECT tenant_id, head FROM change_head WHERE tenant_id = ANY ($1::uuid[])`, tenants); err != nil {
		return err
	}
	for _, f := range feeds {
		for _, s := range f.subscriptions() {
			if s.epoch != epochFor(epoch, s.role) {
				h.spawn(func() { s.End(Epoch) }) // it may take as long as a delivery
			}
		}
	}
	back := map[uuid.UUID]bool{}
	for _, head := range heads {
		back[head.Tenant] = head.Head < read[head.Tenant]
		h.hint(head.Tenant, head.Head)
	}
	for _, f := range feeds {
		if back[f.tenant] {
			for _, s := range f.subscriptions() {
				h.spawn(func() { s.End(Ahead) })
			}
		}
	}
	return nil
}

// watchLogins calls Revoked.
func (h *Hub) watchLogins(ctx context.Context) {
	if h.Revoked == nil {
		return
	}
	ticks := time.NewTicker(pollEvery)
	defer ticks.Stop()
	for {
		if err := h.Revoked(ctx); err != nil && ctx.Err() == nil {
			h.Logger.Warn("it is not known whether logins have ended", zap.Error(err))
		}
		select {
		case <-ticks.C:
		case <-h.logins:
		case <-ctx.Done():
			return
		}
	}
}
