package rpc

import (
	"context"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
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
	handleOnPlatform(m, api, "suspend_user", api.suspendUser, suspension("Suspend a user and end their sessions in the tenant, as an admin", true))
	handleOnPlatform(m, api, "resume_user", api.resumeUser, suspension("Let a suspended user in again, as an admin", false))
	handleOnPlatform(m, api, "change_password", api.changePassword, described(doc{
		tag:         "user",
		summary:     "Change one's own password",
		description: "It ends all sessions of the user, in every tenant.",
		errors:      []apperr.Kind{apperr.Forbidden, apperr.ValidationFailed},
		example:     &example{object{value("pwd", "welcome"), value("new_pwd", "correct horse battery staple")}, object{value("data", object{value("changed", true)}), value("position", nil)}},
	}))
}

func (api API) suspendUser(ctx context.Context, p byID[int64], keep keeping[model.User]) error {
	return api.setSuspended(ctx, p.ID, true, keep)
}

func (api API) resumeUser(ctx context.Context, p byID[int64], keep keeping[model.User]) error {
	return api.setSuspended(ctx, p.ID, false, keep)
}

func (api API) setSuspended(ctx context.Context, id int64, suspended bool, keep keeping[model.User]) error {
	return api.Authn.SetSuspended(ctx, id, suspended, func(tx *store.PlatformTx, user model.User, position int64) error {
		return keep(tx, changed[model.User]{Data: user, at: &position})
	})
}

type changePasswordParams struct {
	Pwd    string `json:"pwd"`
	NewPwd string `json:"new_pwd"`
	mutable
}

type passwordChanged struct {
	Changed bool `json:"changed"`
}

func (api API) changePassword(ctx context.Context, p changePasswordParams, keep keeping[passwordChanged]) error {
	actor, err := auth.ActorFrom(ctx)
	if err != nil {
		return err
	}
	return apperr.Under("params.new_pwd", api.Authn.ChangePassword(ctx, actor, p.Pwd, p.NewPwd, func(tx *store.PlatformTx) error {
		return keep(tx, changed[passwordChanged]{Data: passwordChanged{true}})
	}))
}
