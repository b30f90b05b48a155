package model

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Change is an entry of the change log, for those who ask who did what.
type Change struct {
	store.Numbered
	At      time.Time       `db:"at"      json:"at"`
	Actor   int64           `db:"actor"   json:"actor"`
	Method  string          `db:"method"  json:"method" example:"update_task"`
	Entity  string          `db:"entity"  json:"entity" example:"task"`
	RowID   store.RowID     `db:"row_id"  json:"id"`
	Op      string          `db:"op"      json:"op"     validate:"oneof=create update delete"`
	Version int64           `db:"version" json:"version"`
	Before  *jsontext.Value `db:"before"  json:"before"` // the row; null for create
	Data    *jsontext.Value `db:"data"    json:"data"`   // the row after it; null for delete
}

// Changes is the repository of the change log, without the entries of what only the members of a group may see. It only reads.
var Changes = store.NewRepo[Change]("change", store.Access{Read: auth.Admin}, store.Table("change_audit"))
