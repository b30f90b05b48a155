package changelog

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"
	"go.uber.org/zap"
)

// Channels of Postgres's NOTIFY. A notification of the first is the id of the node that sends it, and then for each tenant with news a word
// "<tenant>:<position>", or allTenants; without any, the node only says that it has subscribers. The second is sent by the trigger
// on auth_change.
const (
	changeChannel = "rowcall_change"
	authChannel   = "rowcall_auth"
	allTenants    = "*"
)

const (
	pollEvery   = 800 * time.Millisecond // so that a lost hint costs less than a second
	pollTimeout = 5 * time.Second
	notifyEvery = 5 * time.Millisecond
	peerFor     = 4 * pollEvery // how long a node counts after it has said that it has subscribers

	// maxNoted is how many tenants go into one notification, which Postgres bounds to 8000 bytes.
	maxNoted = 100

	minReconnect = 100 * time.Millisecond
	maxReconnect = 5 * time.Second
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

// take returns the payload for what has been noted, and forgets it.
func (n *notes) take(node string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() { n.pending, n.all = nil, false }()
	b := []byte(node)
	if n.all {
		b = append(b, ' ')
		return string(append(b, allTenants...))
	}
	for tenant, position := range n.pending {
		b = append(b, ' ')
		b = append(b, tenant.String()...)
		b = strconv.AppendInt(append(b, ':'), position, 10)
	}
	return string(b)
}

// notify tells other nodes what this one has committed, outside any of its transactions: NOTIFY takes a lock over the whole
// database.
func (h *Hub) notify(ctx context.Context) {
	for {
		select {
		case <-h.notes.ready:
		case <-ctx.Done():
			return
		}
		h.send(ctx, h.notes.take(h.node))
		select {
		case <-time.After(notifyEvery):
		case <-ctx.Done():
			return
		}
	}
}

// send notifies the other nodes. Nothing waits for the disk for it. What cannot be sent is lost, and found by their poll.
func (h *Hub) send(ctx context.Context, payload string) {
	ctx, cancel := context.WithTimeout(ctx, pollTimeout)
	defer cancel()
	_, err := h.DB.Platform(ctx).Exec(`SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, $2)`, changeChannel, payload)
	if err != nil {
		h.Logger.Debug("other nodes could not be notified", zap.Error(err))
		return
	}
	h.counts.sent.Add(1)
}

// listen hears what other nodes say, over a connection that it makes anew whenever it is lost.
func (h *Hub) listen(ctx context.Context) {
	l := pq.NewListener(h.ListenURL, minReconnect, maxReconnect, func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventReconnected:
			h.counts.reconnects.Add(1)
		case pq.ListenerEventDisconnected, pq.ListenerEventConnectionAttemptFailed:
			h.Logger.Warn("the connection that listens to other nodes is lost; changes by them come a second late", zap.Error(err))
		default:
		}
	})
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // ends a Listen, too
	defer stop()
	for _, channel := range []string{changeChannel, authChannel} {
		if err := l.Listen(channel); err != nil {
			return // it was closed
		}
	}
	wake(h.polls) // whatever was said before is lost
	wake(h.logins)
	for n := range l.NotificationChannel() {
		switch {
		case n == nil: // the connection was lost, and with it whatever was said
			wake(h.polls)
			wake(h.logins)
		case n.Channel == authChannel:
			wake(h.logins)
		default:
			h.heed(n.Extra)
		}
	}
}

// heed takes a notification of a node.
func (h *Hub) heed(payload string) {
	node, news, _ := strings.Cut(payload, " ")
	if node == h.node {
		return
	}
	h.counts.heard.Add(1)
	if news == "" {
		h.notes.peer.Store(time.Now().UnixNano())
		return
	}
	for word := range strings.FieldsSeq(news) {
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
	h.send(ctx, h.node)
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
