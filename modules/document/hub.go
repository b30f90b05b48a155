package document

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/modules/store"
	"rowcall/modules/textcrdt"
)

// Bus carries hints and presence between nodes; bus.Bus is one.
type Bus interface {
	Publish(topic string, payload []byte)
	Subscribe(topic string, handle func(payload []byte)) (cancel func())
}

// Config is what a Hub works with.
type Config struct {
	DB  *store.DB
	Bus Bus // nil: there are no other nodes

	// Touch writes the newest position of a document, and when its operation was done, to the document's row, so that the tenant's log has an
	// entry of it. It is called at most once a second for a document, whatever the number of nodes, as the member who did the operation, or the
	// owner if they are no longer one. version is that of the row: CONFLICT if it is another by now, and Touch is called again later.
	Touch func(tx *store.Tx, document uuid.UUID, version, position int64, at time.Time) error

	// Aside, if not nil, runs wait, in which a push waits for its commit and takes nothing of the database that others do not share; see
	// store.Config.
	Aside func(ctx context.Context, wait func())

	Logger *zap.Logger
}

// Hub is a node's documents. Make one with NewHub, and let it Run. It is safe for concurrent use.
//
// All methods take the context of a request, whose actor they act for. Errors by kind, of all: NOT_FOUND for a document that is not there or that the
// actor is no member of, FORBIDDEN for a credential or a role that is not enough, UNAVAILABLE, TIMEOUT, and INTERNAL for a document
// that cannot be read.
type Hub struct{}

// NewHub returns a Hub that has yet to run.
func NewHub(cfg Config) *Hub { panic("soon") }

// Run does what goes on in the background until ctx ends, and returns when nothing of the hub does. Whoever follows must have left by then.
func (h *Hub) Run(ctx context.Context) { panic("soon") }

// Open returns what begins a replica. The operations are bounded: [Hub.Read] brings the rest. FORBIDDEN for a site of somebody else,
// RESYNC_REQUIRED (head) for a Since that is over the head.
func (h *Hub) Open(ctx context.Context, document uuid.UUID, o OpenOptions) (Opened, error) {
	panic("soon")
}

// Read returns operations after the position, at most so many, or as many as go into an answer if limit is 0. RESYNC_REQUIRED (head) for a
// position over the head.
func (h *Hub) Read(ctx context.Context, document uuid.UUID, since int64, limit int) (Page, error) {
	panic("soon")
}

// Push appends operations of one site, as textcrdt encodes them, packed or not, and returns a position by which all of them are committed.
// What is there already is not added again, so a push can be repeated. It is done whole or not at all: VALIDATION at "operations" or
// "operations[i]" for one that is malformed, that comes before what it builds upon, or that is too much (MaxPush, MaxRuns); FORBIDDEN for a
// site of somebody else, and for all but editors. It cannot be a part of a transaction. A ctx that ends is not waited for: then,
// and after UNAVAILABLE or TIMEOUT, it is not known whether the operations were kept.
func (h *Hub) Push(ctx context.Context, document uuid.UUID, site textcrdt.Site, operations []byte) (position int64, err error) {
	panic("soon")
}

// TextAt returns the text as it was at a position, or is now if that is nil, and the position. INVALID_PARAMS at "position" for one
// over the head.
func (h *Hub) TextAt(ctx context.Context, document uuid.UUID, position *int64) (text string, at int64, err error) {
	panic("soon")
}

// Edit does edits, whose positions are those of the text at a position, or as it is now if that is nil, to the text as it is now, and returns
// the position of the last operation. What others have inserted stays, and what they have deleted stays away. FORBIDDEN for all but
// editors, INVALID_PARAMS at "position", VALIDATION at "edits[i]" for an edit outside of the text or one that overlaps another, and at "edits" for
// too much. Errors besides as of Push.
func (h *Hub) Edit(ctx context.Context, document uuid.UUID, position *int64, edits []Edit) (int64, error) {
	panic("soon")
}

// Restore makes the text what it was at a position, by new operations, and returns the position of the last. Errors as of Edit.
func (h *Hub) Restore(ctx context.Context, document uuid.UUID, position int64) (int64, error) {
	panic("soon")
}

// Show tells those who follow a document, on all nodes, where the site of the caller is in it: an object of up to MaxPresence bytes, which
// expires after 30 seconds, or nil when it has left. FORBIDDEN for a site of somebody else, VALIDATION at "presence".
func (h *Hub) Show(ctx context.Context, document uuid.UUID, site textcrdt.Site, presence jsontext.Value) error {
	panic("soon")
}

// Follow brings the follower all operations after the position, and then those to come, without a hole or a repeat, and what others show.
// It begins at once, on a goroutine of the hub, and goes on until Close or End. RESYNC_REQUIRED (head) for a position over the head.
func (h *Hub) Follow(ctx context.Context, document uuid.UUID, since int64, to Follower) (*Following, error) {
	panic("soon")
}

// Following is one follower's way through a document's log.
type Following struct{}

// Position returns the position up to which the follower has been given everything.
func (f *Following) Position() int64 { panic("soon") }

// Close ends the following. A Deliver may still be under way; there is none after it.
func (f *Following) Close() { panic("soon") }

// Begin gives a document that has been made in the transaction its first text. VALIDATION at "text" for one that is not UTF-8.
func Begin(tx *store.Tx, document uuid.UUID, text string) error { panic("soon") }
