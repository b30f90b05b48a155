package document

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Bus carries hints and presence between nodes; bus.Bus is one.
type Bus interface {
	Publish(topic string, payload []byte)
	Subscribe(topic string, handle func(payload []byte)) (cancel func())
}

// Config is what a Hub works with.
type Config struct {
	DB  *store.DB
	Bus Bus

	// Touch writes the newest position of a document, and a time by the database's clock, to the document's row, so that the tenant's log
	// has an entry of it. It is called at most once a second for a document, whatever the number of nodes, as the member who did the last
	// operation, or as the owner if they are no editor any more. version is that of the row: CONFLICT if it is another by now, and
	// Touch is called again later.
	Touch func(tx *store.Tx, document uuid.UUID, version, position int64, at time.Time) error

	// Aside, if not nil, runs wait, in which a push waits for its commit and takes nothing of the database that others do not share; see
	// store.Config.
	Aside func(ctx context.Context, wait func())

	// Revoked, if not nil, is called before operations are sent to those who follow: a login that ended before these were committed has ended for
	// them when it returns. What has proven the logins of who pushed it needs no call.
	Revoked func(context.Context) error

	Logger *zap.Logger
}

// Hub is a node's documents. Make one with NewHub, and let it Run. It is safe for concurrent use.
//
// A document that somebody of the node writes or follows has a room. All pushes that wait while a room commits are its next commit, so the
// more there are the larger the groups, and who writes alone waits for one statement. What other nodes write is read from the database; that
// there is something is only a hint, by the bus and by a poll of the heads, so that a lost hint costs less than a second. Each commit and each
// reading asks whether the members are still those that the room knows, so a follower sees nothing that was written after they were
// removed.
//
// All methods take the context of a request, whose actor they act for. Errors by kind, of all: NOT_FOUND for a document that is not there or that the
// actor is no member of, FORBIDDEN for a credential or a role that is not enough, UNAVAILABLE, TIMEOUT, and INTERNAL for a document
// that cannot be read.
type Hub struct {
	Config
	ctx         context.Context
	cancel      context.CancelFunc
	tasks       tasks
	replays     chan struct{} // holds one for each reading of old operations that is under way
	polls       chan struct{} // wakes the poll
	hints       hints
	touches     touches
	compactions compactions
	writers     writers
	bounds      bounds
	counts      counts

	mu    sync.Mutex
	rooms map[key]*room
}

// NewHub returns a Hub that has yet to run.
func NewHub(cfg Config) *Hub {
	if cfg.Aside == nil {
		cfg.Aside = func(_ context.Context, wait func()) { wait() }
	}
	if cfg.Revoked == nil {
		cfg.Revoked = func(context.Context) error { return nil }
	}
	h := &Hub{Config: cfg, replays: make(chan struct{}, maxReplays), polls: make(chan struct{}, 1), rooms: map[key]*room{}}
	h.hints.ready, h.hints.pending = make(chan struct{}, 1), map[key]int64{}
	h.touches.ready, h.touches.due = make(chan struct{}, 1), map[key]time.Time{}
	h.compactions.ready, h.compactions.waiting = make(chan struct{}, 1), map[key]struct{}{}
	h.bounds = bounds{MaxText, MaxTextRuns}
	h.writers.queues = map[uuid.UUID]*queue{}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

// Run does what goes on in the background until ctx ends, and returns when nothing of the hub does. Whoever follows must have left by then.
func (h *Hub) Run(ctx context.Context) {
	defer h.Bus.Subscribe(Topic, h.hear)()
	var parts sync.WaitGroup
	for _, part := range []func(context.Context){h.poll, h.tellNodes, h.touch, h.compact, h.sweep} {
		parts.Go(func() { part(ctx) })
	}
	parts.Wait()
	h.tasks.end()
	for _, r := range h.all() {
		h.forget(r)
		r.mu.Lock()
		r.abandon(errStopped)
		for f := range r.followers {
			r.leave(f)
		}
		r.mu.Unlock()
	}
	defer time.AfterFunc(lastWork, h.cancel).Stop()
	h.tasks.running.Wait()
	h.cancel()
}

// lastWork is how long a commit that is under way may take when the hub ends.
const lastWork = 3 * time.Second

// tasks are the goroutines of a hub.
type tasks struct {
	mu      sync.Mutex
	ended   bool
	running sync.WaitGroup
}

func (t *tasks) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
}

// spawn runs a task on a goroutine; false if the hub has ended.
func (h *Hub) spawn(task func()) bool {
	h.tasks.mu.Lock()
	defer h.tasks.mu.Unlock()
	if !h.tasks.ended {
		h.tasks.running.Go(task)
	}
	return !h.tasks.ended
}

// wake leaves word in a channel that has room for one.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// actor returns who makes a request, if their credential has the scope.
func (h *Hub) actor(ctx context.Context, scope auth.Scope) (*auth.Actor, error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return nil, err
	}
	return actor, actor.Can(auth.Member, scope)
}

// tx returns a Tx for a request, if its actor's credential has the scope.
func (h *Hub) tx(ctx context.Context, scope auth.Scope) (*store.Tx, error) {
	if _, err := h.actor(ctx, scope); err != nil {
		return nil, err
	}
	return h.DB.Session(ctx)
}

// session returns a Tx of the hub's own.
func (h *Hub) session(ctx context.Context, tenant uuid.UUID) (*store.Tx, error) {
	return h.DB.Session(auth.WithRequest(ctx, &auth.Request{
		Now: time.Now, Actor: &auth.Actor{Tenant: tenant, Role: auth.Owner, Scope: auth.ScopeAdmin},
	}))
}

// changed notes that this node has written a document.
func (h *Hub) changed(k key, position int64) {
	h.hints.add(k, position)
	h.touches.add(k, time.Now())
}

// all returns the rooms that there are now.
func (h *Hub) all() []*room {
	h.mu.Lock()
	defer h.mu.Unlock()
	rooms := make([]*room, 0, len(h.rooms))
	for _, r := range h.rooms {
		rooms = append(rooms, r)
	}
	return rooms
}

// forget takes a room out of the hub.
func (h *Hub) forget(r *room) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	if h.rooms[r.key] == r {
		delete(h.rooms, r.key)
	}
}

// Stats is what a Hub has counted since it was made, but for Rooms and Followers, which are of now.
type Stats struct {
	Rooms       int   // documents in memory
	Followers   int64 // followings
	Commits     int64 // groups of operations of one document
	Together    int64 // of these, that were written by a statement with others
	Operations  int64 // that were committed
	Delivered   int64 // frames, to all followers together
	Slow        int64 // followings that ended because their followers fell behind
	Touches     int64 // of documents' rows
	Compactions int64 // snapshots that were made
}

// counts are the counters behind Stats.
type counts struct {
	followers, commits, together, operations, delivered, slow, touches, compactions atomic.Int64
}

// Stats returns the counters.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	rooms := len(h.rooms)
	h.mu.Unlock()
	c := &h.counts
	return Stats{
		Rooms: rooms, Followers: c.followers.Load(), Commits: c.commits.Load(), Together: c.together.Load(), Operations: c.operations.Load(),
		Delivered: c.delivered.Load(), Slow: c.slow.Load(), Touches: c.touches.Load(), Compactions: c.compactions.Load(),
	}
}
