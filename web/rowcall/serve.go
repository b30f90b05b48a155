package main

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime/debug"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"rowcall/model"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/limit"
	"rowcall/rpc"
	"rowcall/web"
	"rowcall/web/telemetry"
)

// gcPercent lets the heap grow further between collections than Go's default: the live heap is small, and on two cores
// it gives 12 to 16 % more calls per second. GOGC overrides it.
const gcPercent = 400

// serve runs the server until ctx ends.
func serve(ctx context.Context, m mode, environ []string, stderr io.Writer, listening func(net.Addr)) (err error) {
	cfg, err := loadConfig(environ, m)
	if err != nil {
		return err
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(gcPercent)
	}
	log := newLog(cfg, stderr)
	passwords, err := auth.NewPasswords(cfg.PasswordKey, cfg.LegacyPasswordKey)
	if err != nil {
		return err
	}
	traces, err := telemetry.Traces(ctx, log)
	if err != nil {
		return err
	}
	watch := telemetry.New(telemetry.Config{Log: log, Traces: traces, SlowStatement: cfg.SlowStatement, SlowPlan: cfg.SlowPlan})
	defer watch.Close(ctx)
	d, err := openDatabase(ctx, cfg, passwords, log, watch.Statement)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()

	authn := model.NewAuthn(d.DB, passwords, auth.NewTokens(cfg.TokenKey, cfg.TokenTTL), cfg.RefreshTTL)
	mux := jsonrpc.New(jsonrpc.Options{
		Limit: limit.Call, Guard: rpc.Guard, Atomic: d.Atomic, Timeout: cfg.CallTimeout, Log: log, Observe: watch.Call,
	})
	nodes := newBus(cfg, d, log)
	defer start(ctx, nodes.Run)()
	documents := document.NewHub(document.Config{DB: d.DB, Bus: nodes, Touch: model.TouchDocument, Aside: limit.Aside, Revoked: authn.Look, Logger: log})
	defer start(ctx, documents.Run)()
	views := rpc.Register(mux, rpc.API{
		DB: d.DB, Authn: authn, Replicas: changelog.Replicas{Lease: cfg.Retention.Lease}, MutationRetention: cfg.Retention.Mutations,
		Documents: documents,
	})
	limits := limit.New(cfg.Limits)
	hub := changelog.NewHub(changelog.HubConfig{
		DB: d.DB, Log: changelog.New(), Views: views, Bus: nodes, Revoked: authn.Look, Logger: log,
	})
	d.OnCommit(hub.Wake)
	defer start(ctx, hub.Run)()
	watch.Register(telemetry.Database(d.DB), telemetry.Hub(hub), telemetry.Bus(nodes), telemetry.Documents(documents), limits)
	server, err := web.New(web.Config{
		Mux: mux, Authn: authn, Limits: limits, Hub: hub, Documents: documents, Ready: d.ready, Log: log, Telemetry: watch, ServerTiming: m == modeDev,
		TrustedProxies: cfg.TrustedProxies, StopTimeout: cfg.StopTimeout,
	})
	if err != nil {
		return err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		return err
	}
	if cfg.AdminAddr != "" {
		stop, failed := serveAdmin(ctx, cfg.AdminAddr, watch, log)
		if failed != nil {
			return errors.Join(failed, l.Close())
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	if cfg.PruneInterval > 0 {
		pruner := changelog.NewPruner(d.DB, cfg.Retention, log)
		watch.Register(pruner)
		defer start(ctx, func(ctx context.Context) { pruner.Run(ctx, cfg.PruneInterval) })()
	}
	log.Info("serving", zap.Stringer("address", l.Addr()), zap.Int64("migration", d.version))
	if m == modeDev {
		log.Info("this is a development server: demo users demo1, demo2, admin and other1 with the password welcome")
	}
	if listening != nil {
		listening(l.Addr())
	}
	err = server.Serve(ctx, l)
	log.Info("stopped")
	return err
}

// start runs a part of the server until stop is called, which is after the calls and streams that need it are done.
func start(ctx context.Context, run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
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

// serveAdmin serves the admin listener until stop is called, which is after the calls are done: they are watched to the end.
func serveAdmin(ctx context.Context, addr string, watch *telemetry.Telemetry, log *zap.Logger) (stop func() error, err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	log.Info("serving metrics and profiles", zap.Stringer("address", l.Addr()))
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- watch.ServeAdmin(ctx, l) }()
	return func() error {
		cancel()
		return <-done
	}, nil
}

func newLog(cfg config, w io.Writer) *zap.Logger {
	var encoder zapcore.Encoder
	if cfg.LogFormat == "console" {
		ec := zap.NewDevelopmentEncoderConfig()
		ec.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
		ec.EncodeDuration = zapcore.StringDurationEncoder
		encoder = zapcore.NewConsoleEncoder(ec)
	} else {
		ec := zap.NewProductionEncoderConfig()
		ec.EncodeTime = zapcore.RFC3339NanoTimeEncoder
		ec.TimeKey = "time"
		encoder = zapcore.NewJSONEncoder(ec)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(w)), cfg.LogLevel))
}
