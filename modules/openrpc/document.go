// Package openrpc is the OpenRPC document (https://spec.open-rpc.org, version 1.3.2), by which a JSON-RPC server describes its
// methods, and the JSON Schemas in it (draft 7), which are made from Go types ([Schemas]).
//
// It has what Rowcall says, not all that the specification knows.
package openrpc

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Version is the version of the specification that a [Document] keeps to.
const Version = "1.3.2"

// Document describes a server.
type Document struct {
	OpenRPC    string     `json:"openrpc"` // Version
	Info       Info       `json:"info"`
	Methods    []Method   `json:"methods"`
	Components Components `json:"components"`
}

// Info is about the server's API as a whole.
type Info struct {
	Title       string   `json:"title"`
	Description string   `json:"description,omitzero"`
	Version     string   `json:"version"`
	License     *License `json:"license,omitzero"`
}

// License is what the server is licensed under.
type License struct {
	Name string `json:"name"`
}

// Method describes a method.
type Method struct {
	Name           string           `json:"name"`
	Tags           []Tag            `json:"tags,omitempty"`
	Summary        string           `json:"summary,omitzero"`
	Description    string           `json:"description,omitzero"`
	ParamStructure string           `json:"paramStructure"` // "by-name"
	Params         []Content        `json:"params"`
	Result         Content          `json:"result"`
	Errors         []Reference      `json:"errors,omitempty"`
	Examples       []ExamplePairing `json:"examples,omitempty"`
	Safe           bool             `json:"x-safe,omitzero"`       // it changes nothing: a client may call it again when an answer is lost
	Idempotent     bool             `json:"x-idempotent,omitzero"` // called again with the same params it changes nothing more: likewise
}

// Tag is a word that methods are grouped by.
type Tag struct {
	Name string `json:"name"`
}

// Content describes a param or a result: the specification's Content Descriptor.
type Content struct {
	Name     string  `json:"name"`
	Required bool    `json:"required,omitzero"`
	Schema   *Schema `json:"schema"`
}

// Reference stands for a component.
type Reference struct {
	Ref string `json:"$ref"`
}

// ExamplePairing is a call and its result.
type ExamplePairing struct {
	Name   string    `json:"name"`
	Params []Example `json:"params"`
	Result Example   `json:"result"`
}

// Example is a value of a param or a result.
type Example struct {
	Name  string `json:"name"`
	Value any    `json:"value"`
}

// Error describes an error that methods answer. The specification leaves to the server what Data is: here it is the schema
// of the data that comes with the error.
type Error struct {
	Code    int     `json:"code"`
	Message string  `json:"message"`
	Data    *Schema `json:"data,omitzero"`
}

// Components are what other parts of the document refer to, by name.
type Components struct {
	Schemas Object[*Schema] `json:"schemas"`
	Errors  Object[Error]   `json:"errors"`
}

// Encode returns the document as JSON, the same for the same document.
func (d *Document) Encode() (jsontext.Value, error) { return json.Marshal(d, json.Deterministic(true)) }

// Schemas returns the schemas of the document's params, results and errors.
func (d *Document) Schemas() []*Schema {
	var schemas []*Schema
	for _, m := range d.Methods {
		for _, p := range m.Params {
			schemas = append(schemas, p.Schema)
		}
		schemas = append(schemas, m.Result.Schema)
	}
	for _, e := range d.Components.Errors {
		if e.Value.Data != nil {
			schemas = append(schemas, e.Value.Data)
		}
	}
	return schemas
}

// Object is a JSON object whose members keep their order.
type Object[T any] []Member[T]

// Member is a member of an [Object].
type Member[T any] struct {
	Name  string
	Value T
}

// Get returns the value of the member with the name, or the zero value.
func (o Object[T]) Get(name string) (value T) {
	for _, m := range o {
		if m.Name == name {
			return m.Value
		}
	}
	return value
}

// MarshalJSONTo implements [json.MarshalerTo].
func (o Object[T]) MarshalJSONTo(e *jsontext.Encoder) error {
	if err := e.WriteToken(jsontext.BeginObject); err != nil {
		return err
	}
	for _, m := range o {
		if err := e.WriteToken(jsontext.String(m.Name)); err != nil {
			return err
		}
		if err := json.MarshalEncode(e, m.Value); err != nil {
			return err
		}
	}
	return e.WriteToken(jsontext.EndObject)
}
