package textcrdt

import "unicode/utf8"

const (
	none    = ^uint32(0) // no index
	bound   = 1<<31 - 1  // of seqs and sums
	maxSpan = 1024       // characters in a span, so that cutting one is cheap; tombstones of a snapshot may be longer
)

// span is a run of characters of one author and session, with consecutive seqs and sums, all of them deleted or none.
type span struct {
	author   uint32 // index into tree.authors
	session  uint32
	seq, sum uint32 // of the first character
	n        uint32 // characters
	at, size uint32 // text: offset into its author's (none in a tombstone of the snapshot), bytes
	astral   uint16 // characters outside of the BMP
	deleted  bool
}

// count measures text. Besides characters and bytes it has the characters that take two UTF-16 units rather than one.
type count struct{ chars, bytes, astral int }

func (c *count) add(b count) { c.chars += b.chars; c.bytes += b.bytes; c.astral += b.astral }
func (c *count) sub(b count) { c.chars -= b.chars; c.bytes -= b.bytes; c.astral -= b.astral }

// measure returns the count of text; not ok if it is not valid UTF-8.
func measure(text string) (c count, ok bool) {
	if len(text) == 1 && text[0] < utf8.RuneSelf {
		return count{chars: 1, bytes: 1}, true
	}
	if !utf8.ValidString(text) {
		return count{}, false
	}
	c = count{chars: utf8.RuneCountInString(text), bytes: len(text)}
	if c.chars < c.bytes {
		for i := range len(text) {
			if text[i] >= 0xf0 {
				c.astral++
			}
		}
	}
	return c, true
}

// prefix returns how many bytes the first n characters of valid text take, and how many of them are outside of the BMP.
func prefix[T string | []byte](text T, n int) (bytes, astral int) {
	for ; n > 0; n-- {
		switch c := text[bytes]; {
		case c < 0x80:
			bytes++
		case c < 0xe0:
			bytes += 2
		case c < 0xf0:
			bytes += 3
		default:
			bytes += 4
			astral++
		}
	}
	return bytes, astral
}

// count returns what s contributes to the text.
func (s *span) count() count {
	if s.deleted {
		return count{}
	}
	return count{int(s.n), int(s.size), int(s.astral)}
}

// chars returns how many characters s contributes to the text.
func (s *span) chars() int {
	if s.deleted {
		return 0
	}
	return int(s.n)
}

// has reports whether s contains the author's character seq.
func (s *span) has(author, seq uint32) bool { return s.author == author && seq-s.seq < s.n }

// precedes reports whether the ids of b go on where those of s end.
func (s *span) precedes(b *span) bool {
	return s.seq+s.n == b.seq && s.author == b.author && s.sum+s.n == b.sum && s.session == b.session
}

// adjoins reports whether b, which stands right behind s, goes on where s ends, in ids and in text.
func (s *span) adjoins(b *span) bool { return s.precedes(b) && s.at+s.size == b.at }

// continues reports whether s and b, which stands right behind it, can be one span.
func (s *span) continues(b *span) bool {
	return s.adjoins(b) && s.deleted == b.deleted && s.n+b.n <= maxSpan
}

// takesFirst reports whether s is a tombstone that can take the first k characters of b, which stands right behind it; takesLast, whether
// s can take the last k of b, which stands right ahead.
func (s *span) takesFirst(b *span, k int) bool {
	return s.deleted && s.adjoins(b) && int(s.n)+k <= maxSpan
}

func (s *span) takesLast(b *span, k int) bool {
	return s.deleted && b.adjoins(s) && int(s.n)+k <= maxSpan
}

// extend adds what c measures, drop takes it away.
func (s *span) extend(c count) {
	s.n += uint32(c.chars)
	s.size += uint32(c.bytes)
	s.astral += uint16(c.astral)
}

func (s *span) drop(c count) {
	s.n -= uint32(c.chars)
	s.size -= uint32(c.bytes)
	s.astral -= uint16(c.astral)
}

// vector orders characters: a replica puts a new one right behind its origin, then past all with greater vectors. The paper's last
// part, the seq, decides nothing, because the sums of a site grow.
type vector struct {
	session, sum uint32
	site         Site
}

func (v vector) less(w vector) bool {
	if v.session != w.session {
		return v.session < w.session
	}
	if v.sum != w.sum {
		return v.sum < w.sum
	}
	return v.site < w.site
}
