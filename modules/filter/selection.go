package filter

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Bounds of what is embedded in a row.
const (
	maxIncludes         = 20   // in one selection, at all levels
	DefaultIncludeLimit = 100  // rows of a to-many reference, where none is given
	MaxIncludeLimit     = 1000 // rows of a to-many reference, for each row that has it
)

// Selection is which fields of a row a client asks for, and which referenced rows in it. The nil Selection is all that the
// actor may read.
type Selection struct {
	rights
	Fields   []Field // nil: all that the actor may read
	Includes []Include
}

// Include is a reference to embed.
type Include struct {
	Ref
	Selection *Selection // of each referenced row
	Filter    *Filter    // of a to-many reference: nil for all rows
	Order     *Order     // likewise: nil for by id
	Limit     int64      // likewise: how many rows at most, for each row that has the reference
}

// ParseSelection returns the selection that fields (an array of names) and include (an array of references' names, or an object
// with options under them) describe; null or no bytes stand for none. With neither it is nil. Faults are INVALID_PARAMS at
// path.fields and path.include.
func ParseSelection(fields, include jsontext.Value, s *Schema, path string) (*Selection, error) {
	if absent(fields) && absent(include) {
		return nil, nil
	}
	var budget int
	sel := &Selection{}
	if err := sel.parseFields(fields, s, apperr.Join(path, "fields")); err != nil {
		return nil, err
	}
	return sel, sel.parseInclude(include, s, apperr.Join(path, "include"), 1, &budget)
}

func absent(raw jsontext.Value) bool { return len(raw) == 0 || raw.Kind() == jsontext.KindNull }

func (sel *Selection) parseFields(raw jsontext.Value, s *Schema, path string) error {
	if absent(raw) {
		return nil
	}
	p := newParser(raw, s, path)
	defer p.release()
	seen := map[string]bool{}
	sel.Fields = []Field{}
	err := p.each(func() error {
		name, err := p.string()
		if err != nil {
			return err
		}
		i, ok := s.index[name]
		switch {
		case !ok:
			return p.unknown("is not a field", name, s.fieldNames())
		case seen[name]:
			return p.fail("is given twice")
		}
		seen[name] = true
		sel.need(s.fields[i].Read, p.here)
		sel.Fields = append(sel.Fields, s.fields[i])
		return nil
	})
	if err != nil {
		return err
	}
	return p.end()
}

func (s *Schema) fieldNames() []string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.Name
	}
	return names
}

func (s *Schema) refNames() []string {
	names := make([]string, len(s.refs))
	for i, r := range s.refs {
		names[i] = r.Name
	}
	return names
}

func (sel *Selection) parseInclude(raw jsontext.Value, s *Schema, path string, depth int, budget *int) error {
	if absent(raw) {
		return nil
	}
	p := newParser(raw, s, path)
	defer p.release()
	var err error
	switch p.dec.PeekKind() {
	case jsontext.KindBeginArray:
		err = p.each(func() error {
			name, err := p.string()
			if err != nil {
				return err
			}
			return p.include(sel, name, depth, budget, false)
		})
	case jsontext.KindBeginObject:
		if _, err = p.token(); err != nil {
			break
		}
		for err == nil && p.dec.PeekKind() == jsontext.KindString {
			var name string
			if name, err = p.string(); err == nil {
				err = p.include(sel, name, depth, budget, true)
			}
		}
		if err == nil {
			_, err = p.token()
		}
	default:
		if _, err = p.token(); err == nil {
			err = p.fail("must be an array of names, or an object")
		}
	}
	if err != nil {
		return err
	}
	return p.end()
}

// include adds the reference of the name, which has been read, with the options that follow it.
func (p *parser) include(sel *Selection, name string, depth int, budget *int, options bool) error {
	i, ok := p.schema.refIndex[name]
	if !ok {
		return p.unknown("is not a reference", name, p.schema.refNames())
	}
	for _, other := range sel.Includes {
		if other.Name == name {
			return p.fail("is given twice")
		}
	}
	*budget++
	switch {
	case *budget > maxIncludes:
		return p.fail("is past the 20 references that can be embedded")
	case depth > maxDepth:
		return p.fail("is nested deeper than 8 levels")
	}
	r := p.schema.refs[i]
	sel.need(r.Read, p.here)
	sel.need(r.To.entity.reader(), p.here)
	in := Include{Ref: r, Selection: &Selection{}, Limit: DefaultIncludeLimit}
	if options {
		if err := p.includeOptions(&in, depth, budget); err != nil {
			return err
		}
	}
	sel.Includes = append(sel.Includes, in)
	for _, inner := range []rights{in.Selection.rights, in.Filter.asked(), in.Order.asked()} {
		sel.need(inner.role, func() string { return inner.path })
	}
	return nil
}

func (f *Filter) asked() rights {
	if f == nil {
		return rights{}
	}
	return f.rights
}

func (o *Order) asked() rights {
	if o == nil {
		return rights{}
	}
	return o.rights
}

var (
	toOneOptions  = []string{"fields", "include"}
	toManyOptions = []string{"fields", "filters", "include", "limit", "order_bys"}
)

func (p *parser) includeOptions(in *Include, depth int, budget *int) error {
	known := toOneOptions
	if in.Many {
		known = toManyOptions
	}
	kind, err := p.token()
	switch {
	case err != nil:
		return err
	case kind == jsontext.KindNull:
		return nil
	case kind != jsontext.KindBeginObject:
		return p.fail("must be an object")
	}
	for p.dec.PeekKind() == jsontext.KindString {
		name, err := p.string()
		if err != nil {
			return err
		}
		path := p.here()
		raw, err := p.dec.ReadValue()
		if err != nil {
			return p.syntax(err)
		}
		raw = raw.Clone() // the decoder's until it is used again
		switch {
		case name == "fields":
			err = in.Selection.parseFields(raw, in.To, path)
		case name == "include":
			err = in.Selection.parseInclude(raw, in.To, path, depth+1, budget)
		case name == "filters" && in.Many:
			in.Filter, err = Parse(raw, in.To, path)
		case name == "order_bys" && in.Many:
			in.Order, err = ParseOrder(raw, in.To, path)
		case name == "limit" && in.Many:
			in.Limit, err = parseLimit(raw, path)
		default:
			return p.unknown("is not an option of this reference", name, known)
		}
		if err != nil {
			return err
		}
	}
	_, err = p.token()
	return err
}

func parseLimit(raw jsontext.Value, path string) (int64, error) {
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < 0 || n > MaxIncludeLimit {
		return 0, apperr.Invalid(apperr.Issue{Path: path, Reason: "must be an integer from 0 to 1000"})
	}
	return n, nil
}

// Rows is the most rows that one row with the selection can bring, itself counted.
func (sel *Selection) Rows() int64 {
	n := int64(1)
	if sel == nil {
		return n
	}
	for _, in := range sel.Includes {
		rows := in.Selection.Rows()
		if in.Many {
			rows *= in.Limit
		}
		n = min(n+rows, maxRows)
	}
	return n
}

// maxRows keeps Rows from overflowing.
const maxRows = 1 << 40

// Allowed is as for filters; the nil Selection asks for nothing special.
func (sel *Selection) Allowed(role auth.Role) error {
	if sel == nil {
		return nil
	}
	return sel.allowed(role)
}
