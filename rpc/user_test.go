package rpc_test

import (
	"fmt"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
)

func TestUsersAreThoseOfTheTenant(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	c := s.As(t, "demo1")
	var names []string
	for _, row := range rpctest.Call[[]rpctest.Row](c, "list_users", rpctest.Row{"list_options": rpctest.Row{"order_bys": "username"}}) {
		names = append(names, fmt.Sprint(row["username"], " ", row["role"]))
		for field := range row {
			if field == "pwd" || field == "tenant_id" {
				t.Errorf("the field %s is shown", field)
			}
		}
	}
	if got := fmt.Sprint(names); got != "[admin admin demo1 member demo2 member]" {
		t.Errorf("users: %s", got)
	}
	me := rpctest.Call[rpctest.Row](c, "get_user", rpctest.Row{"id": c.Actor.User})
	if me["username"] != "demo1" || me["name"] != "Demo One" || me["version"] != 1.0 {
		t.Errorf("me: %v", me)
	}
	c.Fails(apperr.NotFound, "get_user", rpctest.Row{"id": s.As(t, "other1").Actor.User})
	c.FailsAt(apperr.InvalidParams, "params.filters.pwd", "list_users", rpctest.Row{"filters": rpctest.Row{"pwd": rpctest.Row{"$startsWith": "#"}}})
	c.Fails(apperr.MethodNotFound, "create_user", nil)
	rows := rpctest.Call[[]rpctest.Row](c, "list_users", rpctest.Row{"filters": rpctest.Row{"name": rpctest.Row{"$containsCi": "ADMIN"}}})
	if len(rows) != 1 {
		t.Errorf("filtered: %v", rows)
	}
}

func TestSuspension(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	admin, demo1, demo2 := s.As(t, "admin"), s.As(t, "demo1"), s.As(t, "demo2")
	other := s.As(t, "other1")
	demo1.Fails(apperr.Forbidden, "suspend_user", rpctest.Row{"id": demo2.Actor.User})
	admin.Fails(apperr.Forbidden, "suspend_user", rpctest.Row{"id": admin.Actor.User})
	admin.Fails(apperr.NotFound, "suspend_user", rpctest.Row{"id": other.Actor.User})
	for i, method := range []string{"suspend_user", "suspend_user", "resume_user"} {
		row := rpctest.Call[rpctest.Row](admin, method, rpctest.Row{"id": demo1.Actor.User})
		if row["suspended"] != (method == "suspend_user") || row["version"] != []float64{2, 2, 3}[i] || row["mid"] != float64(admin.Actor.User) {
			t.Errorf("%s: %v", method, row)
		}
	}
}
