package filter

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Type is the type of a field's values: it decides which operators the field has and what they take.
type Type int8

// The types. A time's values are strings by RFC 3339, a uuid's strings of 36 characters; JSON is a jsonb column. An ID is that of a row of
// any entity, kept and ordered as text: its values are integers and strings.
const (
	Int Type = iota
	Float
	Bool
	Time
	String
	UUID
	JSON
	ID
)

var types = [...]struct {
	sql  string // the type that placeholders are cast to, so that Postgres infers it from nothing else
	noun string // as in "must be …" and "is not an operator of …"
}{
	Int:    {"bigint", "an integer"},
	Float:  {"float8", "a number"},
	Bool:   {"boolean", "a boolean"},
	Time:   {"timestamptz", "a time"},
	String: {"text", "a string"},
	UUID:   {"uuid", "a uuid"},
	JSON:   {"jsonb", "a JSON value"},
	ID:     {"text", "an integer or a string"},
}

// Entity declares what clients may filter, sort and embed by.
type Entity struct {
	Name  string    // as in messages
	Table string    // or view; it has the column tenant_id, and that of the key
	Read  auth.Role // who may read its rows; [auth.Nobody]: nobody
	Own   string    // the column of a user's id, for those who reach only rows with theirs; "": everybody reaches all
	// Members, if not zero, is who reaches which of the rows. It goes without Own.
	Members Members
	Key     string // the field that tells rows apart; "" for id
	Search  string // the tsvector column that $search asks; "": there is no $search
	Fields  []Field
}

// Field is a field that clients may filter and sort by.
type Field struct {
	Name     string // what clients call it
	Column   string
	Type     Type
	Nullable bool      // whether the column may be NULL
	Read     auth.Role // who may know its values; [auth.Nobody]: whoever may read the row
	Indexed  bool      // of a JSON field: whether there is the function <table>_<column>_contains, as the procedure json_index makes it
}

// Ref is a reference between two entities: rows of one, seen from a row of the other.
type Ref struct {
	Name   string // what clients call it
	To     *Schema
	Many   bool      // whether it leads to any number of rows, rather than to one or none
	Column string    // of the entity that has the Ref
	Other  string    // the column of To that is equal to it
	Read   auth.Role // who may know it: whoever may read the field behind it
}

// Schema is the fields of an entity, and its references to others. It is immutable once it is linked, and safe for
// concurrent use.
type Schema struct {
	entity   Entity
	fields   []Field
	index    map[string]int // by name
	id       int            // the index of the key; -1 where there is none
	last     []int          // the fields that tell rows apart: any order ends with them
	names    []string       // sorted, of fields and references
	sortable []string       // sorted: the names of all fields but the JSON ones
	refs     []Ref
	refIndex map[string]int
}

var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`)

// NewSchema returns the schema of an entity without references. It panics on a mistake in the declaration: a name or a column
// that is given twice or is not an identifier, an unknown type, no key.
func NewSchema(e Entity) *Schema {
	for _, name := range []string{e.Table, cmp.Or(e.Own, "id"), cmp.Or(e.Search, "id")} {
		if !identifier.MatchString(name) {
			panic(fmt.Sprintf("filter: entity %q, %q: not an identifier", e.Name, name))
		}
	}
	if m := e.Members; !m.IsZero() {
		for _, name := range []string{m.Column, m.Table, m.Group, m.User} {
			if !identifier.MatchString(name) || e.Own != "" {
				panic(fmt.Sprintf("filter: entity %q, %+v: not four identifiers, or not the only rule", e.Name, m))
			}
		}
	}
	for _, f := range e.Fields {
		if !identifier.MatchString(f.Name) || !identifier.MatchString(f.Column) {
			panic(fmt.Sprintf("filter: field %q, column %q: not an identifier", f.Name, f.Column))
		}
	}
	s := newSchema(e)
	if s.id < 0 {
		panic(fmt.Sprintf("filter: no field %q, without which no order is total", e.key()))
	}
	return s
}

func newSchema(e Entity) *Schema {
	s := &Schema{id: -1, entity: e, fields: slices.Clone(e.Fields), index: make(map[string]int, len(e.Fields)), refIndex: map[string]int{}}
	columns := map[string]bool{}
	for i, f := range s.fields {
		_, known := s.index[f.Name]
		switch {
		case known || columns[f.Column]:
			panic(fmt.Sprintf("filter: field %q, column %q: declared twice", f.Name, f.Column))
		case f.Type < 0 || int(f.Type) >= len(types):
			panic(fmt.Sprintf("filter: field %q: unknown type %d", f.Name, f.Type))
		}
		s.index[f.Name] = i
		columns[f.Column] = true
		s.names = append(s.names, f.Name)
		if f.Type != JSON {
			s.sortable = append(s.sortable, f.Name)
		}
	}
	if id, ok := s.index[e.key()]; ok {
		s.id, s.last = id, []int{id}
	}
	slices.Sort(s.names)
	slices.Sort(s.sortable)
	return s
}

func (e *Entity) key() string {
	if e.Key == "" {
		return "id"
	}
	return e.Key
}

// Link adds the entity's references. They are a step of their own because entities refer to each other in circles; it must
// be done before the schema is used. It panics on a mistake as NewSchema does.
func (s *Schema) Link(refs ...Ref) {
	for _, r := range refs {
		_, field := s.index[r.Name]
		_, ref := s.refIndex[r.Name]
		switch {
		case !identifier.MatchString(r.Name) || !identifier.MatchString(r.Column) || !identifier.MatchString(r.Other):
			panic(fmt.Sprintf("filter: entity %q, reference %q: not an identifier", s.entity.Name, r.Name))
		case field || ref:
			panic(fmt.Sprintf("filter: entity %q: the name of the reference %q is taken", s.entity.Name, r.Name))
		}
		s.refIndex[r.Name] = len(s.refs)
		s.refs = append(s.refs, r)
		s.names = append(s.names, r.Name)
	}
	slices.Sort(s.names)
}

// Refs returns the references, in the order in which they were linked.
func (s *Schema) Refs() []Ref { return slices.Clone(s.refs) }

// Entity returns what the schema was made from.
func (s *Schema) Entity() Entity { return s.entity }

// rights is who may know what a query touches, and where it touches what the fewest may.
type rights struct {
	role auth.Role
	path string
}

// nobody is the role that is more than any actor has.
const nobody = auth.Owner + 1

// need notes that the query touches, at the path, what takes the role to know.
func (r *rights) need(role auth.Role, path func() string) {
	if role > r.role {
		r.role, r.path = role, path()
	}
}

// reader returns the role that it takes to read the entity's rows.
func (e *Entity) reader() auth.Role {
	if e.Read == auth.Nobody {
		return nobody
	}
	return e.Read
}

// allowed returns nil if an actor of the role may know all that the query touches, else FORBIDDEN. Who asks must be able
// to read it: by a filter or an order, a value can be found out without being shown.
func (r *rights) allowed(role auth.Role) error {
	switch {
	case role >= r.role:
		return nil
	case r.role == nobody:
		return apperr.New(apperr.Forbidden, "Nobody may read what is asked for at "+r.path)
	}
	return apperr.New(apperr.Forbidden, "This needs the role "+r.role.String()+": "+r.path)
}
