package openrpc_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/openrpc"
)

type inner struct {
	A int32 `json:"a"`
}

type everything struct {
	inner
	ID      uuid.UUID           `json:"id"`
	At      *time.Time          `json:"at"`
	Name    string              `json:"name,omitzero"`
	Maybe   *bool               `json:"maybe,omitzero"`
	Raw     jsontext.Value      `json:"raw"`
	Numbers []float64           `json:"numbers"`
	By      map[string]uint     `json:"by"`
	In      inner               `json:"in"`
	Many    []struct{ X inner } `json:"-"`
	hidden  int
}

func encoded(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSchemasOfGoTypes(t *testing.T) {
	t.Parallel()
	var s openrpc.Schemas
	_ = everything{}.hidden
	const head = `{"type":"object","properties":{"a":{"type":"integer","format":"int32"},"id":{"type":"string","format":"uuid"},` +
		`"at":{"type":["string","null"],"format":"date-time"},`
	const tail = `"raw":{},"numbers":{"type":"array","items":{"type":"number","format":"double"}},` +
		`"by":{"type":"object","additionalProperties":{"type":"integer","minimum":0}},"in":{"type":"object","properties":` +
		`{"a":{"type":"integer","format":"int32"}},%s"required":["a"]}},%s"required":["a","id","at","raw","numbers","by","in"]}`
	const closed = `"additionalProperties":false,`
	typ := reflect.TypeFor[everything]()
	want := head + `"name":{"type":"string"},"maybe":{"type":"boolean"},` + fmt.Sprintf(tail, "", "")
	if got := encoded(t, s.Output(typ)); got != want {
		t.Errorf("output\n %s, want\n %s", got, want)
	}
	want = head + `"name":{"type":["string","null"]},"maybe":{"type":["boolean","null"]},` + fmt.Sprintf(tail, closed, closed)
	if got := encoded(t, s.Input(typ)); got != want {
		t.Errorf("input\n %s, want\n %s", got, want)
	}
}

func TestNamedSchemas(t *testing.T) {
	t.Parallel()
	var s openrpc.Schemas
	s.Define("Inner", openrpc.Closed(openrpc.Object[*openrpc.Schema]{{Name: "a", Value: openrpc.Enum("x", "y")}, {Name: "more", Value: openrpc.Ref("Inner")}}))
	s.Define("Unused", openrpc.Ref("Inner"))
	s.Represent(reflect.TypeFor[inner](), "Inner")
	type outer struct {
		inner
		B *inner `json:"b"`
	}
	schema := s.Output(reflect.TypeFor[outer]())
	want := `{"type":"object","properties":{"a":{"type":"string","enum":["x","y"]},"more":{"$ref":"#/components/schemas/Inner"},` +
		`"b":{"anyOf":[{"$ref":"#/components/schemas/Inner"},{"type":"null"}]}},"required":["b"]}`
	if got := encoded(t, schema); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want = `{"Inner":{"type":"object","properties":{"a":{"type":"string","enum":["x","y"]},"more":{"$ref":"#/components/schemas/Inner"}},"additionalProperties":false}}`
	if got := encoded(t, s.Used(schema)); got != want {
		t.Errorf("used: %s, want %s", got, want)
	}
}

func TestNullable(t *testing.T) {
	t.Parallel()
	for want, schema := range map[string]*openrpc.Schema{
		`{"type":["string","null"],"enum":["x",null]}`:                  openrpc.Enum("x"),
		`{"anyOf":[{"$ref":"#/components/schemas/X"},{"type":"null"}]}`: openrpc.Ref("X"),
		`{"anyOf":[{},{"type":"null"}]}`:                                openrpc.AnyOf(&openrpc.Schema{}),
		`{}`:                                                            {},
		`{"type":["array","null"],"items":false}`:                       openrpc.ArrayOf(openrpc.Nothing),
		`{"type":"null"}`:                                               openrpc.Null,
	} {
		if got := encoded(t, openrpc.Nullable(schema)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

type recursive struct {
	More []recursive `json:"more"`
}

func TestWhatCannotBeDescribed(t *testing.T) {
	t.Parallel()
	for want, describe := range map[string]func(*openrpc.Schemas){
		"contains itself": func(s *openrpc.Schemas) { s.Output(reflect.TypeFor[recursive]()) },
		"nothing for the type chan int": func(s *openrpc.Schemas) {
			s.Input(reflect.TypeFor[struct {
				C chan int `json:"c"`
			}]())
		},
		"two schemas with the name X":      func(s *openrpc.Schemas) { s.Define("X", openrpc.Null); s.Define("X", openrpc.Null) },
		"there is no schema with the name": func(s *openrpc.Schemas) { s.Used(openrpc.ArrayOf(openrpc.Ref("X"))) },
	} {
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("got %s, want %s", got, want)
				}
			}()
			describe(&openrpc.Schemas{})
		}()
	}
}
