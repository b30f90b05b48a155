package jsonrpc_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/jsonrpc"
)

type (
	byID struct {
		ID int64 `json:"id"`
	}
	item struct {
		Name string         `json:"name"`
		N    *int           `json:"n,omitzero"`
		Data jsontext.Value `json:"data,omitzero"`
	}
	kinds struct {
		byID
		Bool    bool             `json:"bool,omitzero"`
		Small   int8             `json:"small,omitzero"`
		Natural uint16           `json:"natural,omitzero"`
		Float   float64          `json:"float,omitzero"`
		Text    string           `json:"text,omitempty"`
		Time    time.Time        `json:"time,omitzero"`
		UUID    uuid.UUID        `json:"uuid,omitzero"`
		Bytes   []byte           `json:"bytes,omitzero"`
		Raw     jsontext.Value   `json:"raw,omitzero"`
		Any     any              `json:"any,omitzero"`
		Ints    []int64          `json:"ints,omitzero"`
		Items   []item           `json:"items,omitzero"`
		Maybe   []*item          `json:"maybe,omitzero"`
		Raws    []jsontext.Value `json:"raws,omitzero"`
		ByName  map[string]item  `json:"by_name,omitzero"`
		Nested  *nested          `json:"nested,omitzero"`
		Hidden  string           `json:"-"`
	}
	nested struct {
		Below *nested        `json:"below,omitzero"`
		Raw   jsontext.Value `json:"raw"`
		Item  *item          `json:"item"`
	}
)

func TestParams(t *testing.T) {
	m := jsonrpc.New(jsonrpc.Options{})
	jsonrpc.Handle(m, "none", func(context.Context, none) (none, error) { return none{}, nil })
	jsonrpc.Handle(m, "item", func(context.Context, item) (none, error) { return none{}, nil })
	jsonrpc.Handle(m, "kinds", func(context.Context, kinds) (none, error) { return none{}, nil })
	for _, c := range []struct{ method, params, want string }{
		{"none", `{}`, ``},
		{"none", `{"a":1,"b":2}`, `params.a is not known here; params.b is not known here`},
		{"none", `[]`, `params must be an object, not an array`},
		{"none", `null`, `params must be an object, not null`},
		{"item", `{"name":"x"}`, ``},
		{"item", `{"name":"x","n":null,"data":null}`, ``},
		{"item", `{}`, `params.name is required`},
		{"item", `{"name":null}`, `params.name may not be null`},
		{"item", `{"nam":"x"}`, `params.nam is not known here (name n data); params.name is required`},
		{"item", `{"Name":"x"}`, `params.Name is not known here (name n data); params.name is required`},
		{"item", `{"n":"1","name":2}`, `params.n must be an integer, not a string; params.name must be a string, not an integer`},

		{"kinds", `{}`, `params.id is required`},
		{"kinds", `{"id":9223372036854775807}`, ``},
		{"kinds", `{"id":9223372036854775808}`, `params.id must be an integer that fits in 64 bits`},
		{"kinds", `{"id":1.0}`, `params.id must be an integer, not a number with a fraction or an exponent`},
		{"kinds", `{"id":true,"bool":0}`, `params.id must be an integer, not a boolean; params.bool must be a boolean, not an integer`},
		{"kinds", `{"id":1,"small":-128,"natural":65535,"float":1e3}`, ``},
		{"kinds", `{"id":1,"small":128,"natural":-1,"float":1e999}`, `params.small must be an integer that fits in 8 bits; ` +
			`params.natural must be an integer of at least 0 that fits in 16 bits; params.float must be a number`},
		{"kinds", `{"id":1,"float":"1"}`, `params.float must be a number, not a string`},
		{"kinds", `{"id":1,"time":"2026-01-02T03:04:05.6Z","uuid":"01234567-89ab-cdef-0123-456789abcdef","bytes":"AQI="}`, ``},
		{"kinds", `{"id":1,"time":"2026-02-30T03:04:05Z","uuid":"0123","bytes":"?"}`,
			`params.time must be a time as in RFC 3339; params.uuid must be a valid UUID; params.bytes must be a string of base64`},
		{"kinds", `{"id":1,"time":1}`, `params.time must be a time as in RFC 3339, not an integer`},
		{"kinds", `{"id":1,"time":null,"uuid":null,"bytes":null,"text":null,"small":null,"ints":null,"by_name":null,"nested":null,"any":null}`, ``},
		{"kinds", `{"id":1,"raw":{"x":[null]},"any":[1,{}]}`, ``},
		{"kinds", `{"id":1,"ints":[1,null,"x",2]}`, `params.ints[1] may not be null; params.ints[2] must be an integer, not a string`},
		{"kinds", `{"id":1,"ints":{}}`, `params.ints must be an array, not an object`},
		{"kinds", `{"id":1,"items":[{"name":"x"},{"name":"y","z":{"a":[1]}},3,{}]}`,
			`params.items[1].z is not known here (name n data); params.items[2] must be an object, not an integer; params.items[3].name is required`},
		{"kinds", `{"id":1,"items":[null]}`, `params.items[0] may not be null`},
		{"kinds", `{"id":1,"maybe":[null,{"name":1}],"raws":[null,1]}`, `params.maybe[1].name must be a string, not an integer`},
		{"kinds", `{"id":1,"by_name":{"0":{},"a/b~c":{"name":1},"n":null}}`,
			`params.by_name.0.name is required; params.by_name.a/b~c.name must be a string, not an integer; params.by_name.n may not be null`},
		{"kinds", `{"id":1,"nested":{"raw":null,"item":{"name":""}}}`, ``},
		{"kinds", `{"id":1,"nested":{"item":null,"below":{"below":{"raw":1}}}}`,
			`params.nested.item may not be null; params.nested.below.below.item is required; params.nested.below.raw is required; params.nested.below.item is required; params.nested.raw is required`},
		{"kinds", `{"id":1,"Hidden":"x","` + strings.Repeat("x", 100) + `":1}`,
			`params.Hidden is not known here (all); params.` + strings.Repeat("x", 64) + `… is not known here (all)`},
	} {
		answers, _ := serve(t, m, fmt.Sprintf(`{"id":1,"method":%q,"params":%s}`, c.method, c.params))
		got := ""
		if e := answers[0].Error; e != nil {
			issues := make([]string, len(e.Data.Issues))
			for i, issue := range e.Data.Issues {
				issues[i] = issue.Path + " " + issue.Reason
				switch {
				case len(issue.Allowed) > 5:
					issues[i] += " (all)"
				case len(issue.Allowed) > 0:
					issues[i] += fmt.Sprintf(" (%s)", strings.Join(issue.Allowed, " "))
				}
			}
			got = strings.Join(issues, "; ")
		}
		if got != c.want {
			t.Errorf("%s %s\ngot  %s\nwant %s", c.method, c.params, got, c.want)
		}
	}
}

func TestIssuesAreBounded(t *testing.T) {
	m := jsonrpc.New(jsonrpc.Options{})
	jsonrpc.Handle(m, "kinds", func(context.Context, kinds) (none, error) { return none{}, nil })
	answers, _ := serve(t, m, `{"id":1,"method":"kinds","params":{"ints":[`+strings.Repeat("null,", 1000)+`0]}}`)
	if n := len(answers[0].Error.Data.Issues); n != 20 {
		t.Errorf("%d issues", n)
	}
}

func TestParamsAreDecoded(t *testing.T) {
	m := jsonrpc.New(jsonrpc.Options{})
	var got kinds
	jsonrpc.Handle(m, "kinds", func(_ context.Context, p kinds) (none, error) { got = p; return none{}, nil })
	if s := summary(t, m, `{"id":1,"method":"kinds","params":{"id":7,"raw":null,"ints":[1,2],"nested":{"raw": { } ,"item":{"name":"n","n":3}},"text":null}}`); s != "1 {}" {
		t.Fatal(s)
	}
	if got.ID != 7 || string(got.Raw) != "null" || len(got.Ints) != 2 || string(got.Nested.Raw) != "{ }" || *got.Nested.Item.N != 3 || got.Text != "" {
		t.Errorf("%+v", got)
	}
}

func TestHandlePanics(t *testing.T) {
	type recursive struct {
		More []recursive `json:"more,omitzero"`
	}
	for name, c := range map[string]struct {
		add  func(m *jsonrpc.Mux)
		want string // "": it does not panic
	}{
		"a name twice":       {func(m *jsonrpc.Mux) { add[none](m, "ping") }, "there is one already"},
		"no name":            {func(m *jsonrpc.Mux) { add[none](m, "") }, "no name"},
		"rpc.":               {func(m *jsonrpc.Mux) { add[none](m, "rpc.discover") }, "are the protocol's"},
		"rpc., public":       {func(m *jsonrpc.Mux) { add[none](m, "rpc.discover", jsonrpc.Public()) }, ""},
		"no struct":          {func(m *jsonrpc.Mux) { add[[]int](m, "x") }, "params are a struct"},
		"a pointer":          {func(m *jsonrpc.Mux) { add[*byID](m, "x") }, "params are a struct"},
		"a struct with text": {func(m *jsonrpc.Mux) { add[time.Time](m, "x") }, "params are a struct"},
		"no json tag":        {func(m *jsonrpc.Mux) { add[struct{ ID int }](m, "x") }, "must begin with a plain name"},
		"an option": {func(m *jsonrpc.Mux) {
			add[struct {
				ID int `json:"id,string"`
			}](m, "x")
		}, "the tag option string"},
		"a name for two": {func(m *jsonrpc.Mux) {
			add[struct {
				byID
				Other int `json:"id"`
			}](m, "x")
		}, "there is another id"},
		"a channel": {func(m *jsonrpc.Mux) {
			add[struct {
				C chan int `json:"c"`
			}](m, "x")
		}, "chan int cannot be decoded"},
		"an interface": {func(m *jsonrpc.Mux) {
			add[struct {
				C fmt.Stringer `json:"c"`
			}](m, "x")
		}, "cannot be decoded"},
		"keys of numbers": {func(m *jsonrpc.Mux) {
			add[struct {
				C map[int]int `json:"c"`
			}](m, "x")
		}, "keys that are not strings"},
		"a pointer to a raw": {func(m *jsonrpc.Mux) {
			add[struct {
				C *jsontext.Value `json:"c"`
			}](m, "x")
		}, "two kinds of null"},
		"deep in the params": {func(m *jsonrpc.Mux) {
			add[struct {
				C []map[string]struct {
					D **int `json:"d"`
				} `json:"c"`
			}](m, "x")
		}, "two kinds of null"},
		"a type in itself": {func(m *jsonrpc.Mux) { add[recursive](m, "x") }, ""},
	} {
		func() {
			defer func() {
				got := fmt.Sprint(recover())
				if c.want == "" && got != "<nil>" || !strings.Contains(got, c.want) {
					t.Errorf("%s: %s", name, got)
				}
			}()
			m := newMux(jsonrpc.Options{})
			c.add(m)
		}()
	}
}

func add[P any](m *jsonrpc.Mux, name string, opts ...jsonrpc.MethodOption) {
	jsonrpc.Handle(m, name, func(context.Context, P) (none, error) { return none{}, nil }, opts...)
}

func TestMethods(t *testing.T) {
	m := jsonrpc.New(jsonrpc.Options{})
	add[byID](m, "b")
	add[none](m, "a", jsonrpc.Public(), jsonrpc.Described("words"))
	got := ""
	for _, d := range m.Methods() {
		got += fmt.Sprintln(d.Name, d.Public, d.Params, d.Result, d.Doc)
	}
	if want := "a true jsonrpc_test.none jsonrpc_test.none words\nb false jsonrpc_test.byID jsonrpc_test.none <nil>\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
