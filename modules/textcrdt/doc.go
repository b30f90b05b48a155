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
	"slices"
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

// Doc is a replica of a text. It is not safe for concurrent use.
//
// The characters stand in document order, tombstones among them, in runs (see [span]) in a B+tree. Each author's characters are found by
// their seqs through its index; what each author did is remembered in runs, too.
type Doc struct {
	tree
	own     uint32 // author that edits here, none if nobody
	numbers map[Site]uint32
	recent  int    // author looked for last
	session uint32 // of the next edit
	seen    uint32 // greatest session seen
	clock   uint32 // greatest sum seen
	early   []Op   // that wait, by sum
	waiting int    // bytes of their texts
}

// New returns an empty document that writes as site, in a session that is at least the given one. Site 0 only applies.
func New(site Site, session uint32) *Doc {
	d := &Doc{tree: newTree(), own: none, numbers: map[Site]uint32{}, session: session}
	if site != 0 {
		d.own = d.author(site)
	}
	return d
}

// number returns the number of the author that writes as site, none if there is none.
func (d *Doc) number(site Site) uint32 {
	if d.recent < len(d.authors) && d.authors[d.recent].site == site {
		return uint32(d.recent)
	}
	number, ok := d.numbers[site]
	if !ok {
		return none
	}
	d.recent = int(number)
	return number
}

// author is number, but makes an author if there is none.
func (d *Doc) author(site Site) uint32 {
	number := d.number(site)
	if number == none {
		number = uint32(len(d.authors))
		d.authors = append(d.authors, author{site: site})
		d.numbers[site] = number
	}
	return number
}

// Runs returns how many runs of characters the replica has room for, deleted ones among them, which is what it takes of memory beside the text:
// about 50 bytes each. It has at least a third as many.
func (d *Doc) Runs() int { return len(d.leaves) * fan }

// Len returns the number of characters.
func (d *Doc) Len() int { return d.total.chars }

// String returns the text.
func (d *Doc) String() string { return string(d.AppendText(nil, 0, d.Len())) }

// AppendText appends the characters in [from, to) to b.
func (d *Doc) AppendText(b []byte, from, to int) []byte {
	from, to = max(from, 0), min(to, d.Len())
	if from >= to {
		return b
	}
	b = slices.Grow(b, d.Bytes(to)-d.Bytes(from))
	off := d.seek(from)
	for at, i := d.cur.leaf, d.cur.i; from < to; at, i = d.leaves[at].next, 0 {
		l := &d.leaves[at]
		for ; i < int(l.n) && from < to; i++ {
			s := l.spans[i]
			if s.deleted {
				continue
			}
			n := min(int(s.n)-off, to-from)
			b = append(b, d.text(d.middle(s, off, n))...)
			from += n
			off = 0
		}
	}
	return b
}

// Version returns what d knows.
func (d *Doc) Version() Version {
	return d.version(func(a *author) uint32 { return a.last })
}

// Base returns the version from which on d knows operations, rather than their outcome alone.
func (d *Doc) Base() Version {
	return d.version(func(a *author) uint32 { return a.base })
}

func (d *Doc) version(seq func(*author) uint32) Version {
	v := make(Version, len(d.authors))
	for i := range d.authors {
		if a := &d.authors[i]; seq(a) > 0 {
			v[a.site] = seq(a)
		}
	}
	return v
}

// Clock returns the greatest sum that d has seen.
func (d *Doc) Clock() uint32 { return d.clock }

// Session returns the greatest session that d has seen or was given, in which it does its next edit.
func (d *Doc) Session() uint32 { return max(d.session, d.seen) }

// Early returns the number of operations that wait.
func (d *Doc) Early() int { return len(d.early) }

// Edit is a change to the text: at Pos, Deleted code points gave way to Text.
type Edit struct {
	Pos, Deleted int
	Text         string
}

// The kinds of errors; what is returned wraps one of them and says more.
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
