package telemetry

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
)

// AdminHandler serves GET /metrics and /debug/pprof/, and nothing else. It asks nobody who they are, and profiles show what the
// program does and holds: it is for listeners that only operators reach.
func (t *Telemetry) AdminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{ErrorLog: zap.NewStdLog(t.Log)}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index) // and all profiles by their names
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// ServeAdmin serves the AdminHandler on l until ctx ends. A profile that is being taken then is cut off.
func (t *Telemetry) ServeAdmin(ctx context.Context, l net.Listener) error {
	hs := &http.Server{
		Handler:           t.AdminHandler(),
		ReadHeaderTimeout: 5 * time.Second,
		ErrorLog:          zap.NewStdLog(t.Log),
	}
	defer context.AfterFunc(ctx, func() { _ = hs.Close() })() // closing cannot fail in a way that matters
	if err := hs.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
