// Package document keeps the texts that many people edit at once: for each document a log of operations ([textcrdt]), which any number of
// nodes append to and whoever follows it is sent.
//
// The operations of a document have positions: 1, 2, 3, …, one for each run, in the order of their commits. So whoever has all up to a
// position needs that number only. An operation is acknowledged when it is committed, and not before; what a node has in memory can be lost
// at any time. Positions up to the snapshot's have been compacted: they are in chunks of many, and can be read as all others.
//
// The package knows the tables document_head, document_site, document_operation, document_history and document_snapshot, and who is in
// document_member. What else there is to a document is not its business.
package document

import (
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/textcrdt"
)

// Role is what a member may do with a document. Each may do all that the ones before it may.
type Role string

// The roles.
const (
	Reader    Role = "reader"
	Commenter Role = "commenter"
	Editor    Role = "editor"
)

// Bounds of what a client sends at once.
const (
	MaxPush     = 256 << 10 // bytes of operations, also when they are unpacked
	MaxRuns     = 2000      // operations
	MaxIDs      = 8 << 20   // ids that they take: a few bytes can delete much
	MaxPresence = 4 << 10   // bytes
)

// Bounds of a document. One that has come to them can be forked: a fork has nothing of what was deleted, and its text is in few runs.
const (
	MaxText     = 16 << 20 // bytes of the text
	MaxTextRuns = 2 << 20  // runs of characters, deleted ones too, that a replica has room for (textcrdt.Doc.Runs)
)

// Page is operations in the order of their positions.
type Page struct {
	Operations []byte // one batch, as textcrdt encodes it, packed or not; nil for none
	Position   int64  // of the last
	Head       int64  // as they were read: there are more if it is higher
}

// Opened is what begins a replica of a document, or brings one up to date.
type Opened struct {
	Page
	Role             Role
	Site             textcrdt.Site // to write as; nobody else does, nor has
	Session          uint32        // to write with
	Snapshot         []byte        // packed; nil for none: then the operations begin where the caller has come to, or the document does
	SnapshotPosition int64
	Version          textcrdt.Version // of the document at the head
	Presence         []Presence
}

// OpenOptions are for who has been there before.
type OpenOptions struct {
	Site  textcrdt.Site // that the caller was given; 0 for a new one
	Since *int64        // position that the caller has come to; nil for nothing yet
}

// Presence is where one who has a document open is in it, as clients tell each other. It is not kept.
type Presence struct {
	Site     textcrdt.Site  `json:"site"`
	User     int64          `json:"user_id"`
	Presence jsontext.Value `json:"presence"` // an object; null when they have left
}

// Edit is a change of a text, in code points.
type Edit struct {
	At     int // position in the text as it was before any edit
	Delete int // characters behind it
	Insert string
}

// Follower is who takes what a following brings.
type Follower interface {
	// Deliver takes frames in order, and keeps neither the slice nor what is in it. It is called by one goroutine at a time, and may block as
	// long as the follower may take for them; nobody else is kept waiting. An error ends the following, without a call of End.
	Deliver(frames []*Frame) error

	// End is called once if the hub ends the following, as the last call but for a Deliver that is under way.
	End(why Ending)
}

// Frame is something new in a document, encoded once for all who follow it.
type Frame struct {
	Prev     int64  // of operations: the position after which they begin, where the frame before it ended
	Position int64  // of the last operation; 0 for a presence
	Text     []byte // JSON: {"document_id","prev","position","operations"}, the last in base64, or {"document_id","site","user_id","presence"}

	Notification []byte // JSON-RPC, with Text as its params; the method is document_operations or document_presence
}

// Ending is why the hub ends a following, in a word.
type Ending string

// The endings.
const (
	Resync    Ending = "resync"    // it fell too far behind, and can go on from its position
	Forbidden Ending = "forbidden" // the follower is no longer a member
	Deleted   Ending = "deleted"   // there is no such document any more
	Failed    Ending = "failed"    // the document cannot be read
)
