package filter

import "slices"

// The bounds of queries, for those who describe them.
const (
	MaxDepth      = maxDepth      // levels of a filter
	MaxConditions = maxConditions // operators in a filter
	MaxValues     = maxValues     // in a list in a filter
	MaxKeys       = maxKeys       // of an order
	MaxGroups     = maxGroups     // values to group by
	MaxAggregates = maxAggregates
)

// Name is the regular expression of the names that an aggregation gives.
var Name = identifier.String()

// Operand is what an operator takes.
type Operand int8

// The operands. Null stands for NULL where it is taken.
const (
	OneValue Operand = iota // a value of the field's type
	OneOrNull
	ManyOrNull // an array of values of the field's type, and null
	OneText    // a string
	ManyTexts  // an array of strings
	Flag       // true or false
	Ordered    // a number or a string
)

// Operator is an operator of a type: {"title": {"$contains": …}}.
type Operator struct {
	Name  string
	Takes Operand
}

// Operators returns the operators that fields of the type have, in the order of their names.
func (t Type) Operators() []Operator {
	ops := make([]Operator, len(operatorNames[t]))
	for i, name := range operatorNames[t] {
		ops[i] = Operator{name, operators[t][name].form.operand()}
	}
	return ops
}

func (f form) operand() Operand {
	switch f {
	case equal:
		return OneOrNull
	case in:
		return ManyOrNull
	case isNull, isEmpty:
		return Flag
	case like, likeCi, jsonHas:
		return OneText
	case likeAny, likeAll, likeAnyCi, likeAllCi:
		return ManyTexts
	default:
		return OneValue
	}
}

// PathOperators returns the operators of what a path in a JSON field leads to, in the order of their names. The field's type is
// JSON, and of it the operand decides.
func PathOperators() []Operator {
	ops := make([]Operator, len(pathOperatorNames))
	for i, name := range pathOperatorNames {
		ops[i] = Operator{name, pathOperators[name].form.operand()}
		if ops[i].Takes == OneValue {
			ops[i].Takes = Ordered
		}
	}
	return ops
}

// Function is an aggregate function.
type Function struct {
	Name  string
	Takes []Type // of field
}

// Functions returns the aggregate functions, in the order of their names.
func Functions() []Function {
	known := make([]Function, len(functionNames))
	for i, name := range functionNames {
		known[i] = Function{name, functions[name].takes}
		for t := range Type(len(types)) {
			if functions[name].takes == nil && t.Sortable() {
				known[i].Takes = append(known[i].Takes, t)
			}
		}
	}
	return known
}

// Units returns the units of time that times can be grouped by.
func Units() []string { return slices.Clone(units) }

// Sortable tells whether rows can be sorted by fields of the type.
func (t Type) Sortable() bool { return t != JSON }
