package changelog

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/auth"
	"rowcall/modules/bus"
	"rowcall/modules/store"
)

// HubConfig is what a Hub works with.
type HubConfig struct {
	DB    *store.DB
	Log   *Log
	Views Views

	// Bus leads to the other nodes. It must run for as long as the Hub does.
	Bus bus.Bus

	// Revoked, if not nil, is called when somebody's login may have ended or changed, from time to time in case a node's word of
	// it was lost, and after entries have been read, before they are delivered.
	Revoked func(context.Context) error

	Logger *zap.Logger
}

// Hub gives a node's subscribers what is committed on any node. Make one with NewHub, and let it Run.
//
// Each tenant that has subscribers has a feed, into which every entry is read once. It keeps the newest in memory, and wakes the
// subscribers, each of which has a position of its own. Entries that are no longer in memory are read from the table again. What
// lets a feed be read is only a hint: after a commit on this node [Hub.Wake], a message of another node, and a poll of the
// heads, so that a lost hint costs less than a second.
type Hub struct {
	HubConfig
	ctx     context.Context
	cancel  context.CancelFunc
	tasks   sync.WaitGroup
	workers workers
	replays chan struct{} // holds one for each reading of old entries that is under way
	polls   chan struct{} // wakes the poll
	logins  chan struct{} // wakes whoever looks after the logins
	notes   notes
	reads   reads
	counts  counts

	mu    sync.Mutex
	feeds map[uuid.UUID]*feed // of the tenants that have subscribers
}

// maxReplays bounds the connections to the database that those who replay take from everybody else.
const maxReplays = 3

// NewHub returns a Hub that has yet to run.
func NewHub(cfg HubConfig) *Hub {
	h := &Hub{
		HubConfig: cfg, replays: make(chan struct{}, maxReplays), feeds: map[uuid.UUID]*feed{},
		polls: make(chan struct{}, 1), logins: make(chan struct{}, 1),
	}
	h.notes.ready, h.reads.ready = make(chan struct{}, 1), make(chan struct{}, 1)
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Run listens and polls until ctx ends, and returns when nothing of the hub goes on. The subscribers must have left by then.
func (h *Hub) Run(ctx context.Context) {
	for _, part := range []func(context.Context){h.listen, h.tell, h.poll, h.read, h.watchLogins} {
		h.tasks.Go(func() { part(ctx) })
	}
	<-ctx.Done()
	h.cancel()
	h.workers.end()
	h.tasks.Wait()
}

// Wake tells the hub that this node has committed a tenant's entries up to the position. It does not block.
func (h *Hub) Wake(tenant uuid.UUID, position int64) {
	h.hint(tenant, position)
	h.notes.add(tenant, position)
}

// hint lets a tenant's feed be read, if there is one that has not come to the position.
func (h *Hub) hint(tenant uuid.UUID, position int64) {
	h.mu.Lock()
	f := h.feeds[tenant]
	h.mu.Unlock()
	if f != nil {
		f.hint(position)
	}
}

// join adds a subscription to its tenant's feed. The first makes the feed, which begins after the position.
func (h *Hub) join(s *Subscription, tenant uuid.UUID, head int64) {
	h.mu.Lock()
	f := h.feeds[tenant]
	first := len(h.feeds) == 0
	if f == nil {
		f = newFeed(h, tenant, head)
		h.feeds[tenant] = f
	}
	s.feed = f // before others find it there
	f.mu.Lock()
	f.subs[s] = struct{}{}
	f.mu.Unlock()
	h.mu.Unlock()
	h.counts.open.Add(1)
	f.hint(head)
	if first { // other nodes did not notify this one
		wake(h.polls)
	}
}

// leave is the end of what join began. A tenant without subscribers is forgotten.
func (h *Hub) leave(s *Subscription) {
	f := s.feed
	h.mu.Lock()
	defer h.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.subs[s]; !there {
		return
	}
	delete(f.subs, s)
	h.counts.open.Add(-1)
	if len(f.subs) == 0 {
		delete(h.feeds, f.tenant)
	}
}

// all returns the feeds that there are now.
func (h *Hub) all() []*feed {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.feeds))
}

// session returns a Tx that reads all of a tenant's log.
func (h *Hub) session(tenant uuid.UUID) (*store.Tx, error) {
	return h.DB.Session(auth.WithRequest(h.ctx, &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: tenant, Role: auth.Owner, Scope: auth.ScopeAdmin},
	}))
}

// wake leaves word in a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Stats is what a Hub has counted since it was made, but for Open, which is of now.
type Stats struct {
	Open      int64 // subscriptions
	Delivered int64 // entries, to all subscribers together
	Slow      int64 // subscriptions that ended because their subscribers fell behind
	Resyncs   int64 // subscriptions that ended, or did not begin, because their subscribers must start over
	Reads     int64 // of the log, each for all tenants with something new
	Replays   int64 // of the log for subscribers who were further behind than what is in memory
}

// counts are the counters behind Stats.
type counts struct {
	open, delivered, slow, resyncs, reads, replays atomic.Int64
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	c := &h.counts
	return Stats{
		Open: c.open.Load(), Delivered: c.delivered.Load(), Slow: c.slow.Load(), Resyncs: c.resyncs.Load(), Reads: c.reads.Load(),
		Replays: c.replays.Load(),
	}
}
