package jsonrpc_test

import (
	"context"
	"fmt"

	"rowcall/modules/jsonrpc"
)

func Example() {
	type params struct {
		Name   string `json:"name"`
		Polite bool   `json:"polite,omitzero"`
	}
	m := jsonrpc.New(jsonrpc.Options{})
	jsonrpc.Handle(m, "greet", func(_ context.Context, p params) (string, error) {
		if p.Polite {
			return "Good morning, " + p.Name, nil
		}
		return "Hi " + p.Name, nil
	})

	for _, body := range []string{
		`{"id":1,"method":"greet","params":{"name":"Ada"}}`,
		`[{"id":"a","method":"greet","params":{"name":"Ada","polite":true}}, {"method":"greet","params":{"name":"nobody hears"}}]`,
		`{"id":2,"method":"greet","params":{"nam":"Ada"}}`,
	} {
		reply := m.Serve(context.Background(), "the-request-id", []byte(body))
		fmt.Printf("%s\n", reply.Body)
	}
	// Output:
	// {"jsonrpc":"2.0","id":1,"result":"Hi Ada"}
	// [{"jsonrpc":"2.0","id":"a","result":"Good morning, Ada"}]
	// {"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"Invalid params: params.nam is not known here","data":{"kind":"INVALID_PARAMS","request_id":"the-request-id","issues":[{"path":"params.nam","reason":"is not known here","allowed":["name","polite"]},{"path":"params.name","reason":"is required"}]}}}
}
