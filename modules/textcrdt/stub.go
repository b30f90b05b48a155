package textcrdt

// Doc is a replica of a text. It is not safe for concurrent use.
type Doc struct{}

// New returns an empty document that writes as site, in a session that is at least the given one. Site 0 only applies.
func New(site Site, session uint32) *Doc { panic("soon") }

// Load returns the document of a snapshot; malformed ones are refused with [ErrMalformed].
func Load(site Site, session uint32, snapshot []byte) (*Doc, error) { panic("soon") }

// Insert puts text at pos and returns the operation, none if text is empty. The error is [ErrRange] if pos is outside of the
// text or site may not write, [ErrMalformed] if text is not valid UTF-8.
func (d *Doc) Insert(pos int, text string) ([]Op, error) { panic("soon") }

// Delete removes n characters from pos on and returns the operations.
func (d *Doc) Delete(pos, n int) ([]Op, error) { panic("soon") }

// Check returns nil if [Doc.Apply] would take all of ops now, with none to wait and none to refuse, else an *[OpError] of the
// first that it would not. It changes nothing.
func (d *Doc) Check(ops []Op) error { panic("soon") }

// Apply applies operations of others (or of this site, from before a crash). Early ones wait until what they miss has come. If one
// is refused, it returns an *[OpError] and leaves the rest alone; what came before it stays applied. changed, if not nil, is told
// what happens to the text, in this order; it must not use d.
func (d *Doc) Apply(ops []Op, changed func(Edit)) error { panic("soon") }

// Len returns the number of characters.
func (d *Doc) Len() int { panic("soon") }

// String returns the text.
func (d *Doc) String() string { panic("soon") }

// AppendText appends the characters in [from, to) to b.
func (d *Doc) AppendText(b []byte, from, to int) []byte { panic("soon") }

// Version returns what d knows.
func (d *Doc) Version() Version { panic("soon") }

// Base returns the version from which on d knows operations, rather than their outcome alone.
func (d *Doc) Base() Version { panic("soon") }

// Clock returns the greatest sum that d has seen.
func (d *Doc) Clock() uint32 { panic("soon") }

// Early returns the number of operations that wait.
func (d *Doc) Early() int { panic("soon") }

// Operations returns what d knows and since does not, in an order in which none is early, [ErrBase] if since does not include [Doc.Base].
func (d *Doc) Operations(since Version) ([]Op, error) { panic("soon") }

// AppendSnapshot appends the document's canonical encoding to b: equal for all replicas that know the same operations and have
// purged the same tombstones. Early operations are not in it.
func (d *Doc) AppendSnapshot(b []byte) []byte { panic("soon") }

// AppendOps appends the encoding of ops to b. Each site's must follow one another without a gap, as those of [Doc.Operations]
// and of one replica's successive edits do; it panics if they do not.
func AppendOps(b []byte, ops []Op) []byte { panic("soon") }

// DecodeOps decodes what [AppendOps] made, packed or not. The error wraps [ErrMalformed].
func DecodeOps(b []byte) ([]Op, error) { panic("soon") }

// Pack returns an encoding of this package deflated, Unpack inflated; what is so already stays as it is. The error wraps [ErrMalformed].
func Pack(b []byte) ([]byte, error)   { panic("soon") }
func Unpack(b []byte) ([]byte, error) { panic("soon") }

// UTF16 returns how many UTF-16 units, and Bytes how many UTF-8 bytes, the first pos characters take; FromUTF16 and FromBytes
// return how many characters are whole in the first off. What is outside of the text counts as its start or end.
func (d *Doc) UTF16(pos int) int     { panic("soon") }
func (d *Doc) FromUTF16(off int) int { panic("soon") }
func (d *Doc) Bytes(pos int) int     { panic("soon") }
func (d *Doc) FromBytes(off int) int { panic("soon") }

// Anchor is a place that stays where it is while the text changes: before or behind a character, deleted or not. That of the
// zero ID is the end of the document if Before, else its start.
type Anchor struct {
	ID
	Before bool
}

// MarshalText returns "site.seqb" if Before, else "site.seqa".
func (a Anchor) MarshalText() ([]byte, error) { panic("soon") }

// UnmarshalText parses what MarshalText made.
func (a *Anchor) UnmarshalText(b []byte) error { panic("soon") }

// Anchor returns the anchor of pos: before the character that is there, or behind the one that precedes it.
func (d *Doc) Anchor(pos int, before bool) Anchor { panic("soon") }

// Resolve returns where a is now; not ok if d does not know its character.
func (d *Doc) Resolve(a Anchor) (pos int, ok bool) { panic("soon") }
