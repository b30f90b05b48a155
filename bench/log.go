package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"rowcall/model"
	"rowcall/modules/auth"
	"rowcall/modules/store"
)

// spread is the number of tenants that writers are spread over.
const spread = 100

// logWays are a create with its entry in the change log, in the one statement that the repository runs, and the same insert without,
// spread over many tenants.
func logWays(b *bench) ([]contender, error) {
	ctx := context.Background()
	logged, plain, err := createTexts(ctx, b.url)
	if err != nil {
		return nil, err
	}
	cfg, err := pgxpool.ParseConfig(b.url)
	if err != nil {
		return nil, err
	}
	cfg.MaxConns = serverConns
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := b.spreadTenants(ctx); err != nil {
		return nil, err
	}
	now := time.Now()
	write := func(name, text string, more ...any) contender {
		return contender{name, func(ctx context.Context, d time.Duration) (float64, error) {
			return inParallel(ctx, d, func(ctx context.Context, r *rand.Rand) error {
				tenant := tenantOf(r.IntN(spread))
				args := []any{tenant, userID, now, userID, now, b.projects[tenant], "a new task", false, nil, "{}"}
				if len(more) > 0 {
					args = append(append(args, tenant), more...)
				}
				rows, err := pool.Query(ctx, text, args...)
				if err != nil {
					return err
				}
				rows.Close()
				return rows.Err()
			})
		}}
	}
	return []contender{write("with its entry", logged, now, userID, "create_task"), write("without", plain)}, nil
}

func tenantOf(i int) string { return fmt.Sprintf("00000000-0000-4000-9000-%012d", i) }

// spreadTenants makes the tenants, each with a project, if they are not there.
func (b *bench) spreadTenants(ctx context.Context) error {
	if b.projects != nil {
		return nil
	}
	pool, err := pgxpool.New(ctx, b.url)
	if err != nil {
		return err
	}
	defer pool.Close()
	b.projects = map[string]int64{}
	for i := range spread {
		tenant := tenantOf(i)
		if _, err := pool.Exec(ctx, `INSERT INTO tenant (id, slug, name) VALUES ($1, 'spread-' || $2::int, 'Spread')`, tenant, i); err != nil {
			return err
		}
		if _, err := pool.Exec(ctx, `INSERT INTO membership (tenant_id, user_id, role, cid, mid) VALUES ($1, $2, 'member', $2, $2)`, tenant, userID); err != nil {
			return err
		}
		var project int64
		err := pool.QueryRow(ctx, `INSERT INTO project (tenant_id, name, owner_id, version, cid, ctime, mid, mtime)
			VALUES ($1, 'p', $2, 1, $2, now(), $2, now()) RETURNING id`, tenant, userID).Scan(&project)
		if err != nil {
			return err
		}
		b.projects[tenant] = project
	}
	return nil
}

// createTexts returns what the repository sends to create a task: by itself, with its entry, and in a transaction, where the entries
// come at the end.
func createTexts(ctx context.Context, url string) (logged, plain string, err error) {
	tenantURL, platformURL, err := store.Logins(ctx, url, databaseFor, func(login string) string { return login })
	if err != nil {
		return "", "", err
	}
	var mu sync.Mutex
	var seen []string
	db, err := store.Open(ctx, store.Config{TenantURL: tenantURL, PlatformURL: platformURL, Observe: func(_ context.Context, s store.Statement) {
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(s.Text, `INSERT INTO "task"`) {
			seen = append(seen, s.Text)
		}
	}})
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx = auth.WithRequest(ctx, &auth.Request{Now: time.Now, Actor: &auth.Actor{
		Tenant: uuid.MustParse(tenantID), User: userID, Role: auth.Member, Scope: auth.ScopeAdmin,
	}})
	create := func(tx *store.Tx) error {
		_, err := model.Tasks.Create(tx, model.Task{ProjectID: 2000, Title: "x"})
		return err
	}
	tx, err := db.Session(ctx)
	if err == nil {
		err = errors.Join(create(tx), db.InTx(ctx, create))
	}
	if err != nil {
		return "", "", err
	}
	if len(seen) != 2 {
		return "", "", fmt.Errorf("%d statements were seen, want 2", len(seen))
	}
	return seen[0], seen[1], nil
}

// inParallel lets as many goroutines as a load has connections do something for d, and returns how often it was done in a second.
func inParallel(ctx context.Context, d time.Duration, do func(context.Context, *rand.Rand) error) (float64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for i := range connections {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for time.Since(start) < d && ctx.Err() == nil {
				if err := do(ctx, r); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, err
	}
	return float64(done.Load()) / time.Since(start).Seconds(), nil
}
