package store

import (
	"cmp"
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// Limits of the generic calls.
const (
	MaxBulk      = 1000 // rows of one bulk call
	DefaultLimit = 1000 // rows of a list that does not say how many
	MaxLimit     = 5000 // rows of a list
)

// textsPerEntity bounds an entity's cache of SQL texts, of which clients can ask for any number by their filters.
const (
	textsPerEntity = 1000
	largePerEntity = 50 // of those that are longer than maxPrepared
)

// Key is what a row's id can be: int64 for rows whose ids the server makes, UUID for those that clients create offline.
type Key interface{ int64 | uuid.UUID }

// Entity is a struct that embeds [Base], or [Numbered].
type Entity[K Key] interface{ key() K }

func (b Base[K]) key() K { return b.ID }

// Access is who may do what with an entity's rows. The zero Access lets nobody do anything.
type Access struct {
	Read  auth.Role // and above may get, list and count
	Write auth.Role // and above may create, update and delete
	Own   string    // if not "": a field with a user's id; below auth.Admin, a user reaches only the rows with their own

	// Members, if not zero, is who of them reaches which rows, whatever their role: the members of the row's group. Writers, if not zero,
	// is who of those may write them, as the group's owner, or the members with some role; other members are FORBIDDEN to. Where the rows are the
	// memberships themselves, everybody may delete their own. A new row of a group that the actor may not write to is a BAD_REFERENCE,
	// as if there were no such group; a row that is its own group (its Column is the id) can be created by everybody.
	Members, Writers filter.Members

	// Deleters, if not nil, is who may delete rows, instead of the writers: whoever one of them is for.
	Deleters []filter.Members
}

// Preparer is an entity with rules of its own for new rows. PrepareCreate runs on a new row before its fields are
// validated; it may fill in what was left out.
type Preparer interface{ PrepareCreate(tx *Tx) error }

// Repo is the repository of one entity: every way to its rows. Each call checks the actor's right to it, names the
// tenant in the statement, and keeps version, creator and modifier.
//
// Errors by kind, of every call: FORBIDDEN for an actor who may not; NOT_FOUND for a row that is not there, or is another
// tenant's, or may not be seen; VALIDATION, ALREADY_EXISTS, BAD_REFERENCE and REFERENCED for what the entity's rules and
// the table's constraints refuse, with paths that begin at the row's fields; UNAVAILABLE and TIMEOUT.
type Repo[E Entity[K], K Key] struct{ plan *plan }

// Option changes what a repository takes for granted.
type Option func(*options)

type options struct {
	table  string
	unique [][]string
	search string
}

// Table names an entity's table or view where it is not called like the entity.
func Table(name string) Option { return func(o *options) { o.table = name } }

// Unique says that no two rows of a tenant have the same values in the fields, as a unique constraint or index on tenant_id and their
// columns has it. Rows can be upserted by them.
func Unique(fields ...string) Option {
	return func(o *options) { o.unique = append(o.unique, fields) }
}

// Search says that the rows can be searched for words: the table has a column search of type tsvector, and the procedure
// search_index was called for it.
func Search() Option { return func(o *options) { o.search = "search" } }

// NewRepo returns the repository of the entity E, named as in the methods (create_<entity>). It reads E's tags:
//
//	db:"title"                 the column
//	json:"title"               the field's name for clients; "-" hides it from them, in results, filters and the change log alike
//	write:"create,update"      when clients may write it; without the tag, never
//	validate:"required,max=9"  its rules, in the syntax of github.com/go-playground/validator; required: a client must give it to create
//	read:"admin"               the role from which on it can be seen, filtered by and sorted by; without the tag, whoever can read the row
//	ref:"project"              of a field project_id: the id of a row of another entity, which clients call project
//	many:"tasks"               beside ref: what they call these rows there, as a list
//	log:"-"                    keep it out of the change log and of what is synced, as for a value that changes beside the repository
//	index:"gin"                of JSON: the procedure json_index was called for it
//	example:"a title"          a value of it, for descriptions; JSON, but for strings, times and UUIDs without quotes
//
// A field's type is int64, float64, bool, string, time.Time, uuid.UUID, jsontext.Value, RowID, or a pointer to one of them for
// a column that can be NULL. NewRepo panics at a mistake in the declaration.
func NewRepo[E Entity[K], K Key](entity string, access Access, opts ...Option) *Repo[E, K] {
	o := options{table: entity}
	for _, opt := range opts {
		opt(&o)
	}
	return &Repo[E, K]{newPlan(entity, reflect.TypeFor[E](), newQueryRows[E](), access, o)}
}

// Entity returns the entity's name.
func (r *Repo[E, K]) Entity() string { return r.plan.entity }

// Access returns the entity's access rules.
func (r *Repo[E, K]) Access() Access { return r.plan.access }

// Schema returns the fields and references that clients can filter and sort by. It panics at a reference to an entity that no
// repository has: call it first when all of a program's are there.
func (r *Repo[E, K]) Schema() *filter.Schema {
	r.plan.link()
	return r.plan.schema
}

// DecodeNew reads a client's data for a new row. Issues have paths from the data on: INVALID_PARAMS for fields that are
// unknown, cannot be written or have a wrong type, VALIDATION for null where there is no NULL.
func (r *Repo[E, K]) DecodeNew(data jsontext.Value) (E, error) {
	var e E
	set, err := r.plan.decode(creating, data)
	if err != nil {
		return e, err
	}
	return e, r.plan.apply(set, reflect.ValueOf(&e).Elem())
}

// DecodeChanges reads a client's data for an update, as DecodeNew does.
func (r *Repo[E, K]) DecodeChanges(data jsontext.Value) (Set, error) {
	return r.plan.decode(updating, data)
}

// Create adds a row, in one statement. Of e, the base fields are the server's, except a UUID id that is not zero.
func (r *Repo[E, K]) Create(tx *Tx, e E) (E, error) {
	rows, err := r.create(tx, []E{e})
	if err != nil {
		return e, err
	}
	return rows[0], nil
}

// CreateAll adds up to MaxBulk rows, in one statement, and returns them in their order: all of them, or none and the
// error, whose paths begin with the row's index.
func (r *Repo[E, K]) CreateAll(tx *Tx, rows []E) ([]E, error) {
	if len(rows) > MaxBulk {
		return nil, tooMany("rows")
	}
	if len(rows) == 1 {
		created, err := r.create(tx, rows)
		return created, apperr.Under("[0]", err)
	}
	return r.create(tx, rows)
}

// Get returns a row.
func (r *Repo[E, K]) Get(tx *Tx, id K) (E, error) {
	var none E
	if err := r.plan.allow(tx, reading); err != nil {
		return none, err
	}
	return r.get(tx, id)
}

// GetAll returns those of up to MaxBulk rows that are there, in one statement.
func (r *Repo[E, K]) GetAll(tx *Tx, ids []K) (map[K]E, error) {
	if err := r.plan.allow(tx, reading); err != nil {
		return nil, err
	}
	if len(ids) > MaxBulk {
		return nil, tooMany("ids")
	}
	rows, err := query[E](&tx.runner, r.plan, r.text(tx, "G", r.plan.getAllText), r.whereArgs(tx, ids))
	if err != nil {
		return nil, tx.explain(r.plan, reading, err)
	}
	found := make(map[K]E, len(rows))
	for _, row := range rows {
		found[row.key()] = row
	}
	return found, nil
}

// List returns the rows that the options choose, in their order.
func (r *Repo[E, K]) List(tx *Tx, o ListOptions) (Page[E], error) {
	return paged(r.plan, tx, o, nil, list[E])
}

// Count returns how many rows the filter chooses.
func (r *Repo[E, K]) Count(tx *Tx, f *filter.Filter) (int64, error) {
	if err := r.plan.allow(tx, reading); err != nil {
		return 0, err
	}
	if err := f.Allowed(tx.Actor.Role); err != nil {
		return 0, err
	}
	return r.plan.count(tx, orAll(f))
}

// Update changes a row, in one statement, and returns it as it is now. With a version that is not the row's, nothing
// changes and the error is CONFLICT with the row as current.
func (r *Repo[E, K]) Update(tx *Tx, id K, set Set, version Version) (E, error) {
	var none E
	if err := r.plan.allow(tx, updating); err != nil {
		return none, err
	}
	if err := r.plan.validateSet(set); err != nil {
		return none, err
	}
	assigned, err := r.plan.assignments(tx, set)
	if err != nil {
		return none, err
	}
	shape := append(make([]byte, 0, 64), 'u')
	args := make([]any, 0, len(assigned)+4)
	for _, a := range assigned {
		shape = append(append(shape, ' '), a.column...)
		args = append(args, a.arg)
	}
	args = append(args, r.rowArgs(tx, id)...)
	shape, args = version.add(shape, args)
	e, err := r.changeOne(tx, updating, id, shape, r.plan.mayWriteArgs(args, tx, updating), func(own bool) write {
		return r.plan.update(assigned, own, version.given())
	})
	return e, r.missed(tx, id, version, err)
}

// Delete removes a row, in one statement, and returns it as it was. A version is as in Update.
func (r *Repo[E, K]) Delete(tx *Tx, id K, version Version) (E, error) {
	var none E
	if err := r.plan.allow(tx, deleting); err != nil {
		return none, err
	}
	shape, args := version.add([]byte{'d'}, r.rowArgs(tx, id))
	e, err := r.changeOne(tx, deleting, id, shape, r.plan.mayWriteArgs(args, tx, deleting), func(own bool) write {
		return r.plan.delete(own, version.given())
	})
	return e, r.missed(tx, id, version, err)
}

// DeleteAll removes up to MaxBulk rows and returns them as they were, in the order of ids: all of them, or none and
// NOT_FOUND for the first that is not there.
func (r *Repo[E, K]) DeleteAll(tx *Tx, ids []K) ([]E, error) {
	if err := r.plan.allow(tx, deleting); err != nil {
		return nil, err
	}
	if len(ids) > MaxBulk {
		return nil, tooMany("ids")
	}
	rank := make(map[K]int, len(ids))
	for i, id := range ids {
		rank[id] = i
	}
	var deleted []E
	err := tx.atomically(nil, func(tx *Tx) (err error) {
		args := r.plan.mayWriteArgs(r.whereArgs(tx, ids), tx, deleting)
		deleted, err = changeAll(tx, r.plan, deleting, []byte("D"), args, func() write {
			return r.plan.deleteAll(r.plan.ownOnly(tx))
		}, func(a, b E) int { return cmp.Compare(rank[a.key()], rank[b.key()]) })
		if err != nil {
			return tx.explain(r.plan, deleting, err)
		}
		for i, id := range ids {
			if i == len(deleted) || deleted[i].key() != id {
				return apperr.NoRow(r.plan.entity, id)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return deleted, nil
}

// Version is the version that a caller believes a row to have; the zero Version asks for none.
type Version struct{ is *int64 }

// IfVersion returns the Version v, or none for nil.
func IfVersion(v *int64) Version { return Version{v} }

func (v Version) given() bool { return v.is != nil }

func (v Version) add(shape []byte, args []any) ([]byte, []any) {
	if v.is == nil {
		return shape, args
	}
	return append(shape, " version"...), append(args, *v.is)
}

func tooMany(what string) error {
	return apperr.Invalid(apperr.Issue{Reason: "has too many " + what + ": at most 1000 in one call"})
}
