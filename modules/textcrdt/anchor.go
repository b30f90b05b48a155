package textcrdt

import (
	"fmt"
	"strconv"
	"strings"
)

// Anchor is a place that stays where it is while the text changes: before or behind a character, deleted or not. That of the
// zero ID is the end of the document if Before, else its start.
type Anchor struct {
	ID
	Before bool
}

// String returns "site.seqb" if Before, else "site.seqa".
func (a Anchor) String() string {
	if a.Before {
		return a.ID.String() + "b"
	}
	return a.ID.String() + "a"
}

// MarshalText returns what [Anchor.String] does.
func (a Anchor) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText parses what [Anchor.MarshalText] made, and nothing else. The error wraps [ErrMalformed].
func (a *Anchor) UnmarshalText(b []byte) error {
	text := string(b)
	rest, before := strings.CutSuffix(text, "b")
	site, seq, _ := strings.Cut(strings.TrimSuffix(rest, "a"), ".")
	x, _ := strconv.ParseUint(site, 10, 32)
	y, _ := strconv.ParseUint(seq, 10, 31)
	parsed := Anchor{ID{Site(x), uint32(y)}, before}
	if parsed.String() != text || (x == 0) != (y == 0) {
		return fmt.Errorf("%w: %q is no anchor", ErrMalformed, text)
	}
	*a = parsed
	return nil
}

// Anchor returns the anchor of pos: before the character that is there, or behind the one that precedes it. Positions outside of the text
// count as its start or end.
func (d *Doc) Anchor(pos int, before bool) Anchor {
	pos = min(max(pos, 0), d.Len())
	if !before {
		pos--
	}
	if pos < 0 || pos == d.Len() {
		return Anchor{Before: before}
	}
	off := d.seek(pos)
	return Anchor{d.id(d.span(), off), before}
}

// Resolve returns the position of a; not ok if d does not know its character.
func (d *Doc) Resolve(a Anchor) (pos int, ok bool) {
	if a.ID == (ID{}) {
		if a.Before {
			return d.Len(), true
		}
		return 0, true
	}
	number := d.number(a.Site)
	if number == none {
		return 0, false
	}
	off, ok := d.find(number, a.Seq)
	if !ok {
		return 0, false
	}
	pos = d.position()
	if s := d.span(); !s.deleted {
		pos += off
		if !a.Before {
			pos++
		}
	}
	return pos, true
}
