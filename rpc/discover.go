package rpc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/openrpc"
)

// version is the version of the methods as a whole.
const version = "0.1.0"

// discover adds rpc.discover, which returns the description of all methods that m has now and of itself. It panics at a
// description that cannot be right.
func discover(m *jsonrpc.Mux, api API) {
	var encoded jsontext.Value
	jsonrpc.Handle(m, "rpc.discover", func(context.Context, struct{}) (jsontext.Value, error) { return encoded, nil },
		jsonrpc.Public(), described(doc{
			tag:         "rpc",
			safe:        true,
			summary:     "Describe all methods",
			description: "The result is this document, by the [OpenRPC specification](https://spec.open-rpc.org).",
		}))
	var err error
	if encoded, err = openRPC(m.Methods(), api.views).Encode(); err != nil {
		panic(fmt.Sprintf("rpc: the methods cannot be described: %v", err))
	}
}

// openRPC returns the description of the methods, and of what those who follow the log get.
func openRPC(methods []jsonrpc.Method, v views) *openrpc.Document {
	entities := entityDocs{}
	for _, m := range methods {
		if d, ok := m.Doc.(doc); ok && d.entity != nil {
			entities[d.entity.Entity] = d.entity
		}
	}
	s := &openrpc.Schemas{}
	defineConditions(s)
	defineHaving(s)
	defineErrorData(s)
	v.define(s)
	for _, name := range slices.Sorted(maps.Keys(entities)) {
		entities.define(s, entities[name])
	}
	described := &openrpc.Document{
		OpenRPC: openrpc.Version,
		Info: openrpc.Info{
			Title:       "Rowcall",
			Description: "Typed methods over the rows of a tenant. They are called by POST /api/rpc of the server that this document is from.",
			Version:     version,
			License:     &openrpc.License{Name: "MIT"},
		},
	}
	for _, m := range methods {
		d, _ := m.Doc.(doc)
		described.Methods = append(described.Methods, d.method(m, s))
	}
	described.Components.Errors = errorComponents()
	described.Components.Schemas = s.Used(described.Schemas()...)
	return described
}

// errorDoc is what an error of a kind says.
type errorDoc struct {
	message string
	data    openrpc.Object[*openrpc.Schema] // beside its kind and request_id
}

var errorDocs = errorTable()

func errorTable() map[apperr.Kind]errorDoc {
	text := &openrpc.Schema{Type: openrpc.Types{"string"}}
	issues := properties{member("issues", openrpc.ArrayOf(openrpc.Ref("Issue")))}
	reference := properties{member("entity", text), member("field", text)}
	return map[apperr.Kind]errorDoc{
		apperr.ParseError:       {"The body is not valid JSON", nil},
		apperr.InvalidRequest:   {"This is no valid call", nil},
		apperr.MethodNotFound:   {"There is no such method", nil},
		apperr.InvalidParams:    {"The params do not have the shape that the method takes", issues},
		apperr.Internal:         {"The server failed", nil},
		apperr.Unauthenticated:  {"The call needs a login", nil},
		apperr.Forbidden:        {"The caller may not do this", nil},
		apperr.NotFound:         {"There is no such row, or the caller may not see it", properties{member("entity", text), member("id", &openrpc.Schema{})}},
		apperr.Conflict:         {"The row has another version by now", properties{member("current", &openrpc.Schema{Type: openrpc.Types{"object"}})}},
		apperr.AlreadyExists:    {"There is such a row already", properties{member("entity", text), member("fields", openrpc.ArrayOf(text))}},
		apperr.Referenced:       {"Another row refers to this one", reference},
		apperr.BadReference:     {"What the row refers to does not exist", reference},
		apperr.ResyncRequired:   {"The client must start over", properties{member("head", typeSchemas[0]), member("tail", typeSchemas[0])}},
		apperr.ValidationFailed: {"The params break a rule of the entity", issues},
		apperr.RateLimited:      {"There were too many calls", properties{member("retry_after_ms", typeSchemas[0])}},
		apperr.Aborted:          {"Another call was in the way: try again", nil},
		apperr.Timeout:          {"The call took too long", nil},
		apperr.Unavailable:      {"The server cannot do this now", nil},
	}
}

// dataName is the name of the schema of a kind's data: NotFoundData.
func dataName(kind apperr.Kind) string {
	if len(errorDocs[kind].data) == 0 {
		return "ErrorData"
	}
	return pascal(strings.ToLower(string(kind))) + "Data"
}

// defineErrorData gives names to the schemas of what errors say.
func defineErrorData(s *openrpc.Schemas) {
	text := &openrpc.Schema{Type: openrpc.Types{"string"}}
	kinds := openrpc.Enum()
	for _, kind := range apperr.Kinds() {
		kinds.Enum = append(kinds.Enum, kind)
		if d := errorDocs[kind]; len(d.data) > 0 {
			s.Define(dataName(kind), errorDataSchema(&openrpc.Schema{Const: kind}, d.data))
		}
	}
	s.Define("ErrorKind", kinds)
	s.Define("ErrorData", errorDataSchema(openrpc.Ref("ErrorKind"), nil))
	s.Define("Issue", &openrpc.Schema{
		Description: "One fault of the params.",
		Type:        openrpc.Types{"object"},
		Properties: properties{
			member("path", &openrpc.Schema{Type: openrpc.Types{"string"}, Examples: []any{"params.filters[0].title.$contans"}}),
			member("reason", text),
			member("allowed", openrpc.ArrayOf(text)),
		},
		Required: []string{"path", "reason"},
	})
}

func errorDataSchema(kind *openrpc.Schema, further openrpc.Object[*openrpc.Schema]) *openrpc.Schema {
	data := &openrpc.Schema{
		Type: openrpc.Types{"object"},
		Properties: append(properties{
			member("kind", kind),
			member("request_id", &openrpc.Schema{Type: openrpc.Types{"string"}, Description: "The id of the request, as in the log."}),
		}, further...),
	}
	for _, p := range data.Properties {
		data.Required = append(data.Required, p.Name)
	}
	return data
}

func errorComponents() openrpc.Object[openrpc.Error] {
	var errors openrpc.Object[openrpc.Error]
	for _, kind := range apperr.Kinds() {
		errors = append(errors, openrpc.Member[openrpc.Error]{Name: string(kind), Value: openrpc.Error{
			Code: kind.Code(), Message: errorDocs[kind].message, Data: openrpc.Ref(dataName(kind)),
		}})
	}
	return errors
}
