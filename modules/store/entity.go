package store

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
)

// Base are the fields that every entity has and only the server writes. Embed it first.
type Base[K int64 | uuid.UUID] struct {
	ID      K         `db:"id" json:"id"`
	Version int64     `db:"version" json:"version"` // 1 at first, one more with each update
	CID     int64     `db:"cid" json:"cid"`         // the user who created the row
	CTime   time.Time `db:"ctime" json:"ctime"`
	MID     int64     `db:"mid" json:"mid"` // the user who changed it last
	MTime   time.Time `db:"mtime" json:"mtime"`
}

// Numbered is what an entity has instead of [Base] whose rows are numbered and never change: the entries of a log. Nobody writes it
// through its repository.
type Numbered struct {
	Position int64 `db:"position" json:"position"`
}

func (n Numbered) key() int64 { return n.Position }

// RowID is the id of a row of any entity, as text. In JSON it is a number if that is what it looks like.
type RowID string

// AppendJSON appends it to b.
func (id RowID) AppendJSON(b []byte) ([]byte, error) {
	if n, err := strconv.ParseInt(string(id), 10, 64); err == nil {
		return strconv.AppendInt(b, n, 10), nil
	}
	return jsontext.AppendQuote(b, id)
}

// baseColumns are set by the repository, not by whoever calls it.
var baseColumns = []string{"id", "version", "cid", "ctime", "mid", "mtime"}

// column is a field of an entity and the column that keeps it.
type column struct {
	name     string // of the field on the wire; "" for one that no client sees
	db       string
	field    int // position in plan.columns
	index    []int
	kind     kind
	nullable bool // the Go field is a pointer
	onCreate bool // a client may give it to create
	onUpdate bool // a client may give it to update
	rules    string
	read     auth.Role // who may see it; auth.Nobody: whoever may read the row
	logged   bool      // it is in the change log
	indexed  bool      // of a jsonb column: there is a function for its index
	ref      string    // the entity that it refers to; "" for none
	refName  string    // what the referenced row is called here
	many     string    // what the rows with the reference are called there; "" for nothing
}

// kind is a Go type that a field can have, and what Postgres and the query language call it.
type kind struct {
	goType  reflect.Type
	filter  filter.Type
	sqlType string
	words   string // for a message: "must be …"
	unit    string // of its size, for a message
	sample  any    // a value that is not zero
}

var kinds = []kind{
	{reflect.TypeFor[int64](), filter.Int, "bigint", "an integer", "", int64(1)},
	{reflect.TypeFor[float64](), filter.Float, "double precision", "a number", "", 1.5},
	{reflect.TypeFor[bool](), filter.Bool, "boolean", "true or false", "", true},
	{reflect.TypeFor[string](), filter.String, "text", "a string", " characters", "x"},
	{reflect.TypeFor[time.Time](), filter.Time, "timestamptz", "a time as in RFC 3339", "", time.Unix(1, 0)},
	{reflect.TypeFor[uuid.UUID](), filter.UUID, "uuid", "a UUID", "", uuid.Max},
	{reflect.TypeFor[jsontext.Value](), filter.JSON, "jsonb", "JSON", " bytes", jsontext.Value("{}")},
	{reflect.TypeFor[RowID](), filter.ID, "text", "an integer or a string", "", RowID("1")},
}

// plan is what reflection finds in an entity's struct, once.
type plan struct {
	entity  string
	table   string
	goType  reflect.Type
	query   queryRows
	columns []*column
	byName  map[string]*column // by wire name
	byDB    map[string]*column
	schema  *filter.Schema
	key     *column   // what tells rows apart: id, or position
	insert  []*column // all but the base columns and the tenant
	access  Access
	own     *column // Access.Own
	unique  [][]string
	hidden  auth.Role // the role from which on every field can be seen
	texts   textCache

	linked atomic.Bool // whether the schema knows its references
}

// plans are all entities by table, so that a violated constraint can be told in the client's words.
var plans sync.Map // table -> *plan

// newPlan reads the struct's tags, and panics at what cannot work.
func newPlan(entity string, goType reflect.Type, query queryRows, access Access, o options) *plan {
	p := &plan{
		entity: entity, table: o.table, goType: goType, query: query, access: access, unique: o.unique, texts: newTextCache(),
		byName: map[string]*column{}, byDB: map[string]*column{},
	}
	for _, f := range reflect.VisibleFields(goType) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		c, err := newColumn(f)
		if err != nil {
			panic(fmt.Sprintf("store: entity %s, field %s: %v", entity, f.Name, err))
		}
		if p.byDB[c.db] != nil || (c.name != "" && p.byName[c.name] != nil) {
			panic(fmt.Sprintf("store: entity %s, field %s: its column or name is declared twice", entity, f.Name))
		}
		c.field = len(p.columns)
		p.columns = append(p.columns, c)
		p.byDB[c.db] = c
		if c.name != "" {
			p.byName[c.name] = c
		}
		p.hidden = max(p.hidden, c.read)
		if !slices.Contains(baseColumns, c.db) {
			p.insert = append(p.insert, c)
		}
	}
	if p.key = p.byDB["position"]; !numbered(goType) {
		p.key = p.byDB["id"]
		for _, name := range baseColumns {
			if p.byDB[name] == nil {
				panic(fmt.Sprintf("store: entity %s has no column %s: embed store.Base", entity, name))
			}
		}
	} else if access.Write != auth.Nobody {
		panic(fmt.Sprintf("store: entity %s: nobody can write a log", entity))
	}
	p.key.onCreate = p.keyed()
	if access.Own != "" {
		if p.own = p.byName[access.Own]; p.own == nil {
			panic(fmt.Sprintf("store: entity %s: there is no field %s, which its access rule names", entity, access.Own))
		}
		if p.own.nullable || p.own.kind.goType != reflect.TypeFor[int64]() {
			panic(fmt.Sprintf("store: entity %s: the field %s is no user's id, an int64", entity, access.Own))
		}
	}
	p.checkMembers()
	for _, key := range p.unique {
		for _, name := range key {
			if c := p.byName[name]; c == nil || !c.onCreate {
				panic(fmt.Sprintf("store: entity %s: the unique key %v has no field %s that clients can give", entity, key, name))
			}
		}
	}
	p.schema = p.newSchema(o.search)
	if other, twice := plans.LoadOrStore(p.table, p); twice {
		other := other.(*plan)
		if other.goType != goType || other.entity != entity || !reflect.DeepEqual(other.access, access) {
			panic(fmt.Sprintf("store: table %s belongs to two entities", p.table))
		}
		return other
	}
	return p
}

func numbered(goType reflect.Type) bool {
	f, embedded := goType.FieldByName("Numbered")
	return embedded && f.Anonymous && f.Type == reflect.TypeFor[Numbered]()
}

func (p *plan) newSchema(search string) *filter.Schema {
	e := filter.Entity{
		Name: p.entity, Table: p.table, Key: p.key.name, Read: p.access.Read, Members: p.access.Members, Search: search,
	}
	if p.own != nil {
		e.Own = p.own.db
	}
	for _, c := range p.columns {
		if c.name != "" {
			e.Fields = append(e.Fields, filter.Field{
				Name: c.name, Column: c.db, Type: c.kind.filter, Nullable: c.nullable, Read: c.read, Indexed: c.indexed,
			})
		}
	}
	return filter.NewSchema(e)
}

func newColumn(f reflect.StructField) (*column, error) {
	c := &column{db: f.Tag.Get("db"), index: f.Index, rules: f.Tag.Get("validate")}
	if c.db == "" {
		return nil, fmt.Errorf("it has no db tag")
	}
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch name {
	case "":
		return nil, fmt.Errorf("it has no json tag")
	case "-":
	default:
		c.name = name
	}
	t := f.Type
	if t.Kind() == reflect.Pointer {
		t, c.nullable = t.Elem(), true
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.goType == t })
	if i < 0 {
		return nil, fmt.Errorf("the type %s has no column type", f.Type)
	}
	c.kind = kinds[i]
	if err := c.readTags(f.Tag); err != nil {
		return nil, err
	}
	if write, ok := f.Tag.Lookup("write"); ok {
		for _, op := range strings.Split(write, ",") {
			switch op {
			case "create":
				c.onCreate = true
			case "update":
				c.onUpdate = true
			default:
				return nil, fmt.Errorf("write:%q: only create and update are known", write)
			}
		}
		if c.name == "" || slices.Contains(baseColumns, c.db) {
			return nil, fmt.Errorf("clients cannot write it")
		}
	}
	return c, checkRules(c)
}

// readTags reads the tags read, index, log, ref and many.
func (c *column) readTags(tag reflect.StructTag) error {
	if name, ok := tag.Lookup("read"); ok {
		role, known := auth.ParseRole(name)
		if !known {
			return fmt.Errorf("read:%q: there is no such role", name)
		}
		c.read = role
	}
	if index, ok := tag.Lookup("index"); ok {
		if index != "gin" || c.kind.filter != filter.JSON {
			return fmt.Errorf("index:%q: only gin is known, of JSON", index)
		}
		c.indexed = true
	}
	c.logged = c.name != ""
	if log, ok := tag.Lookup("log"); ok {
		if log != "-" || !c.logged || slices.Contains(baseColumns, c.db) {
			return fmt.Errorf("log:%q: only - is known, of a field that clients see and that is not the server's", log)
		}
		c.logged = false
	}
	c.ref, c.many = tag.Get("ref"), tag.Get("many")
	if c.ref != "" {
		var ok bool
		if c.refName, ok = strings.CutSuffix(c.name, "_id"); !ok || c.refName == "" {
			return fmt.Errorf("ref:%q: the field's name must end in _id", c.ref)
		}
	} else if c.many != "" {
		return fmt.Errorf("many:%q: it refers to nothing", c.many)
	}
	return nil
}

// writable returns the names that a client may give to the operation.
func (p *plan) writable(op operation) []string {
	var names []string
	for _, c := range p.columns {
		if (op == creating && c.onCreate) || (op == updating && c.onUpdate) {
			names = append(names, c.name)
		}
	}
	return names
}

// visible returns the fields that an actor of the role may see, in their order.
func (p *plan) visible(role auth.Role) []*column {
	var columns []*column
	for _, c := range p.columns {
		if c.name != "" && c.read <= role {
			columns = append(columns, c)
		}
	}
	return columns
}

func (p *plan) dbNames() []any {
	names := make([]any, len(p.columns))
	for i, c := range p.columns {
		names[i] = c.db
	}
	return names
}
