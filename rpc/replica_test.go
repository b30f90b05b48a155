package rpc_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/rpc/rpctest"
)

func register(c *rpctest.Client, params rpctest.Row) string {
	return rpctest.Call[rpctest.Row](c, "register_replica", params)["replica_id"].(string)
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	demo1, demo2 := s.As(t, "demo1"), s.As(t, "demo2")
	s.DB.Exec(t, `UPDATE change_head SET head = 50, tail = 10`)

	id := register(demo1, rpctest.Row{"name": "phone", "entities": []string{"task"}})
	other := register(demo1, rpctest.Row{"name": strings.Repeat("é", 100)})
	ack := func(id string, position int) rpctest.Row {
		return rpctest.Row{"replica_id": id, "position": position}
	}
	list := rpctest.Call[[]rpctest.Row](demo1, "list_replicas", nil)
	if len(list) != 2 || list[0]["replica_id"] != id || list[0]["position"] != 10.0 || fmt.Sprint(list[0]["entities"]) != "[task]" || list[1]["entities"] != nil {
		t.Errorf("listed %v", list)
	}
	for _, position := range []int{11, 11, 50} {
		if row := rpctest.Call[rpctest.Row](demo1, "ack_replica", ack(id, position)); row["position"] != float64(position) || row["name"] != "phone" {
			t.Errorf("acknowledged %v", row)
		}
	}
	demo1.FailsAt(apperr.InvalidParams, "params.position", "ack_replica", ack(id, 49))
	demo1.FailsAt(apperr.InvalidParams, "params.position", "ack_replica", ack(id, 51))
	demo1.FailsAt(apperr.InvalidParams, "params.position", "ack_replica", ack(other, -1))
	demo2.Fails(apperr.NotFound, "ack_replica", ack(id, 50))
	demo2.Fails(apperr.NotFound, "delete_replica", rpctest.Row{"replica_id": id})
	s.As(t, "other1").Fails(apperr.NotFound, "ack_replica", ack(id, 50))
	demo1.FailsAt(apperr.ValidationFailed, "params.name", "register_replica", rpctest.Row{"name": ""})
	demo1.FailsAt(apperr.ValidationFailed, "params.name", "register_replica", rpctest.Row{"name": strings.Repeat("é", 101)})

	// The lease of these tests is an hour.
	s.DB.Exec(t, `UPDATE replica SET seen_at = now() - interval '59 minutes' WHERE id = $1`, id)
	s.DB.Exec(t, `UPDATE replica SET seen_at = now() - interval '61 minutes' WHERE id = $1`, other)
	rpctest.Call[rpctest.Row](demo1, "ack_replica", ack(id, 50))
	s.DB.Exec(t, `UPDATE replica SET seen_at = seen_at - interval '59 minutes' WHERE id = $1`, id)
	rpctest.Call[rpctest.Row](demo1, "ack_replica", ack(id, 50))
	demo1.Fails(apperr.NotFound, "ack_replica", ack(other, 50))
	demo1.Fails(apperr.NotFound, "delete_replica", rpctest.Row{"replica_id": other})
	rpctest.Call[rpctest.Row](demo1, "delete_replica", rpctest.Row{"replica_id": id})
	if list := rpctest.Call[[]rpctest.Row](demo1, "list_replicas", nil); len(list) != 0 {
		t.Errorf("listed %v", list)
	}
}

func TestReplicasAreBounded(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	demo1 := s.As(t, "demo1")
	for range changelog.MaxReplicas - 3 {
		register(demo1, rpctest.Row{"name": "x"})
	}
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 8 {
		wg.Go(func() {
			if _, failed := s.As(t, "demo1").Do("register_replica", rpctest.Row{"name": "x"}); failed == nil {
				made.Add(1)
			} else if failed.Data.Kind != apperr.Forbidden {
				t.Errorf("%+v", failed)
			}
		})
	}
	wg.Wait()
	if n := len(rpctest.Call[[]rpctest.Row](demo1, "list_replicas", nil)); n != changelog.MaxReplicas || made.Load() != 3 {
		t.Errorf("%d replicas", n)
	}
	register(s.As(t, "demo2"), rpctest.Row{"name": "x"})
	s.DB.Exec(t, `UPDATE replica SET seen_at = now() - interval '2 hours'`)
	register(demo1, rpctest.Row{"name": "x"})
}
