package jsonrpc_test

import (
	"context"
	"fmt"
	"testing"

	"rowcall/modules/jsonrpc"
)

// Calls of one method that stand side by side learn of each other, and of no others.
func TestAhead(t *testing.T) {
	type key struct{}
	m := jsonrpc.New(jsonrpc.Options{})
	jsonrpc.Handle(m, "get", func(ctx context.Context, p byID) (string, error) {
		return fmt.Sprint(p.ID, " of ", ctx.Value(key{})), nil
	}, jsonrpc.Ahead(func(ctx context.Context, all []byID) context.Context { return context.WithValue(ctx, key{}, all) }))
	add[none](m, "other")
	body := `[{"id":1,"method":"get","params":{"id":1}},{"id":2,"method":"other"},{"id":3,"method":"get","params":{"id":3}},
		{"id":4,"method":"get","params":{}},{"id":5,"method":"get","params":{"id":5}},{"id":6,"method":"nothing"},{"id":7,"method":"get","params":{"id":7}}]`
	want := `[{"jsonrpc":"2.0","id":1,"result":"1 of <nil>"},{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":3,"result":"3 of [{3} {5}]"},` +
		`{"jsonrpc":"2.0","id":4,"error":{"code":-32602,"message":"Invalid params: params.id is required","data":{"kind":"INVALID_PARAMS","request_id":"r","issues":[{"path":"params.id","reason":"is required"}]}}},` +
		`{"jsonrpc":"2.0","id":5,"result":"5 of [{3} {5}]"},{"jsonrpc":"2.0","id":6,"error":{"code":-32601,"message":"There is no method nothing","data":{"kind":"METHOD_NOT_FOUND","request_id":"r"}}},` +
		`{"jsonrpc":"2.0","id":7,"result":"7 of <nil>"}]`
	if got := string(m.Serve(t.Context(), "r", []byte(body)).Body); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
