package rpc

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
)

// views are the entities that clients can follow. It implements changelog.Views.
type views map[string]*view

// view is how an entity's rows are shown to those who follow the log.
type view struct {
	entity string
	goType reflect.Type
	access store.Access
	group  *store.Membership               // who sees which rows; nil if that is not up to groups
	uuid   bool                            // whether its ids are
	shown  [auth.Owner + 1]jsonrpc.Members // to each role

	version []int // where it is in goType
	walk    walk
}

// walk reads up to limit rows that come after an id, "" for none, and calls do with each, as long as that returns true. Of an entity whose
// rows belong to groups it reads those of the groups only, if that is not nil.
type walk func(tx *store.Tx, after string, groups []uuid.UUID, limit int, do func(id string, row reflect.Value) bool) error

// follow lets clients follow the changes of an entity's rows.
func follow[E store.Entity[K], K store.Key](api API, repo *store.Repo[E, K]) {
	api.views[repo.Entity()] = viewOf(repo)
}

// viewOf returns the view of a repository's rows.
func viewOf[E store.Entity[K], K store.Key](repo *store.Repo[E, K]) *view {
	v := &view{
		entity: repo.Entity(), goType: reflect.TypeFor[E](), access: repo.Access(), group: repo.Membership(),
		uuid: reflect.TypeFor[K]() == reflect.TypeFor[uuid.UUID](), walk: walkOf(repo),
	}
	version, _ := v.goType.FieldByName("Version") // of store.Base
	v.version = version.Index
	for role := range v.shown {
		v.shown[role] = jsonrpc.MembersOf(v.goType, repo.Logged(auth.Role(role)).Names)
	}
	return v
}

func walkOf[E store.Entity[K], K store.Key](repo *store.Repo[E, K]) walk {
	id, _ := reflect.TypeFor[E]().FieldByName("ID")
	return func(tx *store.Tx, after string, groups []uuid.UUID, limit int, do func(string, reflect.Value) bool) error {
		var from *K
		if after != "" {
			from = new(K)
			if err := parseKey(after, from); err != nil {
				return err
			}
		}
		return repo.Walk(tx, from, groups, limit, func(e *E) bool {
			row := reflect.ValueOf(e).Elem()
			return do(fmt.Sprint(row.FieldByIndex(id.Index).Interface()), row)
		})
	}
}

func parseKey(text string, to any) (err error) {
	switch to := to.(type) {
	case *int64:
		*to, err = strconv.ParseInt(text, 10, 64)
	case *uuid.UUID:
		*to, err = uuid.Parse(text)
	}
	return err
}

// Entities implements changelog.Views.
func (v views) Entities() []string {
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// withMembers returns the entities with those of the memberships that a reader of them must meet.
func (v views) withMembers(entities []string) []string {
	all := slices.Clone(entities)
	for _, name := range entities {
		if g := v[name].group; g != nil && !slices.Contains(all, g.Entity) {
			all = append(all, g.Entity)
		}
	}
	return all
}

// NewReader implements changelog.Views.
func (v views) NewReader(tx *store.Tx, groups []uuid.UUID) (changelog.Reader, error) {
	if err := tx.Actor.Can(auth.Member, auth.ScopeRead); err != nil {
		return nil, err
	}
	r := &reader{views: v, tx: tx, actor: tx.Actor}
	if groups != nil {
		r.only = map[string]bool{}
	}
	for _, group := range groups {
		r.only[group.String()] = true
	}
	return r, nil
}

// reader sees what the repositories would give its actor.
type reader struct {
	views  views
	tx     *store.Tx
	actor  *auth.Actor
	only   map[string]bool            // the groups that are to be seen; nil: all
	groups map[string]map[string]bool // that the actor is in, by the entity of their memberships, from the first entry on that depends on it
}

// Sees implements changelog.Reader.
func (r *reader) Sees(e *changelog.Entry) (changelog.Sight, error) {
	v := r.views[e.Entity]
	switch {
	case v == nil || !v.readable(r.actor.Role):
		return changelog.Hidden, nil
	case v.group != nil:
		return r.seesInGroup(e, v)
	case v.access.Own == "" || r.actor.Role >= auth.Admin:
		return changelog.Whole, nil
	}
	before, err := r.owns(e.Before, v.access.Own)
	if err != nil {
		return changelog.Hidden, err
	}
	after, err := r.owns(e.Data, v.access.Own)
	switch {
	case err != nil:
		return changelog.Hidden, err
	case after, before && e.Op == changelog.Delete:
		return changelog.Whole, nil
	case before:
		return changelog.Gone, nil
	}
	return changelog.Hidden, nil
}

// readable tells whether the role may read rows of the entity at all.
func (v *view) readable(role auth.Role) bool {
	return v.access.Read != auth.Nobody && role >= v.access.Read
}

// seesInGroup is Sees for an entity whose rows are their groups' members'. A membership that ends or begins stands for all rows of
// its group, which are not in the log again.
func (r *reader) seesInGroup(e *changelog.Entry, v *view) (changelog.Sight, error) {
	groups := r.groups[v.group.Entity]
	if groups == nil {
		var err error
		if groups, err = v.group.Groups(r.tx, e.Position); err != nil {
			return changelog.Hidden, err
		}
		if r.groups == nil {
			r.groups = map[string]map[string]bool{}
		}
		r.groups[v.group.Entity] = groups
	}
	begins := v.group.Field == "id" && e.Op == changelog.Create && e.Actor == r.actor.User
	if len(groups) == 0 && !begins && v.entity != v.group.Entity {
		return changelog.Hidden, nil // without a look into a row that may be large
	}
	row := e.Data
	if row == nil {
		row = e.Before
	}
	value, err := fieldOf(row, v.group.Field)
	if err != nil {
		return changelog.Hidden, err
	}
	group := strings.Trim(string(value), `"`)
	if v.entity == v.group.Entity {
		mine, err := r.owns(row, v.group.User)
		switch {
		case err != nil:
			return changelog.Hidden, err
		case mine:
			groups[group] = true
			if e.Op == changelog.Delete {
				defer delete(groups, group) // it is the last that is seen
			}
		}
	}
	inside := groups[group] || begins // whoever begins a group becomes a member of it after that
	if inside && (r.only == nil || r.only[group]) {
		return changelog.Whole, nil
	}
	return changelog.Hidden, nil
}

// owns tells whether the actor's id is in the field of a row, an object or nil.
func (r *reader) owns(row jsontext.Value, field string) (bool, error) {
	if row == nil {
		return false, nil
	}
	value, err := fieldOf(row, field)
	return string(value) == strconv.FormatInt(r.actor.User, 10), err
}

// fieldOf returns the value of a row's field.
func fieldOf(row jsontext.Value, field string) (jsontext.Value, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(row))
	if _, err := d.ReadToken(); err != nil {
		return nil, err
	}
	for d.PeekKind() == jsontext.KindString {
		name, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		if name.String() == field {
			return d.ReadValue()
		}
		if err := d.SkipValue(); err != nil {
			return nil, err
		}
	}
	return nil, errors.New("a row in the log has no " + field)
}

// Append implements changelog.Views.
func (v views) Append(b []byte, e *changelog.Entry, role auth.Role, s changelog.Sight) ([]byte, error) {
	of := v[e.Entity]
	if of == nil || s == changelog.Hidden {
		return b, fmt.Errorf("entry %d is to be shown to nobody", e.Position)
	}
	op, data := e.Op, e.Data
	if s == changelog.Gone {
		op, data = changelog.Delete, nil
	}
	b = append(b, `"at":`...)
	b, err := jsonrpc.AppendJSON(b, &e.At)
	if err != nil {
		return b, err
	}
	b = strconv.AppendInt(append(b, `,"actor":`...), e.Actor, 10)
	b = append(b, `,"method":`...)
	if b, err = jsontext.AppendQuote(b, e.Method); err != nil {
		return b, err
	}
	b = append(append(append(b, `,"entity":"`...), e.Entity...), `","id":`...)
	b = of.appendID(b, e.RowID)
	b = append(append(append(b, `,"op":"`...), op...), `","version":`...)
	b = append(strconv.AppendInt(b, e.Version, 10), `,"data":`...)
	if data == nil {
		return append(b, "null"...), nil
	}
	return of.appendRow(b, data, role)
}

func (v *view) appendID(b []byte, id string) []byte {
	if v.uuid {
		return append(append(append(b, '"'), id...), '"')
	}
	return append(b, id...)
}

// appendRow appends a row of the log as get_<entity> answers it to the role, without the volatile fields.
func (v *view) appendRow(b []byte, data jsontext.Value, role auth.Role) ([]byte, error) {
	row := reflect.New(v.goType)
	if err := json.Unmarshal(data, row.Interface()); err != nil {
		return b, fmt.Errorf("a %s in the log: %w", v.entity, err)
	}
	return v.appendShown(b, row.Elem(), role)
}

func (v *view) appendShown(b []byte, row reflect.Value, role auth.Role) ([]byte, error) {
	b, err := v.shown[role].Append(append(b, '{'), row)
	if err != nil {
		return b, err
	}
	b[len(b)-1] = '}' // instead of the last comma: there are always the base fields
	return b, nil
}
