// Package web serves Rowcall over HTTP: the one endpoint /api/rpc, login, refresh and logoff, and health. Nothing below it
// knows HTTP.
package web

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/changelog"
	"rowcall/modules/document"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/limit"
	"rowcall/web/telemetry"
)

// Limits of a connection. The body's are those of the wire contract.
const (
	maxBody           = 1 << 20
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second // of a whole request
	writeTimeout      = 30 * time.Second // of an answer, from its first byte
	idleTimeout       = 2 * time.Minute
	requestTimeout    = time.Minute // of a whole request, however many calls it has
	maxHeader         = 32 << 10
)

// Config is what a Server works with.
type Config struct {
	Mux            *jsonrpc.Mux
	Authn          *model.Authn
	Limits         *limit.Limits  // nil for none
	Hub            *changelog.Hub // nil for no streams
	Documents      *document.Hub
	Ready          func(ctx context.Context) error // whether the database can be worked with
	Log            *zap.Logger
	Telemetry      *telemetry.Telemetry // nil for none
	ServerTiming   bool                 // whether answers say what took how long, which is for development
	TrustedProxies []string             // CIDRs whose X-Forwarded-For is believed
	StopTimeout    time.Duration        // how long running calls may go on after a stop
}

// Server serves HTTP. Make one with New.
type Server struct {
	Config
	handler http.Handler
	running running
	streams streams
	times   times
	work    context.Context // of streams; it ends when calls that run at a stop are cancelled
}

// New returns a Server; an error if a trusted proxy is not a CIDR.
func New(cfg Config) (*Server, error) {
	gin.SetMode(gin.ReleaseMode)
	s := &Server{Config: cfg, times: defaultTimes, streams: streams{open: map[*stream]struct{}{}}, work: context.Background()}
	s.running.stopping, s.running.stop = context.WithCancel(context.Background())
	if s.Limits == nil {
		s.Limits = limit.New(limit.Config{})
	}
	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.RedirectTrailingSlash = false // another path is another path
	if err := r.SetTrustedProxies(cfg.TrustedProxies); err != nil {
		return nil, err
	}
	r.Use(s.observe)
	r.NoRoute(func(c *gin.Context) {
		refuse(c, http.StatusNotFound, apperr.New(apperr.NotFound, "There is nothing at this path"))
	})
	r.NoMethod(func(c *gin.Context) {
		refuse(c, http.StatusMethodNotAllowed, apperr.New(apperr.InvalidRequest, "This path does not take "+c.Request.Method))
	})
	api := r.Group("/api", s.admit)
	api.POST("/rpc", s.rpc)
	api.GET("/rpc", s.live)
	api.POST("/login", s.login)
	api.POST("/refresh", s.refresh)
	api.POST("/logoff", s.logoff)
	probe := []string{http.MethodGet, http.MethodHead}
	r.Match(probe, "/healthz", s.health)
	r.Match(probe, "/readyz", s.ready)
	s.handler = r
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve serves on l until ctx ends. Then it is no longer ready and refuses further calls, while the running ones may go on for
// StopTimeout, after which they are cancelled. It returns nil after such a stop.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	calls, cancelCalls := context.WithCancel(context.WithoutCancel(ctx))
	defer cancelCalls()
	s.work = calls
	errorLog, err := zap.NewStdLogAt(s.Log, zap.WarnLevel)
	if err != nil {
		return err
	}
	hs := &http.Server{
		Handler:                      s,
		ReadHeaderTimeout:            readHeaderTimeout,
		ReadTimeout:                  readTimeout,
		IdleTimeout:                  idleTimeout,
		MaxHeaderBytes:               maxHeader,
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     errorLog,
		BaseContext:                  func(net.Listener) context.Context { return calls },
	}
	failed := make(chan error, 1)
	go func() { failed <- hs.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	s.streams.drain()
	// Until the calls are done, the listener stays open for whoever asks whether this server is ready.
	if !s.drain() {
		s.Log.Warn("calls are still running at the end of the stop timeout and are cancelled")
		cancelCalls()
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastAnswers)
	defer cancel()
	s.streams.wait(bounded)
	err = hs.Shutdown(bounded)
	if err != nil {
		err = hs.Close()
	}
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}

// lastAnswers is how long connections may take at the end to send what has been answered.
const lastAnswers = time.Second

// running counts the API's requests, and knows whether further ones are admitted.
type running struct {
	mu       sync.Mutex
	n        int
	draining bool
	idle     chan struct{}   // closed when n is 0 after draining began
	stopping context.Context // ends when draining begins
	stop     context.CancelFunc
}

// admit refuses requests of the API once the server drains, and those of an address that has sent too many; and counts the
// others.
func (s *Server) admit(c *gin.Context) {
	if !s.running.begin() {
		c.Header("Connection", "close")
		refuse(c, http.StatusServiceUnavailable, errStopping)
		return
	}
	defer s.running.end()
	c.Set(wholeKey, c.Request.Context())
	ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	if err := s.Limits.Knock(ctx); err != nil {
		refuseAs(c, err)
		return
	}
	c.Next()
	if c.Writer.Status() == http.StatusUnauthorized {
		s.Limits.Refused(ctx)
	}
}

var errStopping = apperr.New(apperr.Unavailable, "The server is stopping")

// wholeKey is the key of the request's context without requestTimeout, for answers that take as long as the client reads.
const wholeKey = "rowcall.whole"

func (r *running) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.draining {
		r.n++
	}
	return !r.draining
}

func (r *running) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 && r.draining {
		close(r.idle)
	}
}

func (r *running) isDraining() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.draining
}

// drain admits no more requests and returns true when the running ones are done, false if that takes longer than
// StopTimeout.
func (s *Server) drain() bool {
	r := &s.running
	r.mu.Lock()
	r.draining, r.idle = true, make(chan struct{})
	r.stop()
	if r.n == 0 {
		close(r.idle)
	}
	r.mu.Unlock()
	select {
	case <-r.idle:
		return true
	case <-time.After(s.StopTimeout):
		return false
	}
}

// health tells that the process is up, without any I/O.
func (s *Server) health(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) }

// readyTimeout bounds the question to the database.
const readyTimeout = 2 * time.Second

// ready tells whether requests should be sent here.
func (s *Server) ready(c *gin.Context) {
	if s.running.isDraining() {
		c.JSON(http.StatusServiceUnavailable, gin.H{"status": "draining"})
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), readyTimeout)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		observed(c).err = err
		c.JSON(http.StatusServiceUnavailable, gin.H{"status": "unavailable", "reason": apperr.From(err).Message})
		return
	}
	c.JSON(http.StatusOK, gin.H{"status": "ready"})
}
