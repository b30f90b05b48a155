package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/model"
	"rowcall/modules/auth"
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
	passwords, err := auth.NewPasswords(auth.Key("a key for the benchmark, 32 bytes"), nil)
	if err != nil {
		return err
	}
	tokens := auth.NewTokens(auth.Key("a key for the benchmark, 32 bytes"), 24*time.Hour)
	authn := model.NewAuthn(db, passwords, tokens, 24*time.Hour)
	token, err := newSession(ctx, db, tokens)
	if err != nil {
		return err
	}
	mux := jsonrpc.New(jsonrpc.Options{Log: zap.NewNop(), Timeout: 10 * time.Second, Limit: limit.Call, Observe: watch.Call, Guard: rpc.Guard})
	rpc.Register(mux, rpc.API{DB: db, Authn: authn})
	h, err := web.New(web.Config{Mux: mux, Authn: authn, Limits: limits(), Ready: db.Ping, Log: log, Telemetry: watch})
	if err != nil {
		return err
	}
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
	fmt.Println("token=" + token)
	return announceAndServe(ctx, http.Handler(h))
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

// newSession does what a login does, without a password.
func newSession(ctx context.Context, db *store.DB, tokens *auth.Tokens) (string, error) {
	id := uuid.New()
	_, err := db.Platform(ctx).Exec(`INSERT INTO session (tenant_id, id, user_id, ctime, expires_at) VALUES ($1, $2, $3, now(), now() + interval '1 day')`,
		tenantID, id.String(), userID)
	if err != nil {
		return "", err
	}
	token, _, err := tokens.Access(auth.AccessClaims{User: userID, Tenant: uuid.MustParse(tenantID), Session: id}, time.Now())
	return token, err
}

func notifyTerminated(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
}
