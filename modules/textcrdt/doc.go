// Package textcrdt is text that many people edit at once, without a server that decides: a Replicated Growable Array
// (Roh, Jeon, Kim, Lee: "Replicated abstract data types: Building blocks for collaborative applications", 2011) whose
// replicas are equal, to the last byte of their snapshots, as soon as they know the same operations, in whatever order these came.
//
// Each replica that edits does so as a [Site] that is its alone. [Doc.Insert] and [Doc.Delete] edit the text and return
// what to send to the others, who give it to [Doc.Apply]. Operations that come before what they build upon wait; those known
// already do nothing; those that no sound replica can have made are refused.
//
// Positions and lengths count Unicode code points; [Doc.UTF16] and [Doc.Bytes] convert them. docs/textcrdt.md states the
// algorithm and the encodings.
package textcrdt

import (
	"errors"
	"fmt"
	"maps"
)

// Site is the number that a replica writes as, at least 1. Nobody else may ever write as it.
type Site uint32

// ID names an inserted character or a deletion: the Seq-th thing that Site did, from 1. The zero ID is the start of the document.
type ID struct {
	Site Site
	Seq  uint32
}

// String returns "site.seq".
func (id ID) String() string { return fmt.Sprintf("%d.%d", id.Site, id.Seq) }

// Op is an operation: a run of consecutive ids, which inserts N characters or deletes N characters.
type Op struct {
	ID                  // of the first
	Session, Sum uint32 // Sum is the first's; it grows by 1 with each id
	N            int    // ids it takes, at least 1
	Ref          ID     // insert: the character that the first one stands behind; delete: the first target
	Text         string // insert: N code points
	Delete       bool
	Back         bool // delete: the targets' seqs fall
}

// Version says what a replica knows: the last Seq of each site.
type Version map[Site]uint32

// Clone returns a copy.
func (v Version) Clone() Version { return maps.Clone(v) }

// Includes reports whether v knows all that w does.
func (v Version) Includes(w Version) bool {
	for site, seq := range w {
		if v[site] < seq {
			return false
		}
	}
	return true
}

// Edit is a change to the text: at Pos, Deleted code points gave way to Text.
type Edit struct {
	Pos, Deleted int
	Text         string
}

var (
	ErrEarly     = errors.New("textcrdt: builds upon something that is not known yet")
	ErrMalformed = errors.New("textcrdt: malformed")
	ErrFull      = errors.New("textcrdt: too many early operations")
	ErrBase      = errors.New("textcrdt: from before the snapshot that the document began with")
	ErrRange     = errors.New("textcrdt: out of range")
)

// OpError says which of the given operations was refused, and why: Err wraps [ErrEarly], [ErrMalformed] or [ErrFull].
type OpError struct {
	Index int
	Err   error
}

func (e *OpError) Error() string { return fmt.Sprintf("operation %d: %v", e.Index, e.Err) }
func (e *OpError) Unwrap() error { return e.Err }
