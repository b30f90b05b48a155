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

// groupWorkload is creates of tasks by so many clients, spread over so many tenants, through the store alone: with the writes of a tenant
// committed in groups, and each by itself.
func groupWorkload(clients, tenants int) workload {
	return workload{
		name: fmt.Sprintf("group_%d_%d", clients, tenants),
		what: fmt.Sprintf("a task created, by %d clients in %d tenants: the store alone", clients, tenants),
		ways: func(b *bench) ([]contender, error) {
			if err := b.spreadTenants(context.Background()); err != nil {
				return nil, err
			}
			way := func(name string, group int) contender {
				return contender{name, func(ctx context.Context, d time.Duration) (rate float64, err error) {
					db, err := b.openStore(ctx, group)
					if err != nil {
						return 0, err
					}
					defer func() { err = errors.Join(err, db.Close()) }()
					return b.creates(ctx, db, clients, tenants, d)
				}}
			}
			return []contender{way("group commit", 0), way("one commit per call", 1)}, nil
		},
	}
}

func (b *bench) openStore(ctx context.Context, group int) (*store.DB, error) {
	tenantURL, platformURL, err := store.Logins(ctx, b.url, databaseFor, func(login string) string { return login })
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, store.Config{TenantURL: tenantURL, PlatformURL: platformURL, TenantConns: serverConns + 2, GroupCommit: group})
}

// creates returns how many creates were committed in a second.
func (b *bench) creates(ctx context.Context, db *store.DB, clients, tenants int, d time.Duration) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var committed atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range clients {
		wg.Go(func() {
			for n := i; time.Since(start) < d && ctx.Err() == nil; n += clients {
				tenant := tenantOf(n % tenants)
				actor := &auth.Actor{Tenant: uuid.MustParse(tenant), User: userID, Role: auth.Member, Scope: auth.ScopeWrite}
				tx, err := db.Session(auth.WithRequest(ctx, &auth.Request{Actor: actor, Method: "create_task", Now: time.Now}))
				if err == nil {
					_, err = model.Tasks.Create(tx, model.Task{ProjectID: b.projects[tenant], Title: "a new task"})
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
