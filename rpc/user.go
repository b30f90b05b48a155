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
	d := describe(model.Users, "users")
	suspension := func(summary string, suspended bool) jsonrpc.MethodOption {
		return described(doc{
			entity: d, summary: summary, errors: []apperr.Kind{apperr.NotFound},
			example: &example{
				object{value("id", d.exampleID())},
				writtenOf(d.exampleRow(value("suspended", suspended))),
			},
		})
	}
	jsonrpc.Handle(m, "suspend_user", api.suspendUser, suspension("Suspend a user and end their sessions in the tenant, as an admin", true))
	jsonrpc.Handle(m, "resume_user", api.resumeUser, suspension("Let a suspended user in again, as an admin", false))
	jsonrpc.Handle(m, "change_password", api.changePassword, described(doc{
		tag:         "user",
		summary:     "Change one's own password",
		description: "It ends all sessions of the user, in every tenant.",
		errors:      []apperr.Kind{apperr.Forbidden, apperr.ValidationFailed},
		example:     &example{object{value("pwd", "welcome"), value("new_pwd", "correct horse battery staple")}, dataOf(object{value("changed", true)})},
	}))
}

func (api API) suspendUser(ctx context.Context, p byID[int64]) (changed[model.User], error) {
	return api.setSuspended(ctx, p.ID, true)
}

func (api API) resumeUser(ctx context.Context, p byID[int64]) (changed[model.User], error) {
	return api.setSuspended(ctx, p.ID, false)
}

func (api API) setSuspended(ctx context.Context, id int64, suspended bool) (changed[model.User], error) {
	user, position, err := api.Authn.SetSuspended(ctx, id, suspended)
	return changed[model.User]{Data: user, at: &position}, err
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
