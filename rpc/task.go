package rpc

import (
	"rowcall/model"
	"rowcall/modules/jsonrpc"
)

func taskMethods(m *jsonrpc.Mux, api API) {
	crud(m, api, model.Tasks, "tasks")
}
