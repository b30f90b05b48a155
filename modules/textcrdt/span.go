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
	c.bytes = len(text)
	for i := 0; i < len(text); c.chars++ {
		if text[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		if r == utf8.RuneError && size == 1 {
			return count{}, false
		}
		if size == 4 {
			c.astral++
		}
		i += size
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

// continues reports whether b, which stands right behind s, goes on where s ends, in ids and in text.
func (s *span) continues(b *span) bool {
	return s.seq+s.n == b.seq && s.author == b.author && s.sum+s.n == b.sum && s.session == b.session &&
		s.deleted == b.deleted && s.at+s.size == b.at && s.n+b.n <= maxSpan
}

// extend adds b, which s continues with.
func (s *span) extend(b *span) {
	s.n += b.n
	s.size += b.size
	s.astral += b.astral
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
