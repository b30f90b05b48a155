package changelog

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Entry is one change of one row.
type Entry struct {
	Position int64
	At       time.Time
	Actor    int64  // the user who made it
	Method   string // that was called; "" for none
	Entity   string
	RowID    string         // the row's id as text
	Op       string         // Create, Update or Delete
	Version  int64          // the row's; of a deleted one the next
	Before   jsontext.Value // the row before the change, by the fields' names; nil for Create
	Data     jsontext.Value // the row after it; nil for Delete
}

// What an entry did to its row.
const (
	Create = "create"
	Update = "update"
	Delete = "delete"
)

// Sight is how a reader sees an entry.
type Sight int8

// The sights. Gone is a row that the change took out of the reader's sight, which is shown as its delete.
const (
	Hidden Sight = iota
	Whole
	Gone
)

// Views are the entities whose changes clients can follow, and how these are shown. It is safe for concurrent use.
type Views interface {
	// Entities returns the names of the entities, in order.
	Entities() []string

	// NewReader returns what the Tx's actor sees from now on; FORBIDDEN for one who may read nothing. Of entities whose rows belong to groups it
	// sees those of the groups only, if that is not nil. The Reader uses the Tx when it comes to the first entry of such an entity.
	NewReader(tx *store.Tx, groups []uuid.UUID) (Reader, error)

	// Append appends the members of an entry as actors of the role see it, but for position and prev:
	// `"at":…,"actor":…,"method":…,"entity":…,"id":…,"op":…,"version":…,"data":…`. They are the same for all readers of
	// the role who see it by the same Sight, which is not Hidden.
	Append(b []byte, e *Entry, role auth.Role, s Sight) ([]byte, error)
}

// CheckEntities returns INVALID_PARAMS, with a path that begins with the one given, if there is one among the names that is none of the
// entities.
func CheckEntities(v Views, names []string, path string) error {
	var issues []apperr.Issue
	for i, name := range names {
		if !slices.Contains(v.Entities(), name) {
			issues = append(issues, apperr.Issue{Path: apperr.Index(path, i), Reason: "is no entity that can be followed", Allowed: v.Entities()})
		}
	}
	if issues != nil {
		return apperr.Invalid(issues...)
	}
	return nil
}

// Reader tells what one actor sees. It is asked about the entries in the order of their positions, as it may learn from them;
// one goroutine at a time may use it.
type Reader interface {
	Sees(e *Entry) (Sight, error)
}
