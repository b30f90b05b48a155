package main

import (
	"context"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/zap"

	"rowcall/model"
	"rowcall/modules/auth"
	"rowcall/modules/bus"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/limit"
	"rowcall/modules/store"
	"rowcall/rpc"
	"rowcall/web"
	"rowcall/web/telemetry"
)

// serveRowcall is the server as web/rowcall puts it together, with a session to send requests by.
func serveRowcall(ctx context.Context, ownerURL string) (err error) {
	debug.SetGCPercent(400) // as web/rowcall does
	tenantURL, platformURL, err := store.Logins(ctx, ownerURL, databaseFor, func(login string) string { return login })
	if err != nil {
		return err
	}
	log, err := requestLog()
	if err != nil {
		return err
	}
	watch := telemetry.New(telemetry.Config{Log: log, SlowStatement: 500 * time.Millisecond})
	db, err := store.Open(ctx, store.Config{
		TenantURL: tenantURL, PlatformURL: platformURL, TenantConns: serverConns + 2, Observe: watch.Statement, Aside: limit.Aside,
	})
	if err != nil {
		return err
	}
	defer db.Close() //nolint:errcheck // the process ends
	passwords, err := auth.NewPasswords(auth.Key(key), nil)
	if err != nil {
		return err
	}
	authn := model.NewAuthn(db, passwords, auth.NewTokens(auth.Key(key), 24*time.Hour), 24*time.Hour)
	mux := jsonrpc.New(jsonrpc.Options{Log: zap.NewNop(), Timeout: 10 * time.Second, Limit: limit.Call, Observe: watch.Call, Guard: rpc.Guard})
	nodes := bus.NewPostgres(db, platformURL, zap.NewNop())
	documents := document.NewHub(document.Config{DB: db, Bus: nodes, Touch: model.TouchDocument, Aside: limit.Aside, Revoked: authn.Look, Logger: zap.NewNop()})
	views := rpc.Register(mux, rpc.API{DB: db, Authn: authn, Documents: documents})
	hub := changelog.NewHub(changelog.HubConfig{
		DB: db, Log: changelog.New(), Views: views, Bus: nodes, Revoked: authn.Look, Logger: zap.NewNop(),
	})
	var commits commits
	db.OnCommit(func(tenant uuid.UUID, position int64) {
		commits.add(tenant, position)
		hub.Wake(tenant, position)
	})
	s, err := web.New(web.Config{
		Mux: mux, Authn: authn, Limits: limits(), Hub: hub, Documents: documents, Ready: db.Ping, Log: log, Telemetry: watch, StopTimeout: time.Second,
	})
	if err != nil {
		return err
	}
	defer inBackground(nodes.Run)()
	defer inBackground(documents.Run)()
	defer inBackground(hub.Run)()
	stop, err := serveState(ctx, &commits)
	if err != nil {
		return err
	}
	defer stop()
	if path := os.Getenv("ROWCALL_BENCH_PROFILE"); path != "" {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	return announceAndServe(ctx, s.Serve)
}

// limits are there as in production, but only the concurrency is reached, which is that of the other contenders.
func limits() *limit.Limits {
	rule := limit.Rule{Calls: limit.Rate{PerSecond: 1e9, Burst: 1e9}, Cost: limit.Rate{PerSecond: 1e9, Burst: 1e9}}
	return limit.New(limit.Config{User: rule, Key: rule, Address: rule, Concurrency: serverConns, Wait: time.Minute})
}

// requestLog is the log line of every request, as in production, to nowhere.
func requestLog() (*zap.Logger, error) {
	cfg := zap.NewProductionConfig()
	cfg.OutputPaths = []string{os.DevNull}
	cfg.Sampling = nil
	return cfg.Build()
}

// inBackground runs a part of the server until stop is called.
func inBackground(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		run(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

// key signs the tokens.
const key = "a key for the benchmark, 32 bytes"

// newToken does what a login does, without a password.
func newToken(ctx context.Context, db *pgxpool.Pool, tenant string) (string, error) {
	id := uuid.New()
	_, err := db.Exec(ctx, `INSERT INTO session (tenant_id, id, user_id, ctime, expires_at) VALUES ($1, $2, $3, now(), now() + interval '1 day')`,
		tenant, id.String(), userID)
	if err != nil {
		return "", err
	}
	token, _, err := auth.NewTokens(auth.Key(key), 24*time.Hour).Access(auth.AccessClaims{User: userID, Tenant: uuid.MustParse(tenant), Session: id}, time.Now())
	return token, err
}

func notifyTerminated(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
}
