package model

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// Task is one unit of work in a project.
type Task struct {
	store.Base[int64]
	ProjectID int64          `db:"project_id" json:"project_id" write:"create"        validate:"required"          ref:"project" many:"tasks"`
	Title     string         `db:"title"      json:"title"      write:"create,update" validate:"required,max=200"  example:"Build a rocket"`
	Done      bool           `db:"done"       json:"done"       write:"create,update"`
	Due       *time.Time     `db:"due"        json:"due"        write:"create,update"                              example:"2026-12-24T17:00:00.000000Z"`
	Meta      jsontext.Value `db:"meta"       json:"meta"       write:"create,update" validate:"object,max=262144" index:"gin" example:"{\"color\":\"red\"}"`
}

// Tasks is the repository of tasks.
var Tasks = store.NewRepo[Task]("task", store.Access{Read: auth.Member, Write: auth.Member}, store.Search())

// PrepareCreate gives a task without meta an empty object.
func (t *Task) PrepareCreate(*store.Tx) error {
	if t.Meta == nil {
		t.Meta = jsontext.Value("{}")
	}
	return nil
}
