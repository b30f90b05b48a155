package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/store"
)

type described struct {
	store.Base[int64]
	Title  string         `db:"title"  json:"title"  write:"create,update" validate:"required,max=9" example:"say \"x\""`
	Due    *time.Time     `db:"due"    json:"due"    write:"update"        example:"2026-01-02T03:04:05.000000Z"`
	Meta   jsontext.Value `db:"meta"   json:"meta"   example:"{\"a\":1}"`
	Secret string         `db:"secret" json:"-"`
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	d := store.NewRepo[described]("described", store.Access{}).Describe()
	var got []string
	for _, f := range d.Fields {
		if !f.Base {
			got = append(got, fmt.Sprintf("%s %d %t %t %t %t %v %s", f.Name, f.Type, f.Nullable, f.OnCreate, f.OnUpdate, f.Required(), f.Rules, f.Example))
		}
	}
	want := `title 4 false true true true [{required } {max 9}] "say \"x\""
due 3 true false true false [] "2026-01-02T03:04:05.000000Z"
meta 6 false false false false [] {"a":1}`
	if d.Entity != "described" || strings.Join(got, "\n") != want {
		t.Errorf("%s:\n%s", d.Entity, strings.Join(got, "\n"))
	}
}

func TestExamplesAreValues(t *testing.T) {
	t.Parallel()
	type wrong struct {
		store.Base[int64]
		Title string `db:"title" json:"title" validate:"max=3" example:"long"`
	}
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, "its example is no value of it: title may be at most 3 characters") {
			t.Error(got)
		}
	}()
	store.NewRepo[wrong]("wrong_example", store.Access{}).Describe()
}
