package filter

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of a path in a JSON column.
const (
	maxSegments = 8
	maxSegment  = 64 // bytes
)

// jsonPath reads what is asked of the value at a path in a JSON field.
func (p *parser) jsonPath(field int, path string) error {
	p.rights.need(p.schema.fields[field].Read, p.here)
	segments := strings.Split(path, ".")
	if len(segments) > maxSegments {
		return p.fail("has more than 8 segments after the field")
	}
	for _, s := range segments {
		if s == "" || len(s) > maxSegment {
			return p.fail("has a segment that is empty or longer than 64 bytes")
		}
	}
	v := jsonValue{field, segments}
	return p.valueOf(JSON, pathOperators, pathOperatorNames, func(op *operator) error { return p.jsonCondition(v, op) })
}

// jsonValue is what a path in a JSON field leads to.
type jsonValue struct {
	field int
	path  []string
}

// containing returns the object that has the value at the path, and false if an object with it there is not the only thing that
// has it: digits are positions in arrays, too.
func (v jsonValue) containing(value string) (string, bool) {
	var b strings.Builder
	for _, s := range v.path {
		if strings.Trim(s, "0123456789+- \t\n\v\f\r") == "" {
			return "", false
		}
		quoted, err := jsontext.AppendQuote(nil, s)
		if err != nil {
			return "", false
		}
		b.WriteByte('{')
		b.Write(quoted)
		b.WriteByte(':')
	}
	b.WriteString(value)
	b.WriteString(strings.Repeat("}", len(v.path)))
	return b.String(), true
}

// jsonCondition reads what an operator takes. The operand's type is the one that the value must have.
func (p *parser) jsonCondition(v jsonValue, op *operator) error {
	if err := p.charge(); err != nil {
		return err
	}
	n := node{form: op.form, negated: op.negated, of: v.field}
	var arg any
	var err error
	switch op.form {
	case isNull, isEmpty:
		var yes bool
		yes, err = p.bool()
		n.negated = op.negated == yes
		n.form = map[form]form{isNull: jsonNull, isEmpty: jsonEmpty}[op.form]
	case equal:
		return p.jsonEqual(v, n)
	case less, lessEqual, greater, greaterEqual:
		switch p.dec.PeekKind() {
		case jsontext.KindNumber:
			n.form = jsonLess + op.form - less
			arg, err = p.json()
		case jsontext.KindString:
			n.form = op.form.asText()
			arg, err = p.string()
		default:
			if _, err = p.dec.ReadValue(); err != nil {
				return p.syntax(err)
			}
			err = p.fail("must be a number or a string")
		}
	case in:
		var nulls bool
		arg, nulls, err = p.list(JSON)
		n.form = jsonIn
		if nulls {
			n.form = jsonInOrNull
		}
	case jsonHas:
		arg, err = p.string()
	case like, likeCi:
		n.form = op.form.asText()
		arg, err = p.pattern(op)
	default:
		n.form = op.form.asText()
		arg, err = p.patterns(op)
	}
	if err != nil {
		return err
	}
	return p.emit(n, n.form.pathArgs(v.path, arg)...)
}

// jsonEqual reads a value to compare with. A scalar is asked for by containment, which an index can answer.
func (p *parser) jsonEqual(v jsonValue, n node) error {
	kind := p.dec.PeekKind()
	if kind == jsontext.KindNull {
		if _, err := p.token(); err != nil {
			return err
		}
		n.form = jsonNull
		return p.emit(n, n.form.pathArgs(v.path, nil)...)
	}
	value, err := p.json()
	if err != nil {
		return err
	}
	scalar := kind != jsontext.KindBeginObject && kind != jsontext.KindBeginArray
	if doc, ok := v.containing(value); ok && scalar {
		n.form = jsonContains
		indexed := p.schema.fields[v.field].Indexed && !n.negated
		err := p.emit(n, doc)
		if err == nil && indexed {
			p.probe(p.schema.entity.Table + "_" + p.schema.fields[v.field].Column + "_contains")
		}
		return err
	}
	n.form = jsonEqual
	return p.emit(n, n.form.pathArgs(v.path, value)...)
}

// maxProbes is how many conditions of a filter an index is asked for, each by a statement.
const maxProbes = 4

// probe notes that the function finds the rows of the condition that was added last, by its last argument. Under a negation it does
// not: there the index would not help, and a row that has come to match since the index was asked would be chosen for it.
func (p *parser) probe(function string) {
	if p.negations > 0 || len(p.probes) == maxProbes {
		return
	}
	arg := len(p.args) - 1
	p.probes = append(p.probes, Probe{p.schema, function, p.args[arg], len(p.nodes) - 1, arg})
}

// pathArgs are the arguments of a form, in the order of its template's placeholders.
func (f form) pathArgs(path []string, value any) []any {
	var args []any
	for rest := templates[f]; ; {
		i := strings.IndexAny(rest, "{?")
		switch {
		case i < 0:
			return args
		case rest[i] == '?':
			args = append(args, value)
		case strings.HasPrefix(rest[i:], "{path}"):
			args = append(args, path)
		}
		rest = rest[i+1:]
	}
}
