package rpc

import (
	"context"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
)

func userMethods(m *jsonrpc.Mux, api API) {
	readable(m, api, model.Users, "users")
	jsonrpc.Handle(m, "suspend_user", api.suspendUser)
	jsonrpc.Handle(m, "resume_user", api.resumeUser)
	jsonrpc.Handle(m, "change_password", api.changePassword)
}

func (api API) suspendUser(ctx context.Context, p byID[int64]) (data[model.User], error) {
	user, err := api.Authn.SetSuspended(ctx, p.ID, true)
	return data[model.User]{user}, err
}

func (api API) resumeUser(ctx context.Context, p byID[int64]) (data[model.User], error) {
	user, err := api.Authn.SetSuspended(ctx, p.ID, false)
	return data[model.User]{user}, err
}

type changePasswordParams struct {
	Pwd    string `json:"pwd"`
	NewPwd string `json:"new_pwd"`
}

type passwordChanged struct {
	Changed bool `json:"changed"`
}

func (api API) changePassword(ctx context.Context, p changePasswordParams) (data[passwordChanged], error) {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return data[passwordChanged]{}, err
	}
	err = api.Authn.ChangePassword(ctx, actor, p.Pwd, p.NewPwd)
	return data[passwordChanged]{passwordChanged{err == nil}}, apperr.Under("params.new_pwd", err)
}
