package rpc

import (
	"rowcall/model"
	"rowcall/modules/jsonrpc"
)

func projectMethods(m *jsonrpc.Mux, api API) {
	crud(m, api, model.Projects, "projects")
}
