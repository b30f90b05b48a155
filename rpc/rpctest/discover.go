package rpctest

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/rpc"
)

// Method is what rpc.discover says of a method, ready to check values against.
type Method struct {
	Params *jsonschema.Schema
	Result *jsonschema.Schema
	Errors map[apperr.Kind]*jsonschema.Schema // of error.data
}

// Methods returns what rpc.discover says of each method. Where a description of a result leaves open what else is in an object,
// the schema here does not: a client need not mind it, but whoever adds it should describe it.
var Methods = sync.OnceValue(func() map[string]Method {
	methods, err := compile(Discover())
	if err != nil {
		panic(err)
	}
	return methods
})

// Discover returns the document that rpc.discover answers with.
func Discover() jsontext.Value {
	m := jsonrpc.New(jsonrpc.Options{})
	rpc.Register(m, rpc.API{})
	var answer struct {
		Result jsontext.Value `json:"result"`
	}
	body := m.Serve(context.Background(), "", []byte(`{"id":1,"method":"rpc.discover"}`)).Body
	if err := json.Unmarshal(body, &answer); err != nil || answer.Result == nil {
		panic(fmt.Sprintf("%s: %v", body, err))
	}
	return answer.Result
}

func compile(document jsontext.Value) (map[string]Method, error) {
	var described struct {
		Methods []struct {
			Name   string `json:"name"`
			Params []struct {
				Name     string         `json:"name"`
				Required bool           `json:"required"`
				Schema   jsontext.Value `json:"schema"`
			} `json:"params"`
			Errors []struct {
				Ref string `json:"$ref"`
			} `json:"errors"`
		} `json:"methods"`
		Components struct {
			Errors map[string]jsontext.Value `json:"errors"`
		} `json:"components"`
	}
	if err := json.Unmarshal(document, &described); err != nil {
		return nil, err
	}
	root, err := Value(document)
	if err != nil {
		return nil, err
	}
	closeObjects(root)
	// The params of a call are described one by one, and what they make up together is put beside them.
	calls := map[string]any{}
	for i, m := range described.Methods {
		params, required := map[string]any{}, []any{}
		for j, p := range m.Params {
			params[p.Name] = map[string]any{"$ref": fmt.Sprintf("#/methods/%d/params/%d/schema", i, j)}
			if p.Required {
				required = append(required, p.Name)
			}
		}
		calls[m.Name] = map[string]any{"type": "object", "properties": params, "required": required, "additionalProperties": false}
	}
	root.(map[string]any)["calls"] = calls

	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft7)
	c.AssertFormat()
	if err := c.AddResource("openrpc.json", root); err != nil {
		return nil, err
	}
	methods := map[string]Method{}
	for i, m := range described.Methods {
		compiled := Method{Errors: map[apperr.Kind]*jsonschema.Schema{}}
		if compiled.Params, err = c.Compile("openrpc.json#/calls/" + m.Name); err != nil {
			return nil, err
		}
		if compiled.Result, err = c.Compile(fmt.Sprintf("openrpc.json#/methods/%d/result/schema", i)); err != nil {
			return nil, err
		}
		for _, e := range m.Errors {
			kind := apperr.Kind(e.Ref[len("#/components/errors/"):])
			if compiled.Errors[kind], err = c.Compile("openrpc.json" + e.Ref + "/data"); err != nil {
				return nil, err
			}
		}
		methods[m.Name] = compiled
	}
	return methods, nil
}

// closeObjects lets the objects in a schema have no members that it does not name.
func closeObjects(schema any) {
	switch s := schema.(type) {
	case []any:
		for _, part := range s {
			closeObjects(part)
		}
	case map[string]any:
		if _, ok := s["properties"].(map[string]any); ok && s["additionalProperties"] == nil {
			s["additionalProperties"] = false
		}
		for _, part := range s {
			closeObjects(part)
		}
	}
}

// Value decodes JSON as the schemas check it.
func Value(v jsontext.Value) (any, error) { return jsonschema.UnmarshalJSON(bytes.NewReader(v)) }

// check holds what came of a call against the method's description: what was accepted is allowed by the schema of the params,
// and what was answered by that of the result or of the error.
func (c *Client) check(method string, params, result, failure jsontext.Value, kind apperr.Kind) {
	c.t.Helper()
	m, ok := Methods()[method]
	if !ok {
		return
	}
	valid := func(what string, schema *jsonschema.Schema, v jsontext.Value) {
		c.t.Helper()
		value, err := Value(v)
		if err == nil {
			err = schema.Validate(value)
		}
		if err != nil {
			c.t.Errorf("%s: its description does not allow the %s %s: %v", method, what, v, err)
		}
	}
	switch {
	case result != nil:
		valid("params", m.Params, params)
		valid("result", m.Result, result)
	case m.Errors[kind] == nil:
		c.t.Errorf("%s: its description does not have errors of the kind %s", method, kind)
	default:
		valid("error's data", m.Errors[kind], failure)
	}
}
