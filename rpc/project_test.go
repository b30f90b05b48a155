package rpc_test

import (
	"slices"
	"strings"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/rpc/rpctest"
)

func TestProject(t *testing.T) {
	rpctest.CRUD(t, rpctest.Entity{
		Name: "project", Plural: "projects",
		New:    func(n int) rpctest.Row { return rpctest.Row{"name": rpctest.Name("project", n)} },
		Change: rpctest.Row{"name": "another name"},
		Wrong:  map[string]any{"name": 5, "owner_id": "x"},
		Rules:  map[string]any{"name": strings.Repeat("é", 101), "owner_id": 0},
	})
}

func TestProjectNamesAreUniqueInATenant(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	demo, other := s.As(t, "demo1"), s.As(t, "other1")
	made := rpctest.Call[rpctest.Row](demo, "create_project", rpctest.Row{"data": rpctest.Row{"name": "a"}})
	failed := demo.Fails(apperr.AlreadyExists, "create_project", rpctest.Row{"data": rpctest.Row{"name": "a"}})
	if failed.Data.Entity != "project" || !slices.Equal(failed.Data.Fields, []string{"name"}) {
		t.Errorf("%+v", failed.Data)
	}
	rpctest.Call[rpctest.Row](other, "create_project", rpctest.Row{"data": rpctest.Row{"name": "a"}})
	if made["owner_id"] != float64(demo.Actor.User) {
		t.Errorf("the owner is %v", made["owner_id"])
	}
	failed = demo.Fails(apperr.BadReference, "create_project",
		rpctest.Row{"data": rpctest.Row{"name": "b", "owner_id": other.Actor.User}})
	if failed.Data.Entity != "project" || failed.Data.Field != "owner_id" {
		t.Errorf("%+v", failed.Data)
	}
}

func TestProjectsWithTasksStay(t *testing.T) {
	t.Parallel()
	c := rpctest.New(t).As(t, "demo1")
	project := newProject(c, "a")
	rpctest.Call[rpctest.Row](c, "create_task", rpctest.Row{"data": rpctest.Row{"project_id": project, "title": "x"}})
	failed := c.Fails(apperr.Referenced, "delete_project", rpctest.Row{"id": project})
	if failed.Data.Entity != "task" || failed.Data.Field != "project_id" {
		t.Errorf("%+v", failed.Data)
	}
}

func newProject(c *rpctest.Client, name string) any {
	return rpctest.Call[rpctest.Row](c, "create_project", rpctest.Row{"data": rpctest.Row{"name": name}})["id"]
}
