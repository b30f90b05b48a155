package filter

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
)

// scalar reads a value of the type; null is none.
func (p *parser) scalar(t Type) (any, error) {
	switch t {
	case Int:
		return p.int()
	case Float:
		return p.float()
	case Bool:
		return p.bool()
	case Time:
		return p.time()
	case UUID:
		return p.uuid()
	case JSON:
		return p.json()
	case ID:
		return p.id()
	default:
		return p.string()
	}
}

// list reads a list of values of the type. Nulls are left out of the slice and reported.
func (p *parser) list(t Type) (slice any, nulls bool, err error) {
	switch t {
	case Int:
		return listOf(p, p.int)
	case Float:
		return listOf(p, p.float)
	case Bool:
		return listOf(p, p.bool)
	case Time:
		return listOf(p, p.time)
	case UUID:
		return listOf(p, p.uuid)
	case JSON:
		return listOf(p, p.json)
	case ID:
		return listOf(p, p.id)
	default:
		return listOf(p, p.string)
	}
}

func listOf[T any](p *parser, value func() (T, error)) (slice any, nulls bool, err error) {
	values := []T{}
	err = p.each(func() error {
		if p.dec.PeekKind() == jsontext.KindNull {
			nulls = true
			_, err := p.token()
			return err
		}
		v, err := value()
		values = append(values, v)
		return err
	})
	return values, nulls, err
}

// each reads an array, with value for each of its elements.
func (p *parser) each(value func() error) error {
	if kind, err := p.token(); err != nil {
		return err
	} else if kind != jsontext.KindBeginArray {
		return p.fail("must be an array")
	}
	for n := 0; p.dec.PeekKind() != jsontext.KindEndArray; n++ {
		if err := value(); err != nil {
			return err
		}
		if n == maxValues {
			return p.fail("is past the 1,000 values that a list may have")
		}
	}
	_, err := p.token()
	return err
}

// pattern reads a string and returns the LIKE pattern in which it stands for itself.
func (p *parser) pattern(op *operator) (string, error) {
	s, err := p.text(String)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.Grow(len(op.before) + len(s) + 2 + len(op.after))
	b.WriteString(op.before)
	for _, c := range s {
		if c == '%' || c == '_' || c == '\\' {
			b.WriteByte('\\')
		}
		b.WriteByte(c)
	}
	b.WriteString(op.after)
	return b.String(), nil
}

func (p *parser) patterns(op *operator) ([]string, error) {
	patterns := []string{}
	err := p.each(func() error {
		s, err := p.pattern(op)
		patterns = append(patterns, s)
		return err
	})
	return patterns, err
}

// int takes integer literals only: 1.0 and 1e3 are refused, as they are where ids are read.
func (p *parser) int() (int64, error) {
	raw, err := p.value(jsontext.KindNumber, Int)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseInt(string(raw), 10, 64)
	switch {
	case err == nil:
		return v, nil
	case bytes.ContainsAny(raw, ".eE"):
		return 0, p.fail("must be an integer, without fraction and exponent")
	default:
		return 0, p.fail("must be an integer of 64 bits")
	}
}

func (p *parser) float() (float64, error) {
	raw, err := p.value(jsontext.KindNumber, Float)
	if err != nil {
		return 0, err
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0, p.fail("must be a number that a float of 64 bits can hold")
	}
	return v, nil
}

func (p *parser) bool() (bool, error) {
	kind, err := p.token()
	switch {
	case err != nil:
		return false, err
	case kind != jsontext.KindTrue && kind != jsontext.KindFalse:
		return false, p.fail("must be true or false")
	}
	return kind == jsontext.KindTrue, nil
}

// time takes RFC 3339. Columns keep microseconds, and a finer value could not be compared with them truly: rounded either
// way, it would be on the wrong side of some row for some operator.
func (p *parser) time() (time.Time, error) {
	text, err := p.text(Time)
	if err != nil {
		return time.Time{}, err
	}
	t, ok := ParseTime(text)
	switch {
	case !ok:
		return t, p.fail("must be a time by RFC 3339, like 2030-12-31T23:59:59.999999Z")
	case t.Nanosecond()%1000 != 0:
		return t, p.fail("must be a time in whole microseconds")
	}
	return t, nil
}

// ParseTime reads a time by RFC 3339, section 5.6, strictly, and returns it in UTC. There an offset may have led it out of the
// years 0 to 9999.
func ParseTime(text []byte) (time.Time, bool) {
	var t time.Time
	ok := t.UnmarshalText(text) == nil && strictRFC3339(text)
	return t.UTC(), ok
}

// strictRFC3339 reports whether a text that UnmarshalText takes as a time is one by RFC 3339, section 5.6. It takes hours
// of one digit, a comma for the point, and offsets of any size too (https://go.dev/issue/54580).
func strictRFC3339(text []byte) bool {
	const seconds, offset = len("2006-01-02T15:04:05"), len("07:00")
	if text[len("2006-01-02T1")] == ':' || text[seconds] == ',' {
		return false
	}
	end := text[len(text)-offset:]
	return text[len(text)-1] == 'Z' || string(end[:2]) < "24" && string(end[3:]) < "60"
}

func (p *parser) uuid() (uuid.UUID, error) {
	text, err := p.text(UUID)
	if err != nil {
		return uuid.Nil, err
	}
	u, err := uuid.ParseBytes(text)
	if err != nil || len(text) != 36 {
		return uuid.Nil, p.fail("must be a uuid, like 01890a5d-ac96-774b-bcce-b302099a8057")
	}
	return u, nil
}

// id takes an integer or a string, and returns it as text.
func (p *parser) id() (string, error) {
	if p.dec.PeekKind() == jsontext.KindNumber {
		id, err := p.int()
		return strconv.FormatInt(id, 10), err
	}
	text, err := p.text(ID)
	return string(text), err
}

func (p *parser) string() (string, error) {
	s, err := p.text(String)
	return string(s), err
}

// text reads a string and returns it unquoted, valid until the next string is read; t is for the error's text.
func (p *parser) text(t Type) ([]byte, error) {
	raw, err := p.value(jsontext.KindString, t)
	if err != nil {
		return nil, err
	}
	p.scratch, err = jsontext.AppendUnquote(p.scratch[:0], raw)
	switch {
	case err != nil:
		return nil, p.syntax(err)
	case bytes.IndexByte(p.scratch, 0) >= 0:
		return nil, p.fail("must not contain U+0000")
	}
	return p.scratch, nil
}

// value reads a scalar of the kind; t is for the error's text.
func (p *parser) value(kind jsontext.Kind, t Type) (jsontext.Value, error) {
	if p.dec.PeekKind() != kind {
		if _, err := p.token(); err != nil {
			return nil, err
		}
		return nil, p.fail("must be " + types[t].noun)
	}
	raw, err := p.dec.ReadValue()
	if err != nil {
		return nil, p.syntax(err)
	}
	return raw, nil
}

// json reads any value but null and returns its text.
func (p *parser) json() (string, error) {
	raw, err := p.dec.ReadValue()
	if err != nil {
		return "", p.syntax(err)
	}
	if at, reason := Unstorable(raw); reason != "" {
		return "", apperr.Invalid(apperr.Issue{Path: apperr.Join(p.pathTo(p.dec.StackPointer()), at), Reason: reason})
	}
	return string(raw), nil
}
