package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"rowcall/model"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// groupWays are creates of a task by so many clients, spread over so many tenants, through the store alone: with the writes of a tenant
// committed together and each by itself.
func groupWays(clients, tenants int) func(b *bench) ([]contender, error) {
	return func(b *bench) ([]contender, error) {
		var ways []contender
		for _, way := range []struct {
			name  string
			group int
		}{{"group commit", 0}, {"one commit per call", 1}} {
			ways = append(ways, contender{way.name, func(ctx context.Context, d time.Duration) (rate float64, err error) {
				db, err := b.store(ctx, way.group)
				if err != nil {
					return 0, err
				}
				defer func() { err = errors.Join(err, db.Close()) }()
				return writes(ctx, db, clients, tenants, d)
			}})
		}
		return ways, nil
	}
}

func (b *bench) store(ctx context.Context, group int) (*store.DB, error) {
	tenantURL, platformURL, err := store.Logins(ctx, b.url, databaseFor, func(login string) string { return login })
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Config{TenantURL: tenantURL, PlatformURL: platformURL, TenantConns: serverConns + 2, GroupCommit: group})
}

// tenant returns the tenant with a number, which fill made.
func tenant(n int) uuid.UUID { return uuid.MustParse(fmt.Sprintf("00000000-0000-4000-8000-%012d", 1+n)) }

// writes returns how many creates are committed in a second.
func writes(ctx context.Context, db *store.DB, clients, tenants int, d time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var committed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wg.Go(func() {
			for n := i; time.Since(start) < d && ctx.Err() == nil; n += clients {
				actor := &auth.Actor{Tenant: tenant(n % tenants), User: userID, Role: auth.Member, Scope: auth.ScopeWrite}
				tx, err := db.Session(auth.WithRequest(ctx, &auth.Request{Actor: actor, Method: "create_task", Now: time.Now}))
				if err == nil {
					_, err = model.Tasks.Create(tx, model.Task{ProjectID: 1, Title: "a new task"})
				}
				if err != nil {
					cancel(err)
					return
				}
				committed.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(committed.Load()) / time.Since(start).Seconds(), context.Cause(ctx)
}
