package rpc_test

import (
	"strings"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/rpc/rpctest"
)

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	demo1, demo2, admin := s.As(t, "demo1"), s.As(t, "demo2"), s.As(t, "admin")
	create := func(scopes ...string) rpctest.Row {
		return rpctest.Row{"data": rpctest.Row{"name": strings.Join(scopes, "+"), "scopes": scopes}}
	}
	made := rpctest.Call[rpctest.Row](demo1, "create_api_key", create("read", "write"))
	key, _ := made["key"].(string)
	if !strings.HasPrefix(key, "rck_") || made["name"] != "read+write" || made["last_used_at"] != nil || made["user_id"] != float64(demo1.Actor.User) {
		t.Fatalf("made %v", made)
	}
	for _, c := range []struct {
		client *rpctest.Client
		want   int
	}{{demo1, 1}, {demo2, 0}, {admin, 1}, {s.As(t, "other1"), 0}} {
		rows := rpctest.Call[[]rpctest.Row](c.client, "list_api_keys", nil)
		if len(rows) != c.want {
			t.Errorf("%s lists %d keys", c.client.Actor.Username, len(rows))
		}
		for _, row := range rows {
			if row["key"] != nil || row["hash"] != nil {
				t.Errorf("a secret is listed: %v", row)
			}
		}
	}
	demo1.FailsAt(apperr.InvalidParams, "params.data.hash", "create_api_key",
		rpctest.Row{"data": rpctest.Row{"name": "x", "scopes": []string{"read"}, "hash": "00"}})
	for _, scopes := range []any{nil, []string{}, []string{"root"}, "read", []any{1}} {
		_, failed := demo1.Do("create_api_key", rpctest.Row{"data": rpctest.Row{"name": "x", "scopes": scopes}})
		if failed == nil || (failed.Data.Kind != apperr.InvalidParams && failed.Data.Kind != apperr.ValidationFailed) ||
			len(failed.Data.Issues) == 0 || !strings.HasPrefix(failed.Data.Issues[0].Path, "params.data.scopes") {
			t.Errorf("scopes %v: %+v", scopes, failed)
		}
	}
	demo1.Fails(apperr.Forbidden, "create_api_key", create("admin"))
	demo1.Fails(apperr.AlreadyExists, "create_api_key", create("read", "write"))
	demo1.FailsAt(apperr.ValidationFailed, "params.data.expires_at", "create_api_key",
		rpctest.Row{"data": rpctest.Row{"name": "late", "scopes": []string{"read"}, "expires_at": "2020-01-01T00:00:00Z"}})
	rpctest.Call[rpctest.Row](admin, "create_api_key", create("admin"))

	actor, err := s.Authn.ByAPIKey(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if actor.Scope != auth.ScopeWrite || actor.User != demo1.Actor.User || actor.Key == 0 {
		t.Errorf("actor %+v", actor)
	}
	if rows := rpctest.Call[[]rpctest.Row](demo1, "list_api_keys", nil); rows[0]["last_used_at"] == nil {
		t.Error("its use was not noted")
	}
	demo2.Fails(apperr.NotFound, "delete_api_key", rpctest.Row{"id": made["id"]})
	rpctest.Call[rpctest.Row](demo1, "delete_api_key", rpctest.Row{"id": made["id"]})
	if _, err := s.Authn.ByAPIKey(t.Context(), key); apperr.From(err).Kind != apperr.Unauthenticated {
		t.Errorf("a deleted key: %v", err)
	}
}
