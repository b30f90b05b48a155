package rpc_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

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
	if late := rpctest.Call[rpctest.Row](demo1, "ack_replica", ack(id, 49)); fmt.Sprint(late["position"]) != "50" {
		t.Errorf("one that comes late: %v", late)
	}
	demo1.FailsAt(apperr.InvalidParams, "params.position", "ack_replica", ack(id, 51))
	demo1.FailsAt(apperr.InvalidParams, "params.position", "ack_replica", ack(other, -1))
	demo2.Fails(apperr.NotFound, "ack_replica", ack(id, 50))
	demo2.Fails(apperr.NotFound, "delete_replica", rpctest.Row{"replica_id": id})
	s.As(t, "other1").Fails(apperr.NotFound, "ack_replica", ack(id, 50))
	demo1.FailsAt(apperr.ValidationFailed, "params.name", "register_replica", rpctest.Row{"name": ""})
	demo1.FailsAt(apperr.ValidationFailed, "params.name", "register_replica", rpctest.Row{"name": strings.Repeat("é", 101)})
	demo1.FailsAt(apperr.ValidationFailed, "params.name", "register_replica", rpctest.Row{"name": "pho\x00ne"})

	demo1.FailsAt(apperr.InvalidParams, "params.entities[1]", "register_replica", rpctest.Row{"name": "x", "entities": []string{"task", "secret"}})

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

// Somebody who follows the log more slowly than it is pruned is told to start over, and never misses an entry without being told.
func TestSlowFollowersMissNothing(t *testing.T) {
	t.Parallel()
	s := rpctest.New(t)
	demo1 := s.As(t, "demo1")
	project := rpctest.Call[rpctest.Row](demo1, "create_project", rpctest.Row{"data": rpctest.Row{"name": "x"}})
	owner := s.DB.Owner(t)
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for ctx.Err() == nil {
			rpctest.Call[[]rpctest.Row](demo1, "create_tasks", rpctest.Row{"data": slices.Repeat([]rpctest.Row{{"project_id": project["id"], "title": "x"}}, 10)})
		}
	})
	wg.Go(func() {
		for ctx.Err() == nil {
			if _, err := owner.ExecContext(t.Context(), `UPDATE change SET at = at - interval '1 hour' WHERE at > now() - interval '10 minutes'`); err != nil {
				t.Error(err)
			}
			if _, err := changelog.Prune(t.Context(), s.DB.DB, changelog.Retention{Age: time.Minute}); err != nil {
				t.Error(err)
			}
		}
	})
	follower, since, resyncs := s.As(t, "demo1"), int64(0), 0
	for range 200 {
		var page struct {
			Data []struct {
				Position int64 `json:"position"`
			} `json:"data"`
		}
		result, failed := follower.Do("sync_delta", rpctest.Row{"since": since, "limit": 15, "coalesce": false})
		if failed != nil {
			if failed.Data.Kind != apperr.ResyncRequired {
				t.Fatalf("%+v", failed)
			}
			resyncs++
			since = rpctest.Call[struct {
				Position int64 `json:"position"`
			}](follower, "sync_head", nil).Position
			continue
		}
		if err := json.Unmarshal(result.Data, &page.Data); err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Data {
			if since++; e.Position != since { // this reader may see all
				t.Fatalf("position %d, want %d", e.Position, since)
			}
		}
	}
	stop()
	wg.Wait()
	if resyncs == 0 {
		t.Error("the follower was never too slow")
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
