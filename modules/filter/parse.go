package filter

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxDepth      = 8
	maxConditions = 200
	maxValues     = 1000
)

// Parse returns the filter that raw describes: a group, an array of groups, or null, which like no bytes at all holds
// for every row. It takes time linear in raw and stops at the first fault, which is INVALID_PARAMS with a path that
// begins with the one given.
func Parse(raw jsontext.Value, s *Schema, path string) (*Filter, error) {
	if len(raw) == 0 {
		return &Filter{schema: s}, nil
	}
	p := newParser(raw, s, path)
	defer p.release()
	if err := p.filters(); err != nil {
		return nil, err
	}
	return &Filter{
		rights: p.rights, schema: s, nodes: slices.Clone(p.nodes), args: slices.Clone(p.args), marked: p.marked, search: p.search,
		probes: p.probes,
	}, nil
}

// parser reads one filter or order. Its methods each read what they are named after and leave the decoder behind it;
// their errors are ready for the client.
type parser struct {
	dec    *jsontext.Decoder // refuses duplicate names and invalid UTF-8
	source bytes.Buffer
	raw    jsontext.Value
	schema *Schema // of the row that is asked about
	path   string  // of raw

	rights     rights
	hops       []int // to-one references that lead to that row from the last row that a node stands for, by index
	hopSchemas []*Schema
	nodes      []node
	args       []any
	marked     bool
	search     string
	probes     []Probe
	negations  int // that what is read stands under
	conditions int
	scratch    []byte // the last string
}

var parsers = sync.Pool{New: func() any { return &parser{dec: jsontext.NewDecoder(&bytes.Buffer{})} }}

func newParser(raw jsontext.Value, s *Schema, path string) *parser {
	p := parsers.Get().(*parser)
	p.source = *bytes.NewBuffer(raw)
	p.dec.Reset(&p.source)
	p.raw, p.schema, p.path = raw, s, path
	return p
}

// release gives the parser back without what belongs to the caller.
func (p *parser) release() {
	if cap(p.scratch) > 1<<12 {
		p.scratch = nil
	}
	clear(p.args)
	*p = parser{dec: p.dec, nodes: p.nodes[:0], args: p.args[:0], hops: p.hops[:0], hopSchemas: p.hopSchemas[:0], scratch: p.scratch}
	p.dec.Reset(&p.source)
	parsers.Put(p)
}

func (p *parser) filters() (err error) {
	switch p.dec.PeekKind() {
	case jsontext.KindBeginObject:
		err = p.group(false, 1)
	case jsontext.KindBeginArray:
		err = p.groups(anyOf, 1)
	default:
		var kind jsontext.Kind
		if kind, err = p.token(); err == nil && kind != jsontext.KindNull {
			err = p.fail("must be an object or an array of objects")
		}
	}
	if err != nil {
		return err
	}
	return p.end()
}

// groups reads an array of groups.
func (p *parser) groups(f form, depth int) error {
	if err := p.open(jsontext.KindBeginArray, depth, "must be an array of objects"); err != nil {
		return err
	}
	at := len(p.nodes)
	p.nodes = append(p.nodes, node{form: f})
	for p.dec.PeekKind() != jsontext.KindEndArray {
		if err := p.group(false, depth+1); err != nil {
			return err
		}
	}
	return p.close(at)
}

func (p *parser) group(negated bool, depth int) error {
	if err := p.open(jsontext.KindBeginObject, depth, "must be an object"); err != nil {
		return err
	}
	if negated {
		p.negations++
		defer func() { p.negations-- }()
	}
	at := len(p.nodes)
	p.nodes = append(p.nodes, node{form: allOf, negated: negated})
	for p.dec.PeekKind() == jsontext.KindString {
		name, err := p.text(String)
		if err != nil {
			return err
		}
		switch string(name) {
		case "$and":
			err = p.groups(allOf, depth+1)
		case "$or":
			err = p.groups(anyOf, depth+1)
		case "$not":
			err = p.group(true, depth+1)
		case "$search":
			err = p.searchWords(depth == 1 && p.nodes[0].form == allOf)
		default:
			err = p.member(name, depth)
		}
		if err != nil {
			return err
		}
	}
	return p.close(at)
}

// open reads the begin of a group or of an array of groups.
func (p *parser) open(kind jsontext.Kind, depth int, must string) error {
	got, err := p.token()
	switch {
	case err != nil:
		return err
	case got != kind:
		return p.fail(must)
	case depth > maxDepth:
		return p.fail("is nested deeper than 8 levels")
	}
	return nil
}

// close reads the end of what began with node at. If what is empty were free, an array of empty groups could be as long
// as the request.
func (p *parser) close(at int) error {
	if _, err := p.token(); err != nil {
		return err
	}
	p.nodes[at].n = len(p.nodes) - at - 1
	if p.nodes[at].n == 0 {
		return p.charge()
	}
	return nil
}

// charge takes one condition off the budget.
func (p *parser) charge() error {
	p.conditions++
	if p.conditions > maxConditions {
		return p.fail("is past the 200 conditions that a filter may have")
	}
	return nil
}

// member reads the value of the member of a group with the name, which has been read: of a field, a reference, a path through
// references, or a path in a JSON column.
func (p *parser) member(name []byte, depth int) error {
	if i, ok := p.schema.index[string(name)]; ok {
		return p.field(i)
	}
	if i, ok := p.schema.refIndex[string(name)]; ok {
		return p.reference(i, depth)
	}
	if bytes.HasPrefix(name, []byte("$")) {
		return p.unknown("is not an operator of a group", string(name), groupOperators)
	}
	if first, rest, dotted := strings.Cut(string(name), "."); dotted {
		return p.dotted(first, rest, depth)
	}
	return p.unknown("is not a field", string(name), p.schema.names)
}

// field reads what is asked of a field.
func (p *parser) field(i int) error {
	f := &p.schema.fields[i]
	p.rights.need(f.Read, p.here)
	t := f.Type
	return p.valueOf(t, operators[t], operatorNames[t], func(op *operator) error { return p.condition(i, t, op) })
}

// valueOf reads what is asked of a value of the type: a scalar, null or an object of operators, with condition for what each
// of them takes.
func (p *parser) valueOf(t Type, known map[string]*operator, names []string, condition func(*operator) error) error {
	switch p.dec.PeekKind() {
	case jsontext.KindBeginObject:
		return p.operators(known, names, types[t].noun, condition)
	case jsontext.KindBeginArray:
		if _, err := p.token(); err != nil {
			return err
		}
		return p.fail("must be " + types[t].noun + ", null or an object of operators")
	default:
		return condition(known["$eq"])
	}
}

// here is the path of what was read last.
func (p *parser) here() string { return p.pathTo(p.dec.StackPointer()) }

var groupOperators = []string{"$and", "$not", "$or", "$search"}

// operators reads an object of operators, with condition for what each of them takes.
func (p *parser) operators(known map[string]*operator, names []string, noun string, condition func(*operator) error) error {
	if _, err := p.token(); err != nil {
		return err
	}
	for p.dec.PeekKind() == jsontext.KindString {
		name, err := p.text(String)
		if err != nil {
			return err
		}
		op, ok := known[string(name)]
		if !ok {
			return p.unknown("is not an operator of "+noun, string(name), names)
		}
		if err := condition(op); err != nil {
			return err
		}
	}
	_, err := p.token()
	return err
}

// condition reads what an operator takes.
func (p *parser) condition(field int, t Type, op *operator) error {
	if err := p.charge(); err != nil {
		return err
	}
	n := node{form: op.form, negated: op.negated, of: field}
	var arg any
	var err error
	switch op.form {
	case isNull, isEmpty:
		var yes bool
		yes, err = p.bool()
		n.negated = op.negated == yes
	case equal:
		if p.dec.PeekKind() == jsontext.KindNull {
			n.form = isNull
			_, err = p.token()
		} else {
			arg, err = p.scalar(t)
		}
	case less, lessEqual, greater, greaterEqual:
		arg, err = p.scalar(t)
	case in:
		var nulls bool
		arg, nulls, err = p.list(t)
		if nulls {
			n.form = inOrNull
		}
	case like, likeCi:
		arg, err = p.pattern(op)
	case jsonHas:
		var key string
		key, err = p.string()
		if err == nil {
			return p.emit(n, n.form.pathArgs([]string{}, key)...)
		}
	default:
		arg, err = p.patterns(op)
	}
	switch {
	case err != nil:
		return err
	case arg == nil:
		return p.emit(n)
	}
	return p.emit(n, arg)
}

// emit adds a condition on the row that is asked about. To-one references that lead to it are steps before it; a condition that
// holds for NULL holds exactly if no row is there for which it does not.
func (p *parser) emit(n node, args ...any) error {
	if len(p.hops) > 0 {
		outer := n.negated
		if n.form.holdsForNull() {
			outer, n.negated = !outer, true
		} else {
			n.negated = false
		}
		for i, hop := range p.hops {
			if err := p.step(p.hopSchemas[i], node{form: exists, negated: outer, of: hop, n: len(p.hops) - i}); err != nil {
				return err
			}
			outer = false
		}
	}
	n.args = len(args)
	p.nodes = append(p.nodes, n)
	p.args = append(p.args, args...)
	return nil
}

// step adds a step through a reference of the schema.
func (p *parser) step(s *Schema, n node) error {
	if err := p.charge(); err != nil {
		return err
	}
	if to := s.refs[n.of].To; to.entity.Held(true) {
		n.args = 1
		p.args = append(p.args, self{&to.entity})
		p.marked = true
	}
	p.nodes = append(p.nodes, n)
	return nil
}

// token reads the next token and returns its kind.
func (p *parser) token() (jsontext.Kind, error) {
	t, err := p.dec.ReadToken()
	if err != nil {
		return 0, p.syntax(err)
	}
	return t.Kind(), nil
}

// end makes sure that nothing follows.
func (p *parser) end() error {
	if _, err := p.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return p.syntax(err)
	}
	return nil
}
