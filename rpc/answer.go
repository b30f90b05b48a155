package rpc

import (
	"context"
	"reflect"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// How rows are answered. Most often all of a row is, by the plan of its type; a row of which the actor may not see all, or did not
// ask for all, or which has others in it, is a record.

// row is an entity's row.
type row[E any] struct {
	all    *E
	record *store.Record
}

// rows are an entity's rows.
type rows[E any] struct {
	all     []E
	records []store.Record // if all is nil
}

// groups is the answer of an aggregation.
type groups struct {
	Data groupRows `json:"data"`
	More bool      `json:"more"`
}

type groupRows store.Groups

func (n entity[E, K]) row(tx *store.Tx, e E) row[E] {
	if !n.repo.Hides(tx.Actor.Role) {
		return row[E]{all: &e}
	}
	return row[E]{record: &store.Record{Row: reflect.ValueOf(&e).Elem(), Fields: n.repo.Visible(tx.Actor.Role)}}
}

func (n entity[E, K]) rows(tx *store.Tx, all []E) rows[E] {
	if !n.repo.Hides(tx.Actor.Role) {
		return rows[E]{all: all}
	}
	set, records := n.repo.Visible(tx.Actor.Role), make([]store.Record, len(all))
	for i := range all {
		records[i] = store.Record{Row: reflect.ValueOf(&all[i]).Elem(), Fields: set}
	}
	return rows[E]{records: records}
}

// conflict shows the row that an error of the repository holds as the actor may see it.
func (n entity[E, K]) conflict(tx *store.Tx, err error) error {
	e := apperr.From(err)
	if e == nil || e.Kind != apperr.Conflict {
		return err
	}
	if current, ok := e.Data["current"].(E); ok {
		return e.With("current", n.row(tx, current))
	}
	return err
}

// AppendJSON implements jsonrpc.Appender.
func (r row[E]) AppendJSON(b []byte) ([]byte, error) {
	if r.record != nil {
		return newWritten(b).record(b, r.record)
	}
	return jsonrpc.AppendJSON(b, r.all)
}

// AppendJSON implements jsonrpc.Appender.
func (r rows[E]) AppendJSON(b []byte) ([]byte, error) {
	if r.all != nil {
		return jsonrpc.AppendJSON(b, &r.all)
	}
	return newWritten(b).records(b, r.records)
}

// written is what has been written so far: how the field sets are, and where rows are that others refer to, too.
//
// Rows that others refer to are read once and written for each of them, so the size of what is written is bounded here, too.
type written struct {
	start   int
	members map[*store.FieldSet]jsonrpc.Members
	ones    map[*store.Record][2]int
}

// maxWritten bounds what the records of an answer take, in bytes.
const maxWritten = 64 << 20

var errWritten = apperr.Invalid(apperr.Issue{Path: "params", Reason: "asks for too much: the answer takes more than 64 MiB"})

func newWritten(b []byte) written {
	return written{len(b), map[*store.FieldSet]jsonrpc.Members{}, map[*store.Record][2]int{}}
}

func (w written) full(b []byte) bool { return len(b)-w.start > maxWritten }

func (w written) records(b []byte, records []store.Record) ([]byte, error) {
	b = append(b, '[')
	var err error
	for i := range records {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = w.record(b, &records[i]); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

func (w written) record(b []byte, r *store.Record) ([]byte, error) {
	if w.full(b) {
		return b, errWritten
	}
	members, ok := w.members[r.Fields]
	if !ok {
		members = jsonrpc.MembersOf(r.Fields.Type, r.Fields.Names)
		w.members[r.Fields] = members
	}
	open := len(b)
	b, err := members.Append(append(b, '{'), r.Row)
	for i := range r.Refs {
		if err != nil {
			return b, err
		}
		ref := &r.Refs[i]
		b = append(append(append(b, '"'), ref.Name...), `":`...)
		switch {
		case ref.Many:
			b, err = w.records(b, ref.Rows)
		case ref.One == nil:
			b = append(b, "null"...)
		default:
			b, err = w.one(b, ref.One)
		}
		b = append(b, ',')
	}
	if len(b) == open+1 {
		return append(b, '}'), err
	}
	b[len(b)-1] = '}' // instead of the last comma
	return b, err
}

// one writes a referenced row, which is written once and copied for the others that refer to it.
func (w written) one(b []byte, r *store.Record) ([]byte, error) {
	if at, ok := w.ones[r]; ok {
		if w.full(b) {
			return b, errWritten
		}
		return append(b, b[at[0]:at[1]]...), nil
	}
	start := len(b)
	b, err := w.record(b, r)
	w.ones[r] = [2]int{start, len(b)}
	return b, err
}

// chargeCopies adds to the rows of the request those that are written more often than they were read.
func chargeCopies(ctx context.Context, records []store.Record) {
	sizes := map[*store.Record]int{} // of referenced rows, with what is in them
	var size func(r *store.Record) int
	copies := 0
	size = func(r *store.Record) int {
		n := 1
		for i := range r.Refs {
			ref := &r.Refs[i]
			for j := range ref.Rows {
				n += size(&ref.Rows[j])
			}
			if ref.One == nil {
				continue
			}
			of, again := sizes[ref.One]
			if !again {
				of = size(ref.One)
				sizes[ref.One] = of
			} else {
				copies += of
			}
			n += of
		}
		return n
	}
	for i := range records {
		size(&records[i])
	}
	auth.RequestFrom(ctx).Stats.Rows += copies
}

// AppendJSON implements jsonrpc.Appender.
func (g groupRows) AppendJSON(b []byte) ([]byte, error) {
	b = append(b, '[')
	for i, row := range g.Rows {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '{')
		for j, name := range g.Names {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), name...), `":`...)
			value, err := jsonrpc.Marshal(row[j])
			if err != nil {
				return b, err
			}
			b = append(b, value...)
		}
		b = append(b, '}')
	}
	return append(b, ']'), nil
}
