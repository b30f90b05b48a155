package web

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"go.uber.org/zap"

	"rowcall/model"
	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
)

// Times of a stream.
const (
	lastWords = time.Second // how long the reason of the end may take

	sendBuffer = 128 << 10 // of a socket: what somebody who does not read costs
)

// boundSendBuffer bounds what the kernel keeps for a stream's connection.
func boundSendBuffer(conn net.Conn) {
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(sendBuffer)
	}
}

// times are how long a server waits for its streams' clients.
type times struct {
	authenticate time.Duration // a WebSocket whose handshake had no credential
	ping         time.Duration // between two
	slow         time.Duration // after a write that takes as long the stream ends, with the reason
	stuck        time.Duration // how long a write may go on that a ping has met, and a WebSocket leave a ping without an answer; then it is cut off
}

var defaultTimes = times{authenticate: 10 * time.Second, ping: 15 * time.Second, slow: 10 * time.Second, stuck: 15 * time.Second}

// farewell is why the server ends a stream.
type farewell string

// The reasons of the wire contract. Those for which the client must start over are [changelog.Ending]s.
const (
	shutdown farewell = "shutdown"
	logoff   farewell = "logoff"
	expired  farewell = "expired"
	slow     farewell = farewell(changelog.Slow)

	forbidden farewell = "forbidden" // of a document
	deleted   farewell = "deleted"
)

// stream is what an SSE stream and a WebSocket have in common: who opened it, what they follow, and that it ends when they may no longer.
type stream struct {
	server    *Server
	kind      string
	request   auth.Request // that opened it
	start     time.Time
	ctx       context.Context // of its work; it carries no request
	cancel    context.CancelFunc
	delivered atomic.Int64

	mu         sync.Mutex
	credential string
	actor      *auth.Actor // nil: not known yet
	hold       *model.Hold
	expiry     *time.Timer
	leave      func() // the limits
	sub        *changelog.Subscription
	documents  map[uuid.UUID]followed
	say        func(why farewell) // tells the client why, and closes the connection; nil: there is none yet
	why        farewell           // of the end; "" while it is open, and if the client ended it
}

// newStream returns a stream for a request, which is over when the handler returns, so that nothing of it is kept.
func (s *Server) newStream(c *gin.Context, kind string) *stream {
	o := observed(c)
	st := &stream{server: s, kind: kind, request: o.request, start: o.start}
	st.request.Stats = auth.Stats{}
	st.ctx, st.cancel = context.WithCancel(s.work)
	return st
}

// as returns the stream's context for an actor's work that one goroutine at a time does.
func (st *stream) as(actor *auth.Actor) context.Context {
	request := st.request
	request.Actor = actor
	return auth.WithRequest(st.ctx, &request)
}

// login makes the stream its credential's, as long as that holds. The first takes a place among those that the limits allow.
func (st *stream) login(credential string) (expiresAt time.Time, err error) {
	expiresAt, over, err := st.tryLogin(credential)
	if over != nil {
		over.End(changelog.Epoch)
	}
	return expiresAt, err
}

// tryLogin is login, but for ending what is over by it.
func (st *stream) tryLogin(credential string) (expiresAt time.Time, over *changelog.Subscription, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	hold, actor, expiresAt, err := st.server.Authn.Hold(st.ctx, credential, func(actor *auth.Actor, expiresAt time.Time, err error) {
		st.changed(credential, actor, expiresAt, err)
	})
	if err != nil {
		return time.Time{}, nil, err
	}
	if was := st.actor; was != nil && (was.Tenant != actor.Tenant || was.User != actor.User) {
		hold.Release()
		return time.Time{}, nil, apperr.New(apperr.Forbidden, "The stream is another user's")
	}
	if st.actor == nil {
		leave, err := st.server.Limits.Open(st.as(actor))
		if err != nil {
			hold.Release()
			return time.Time{}, nil, err
		}
		if st.leave != nil {
			st.leave()
		}
		st.leave = leave
	} else {
		st.hold.Release()
	}
	st.hold, st.credential = hold, credential
	return expiresAt, st.become(actor, expiresAt), nil
}

// become makes the actor the stream's, and returns what they have subscribed to if it is over by that: in another role they see other
// rows and fields. st.mu is held.
func (st *stream) become(actor *auth.Actor, expiresAt time.Time) (over *changelog.Subscription) {
	if st.actor != nil && st.actor.Role != actor.Role {
		over = st.sub
	}
	st.actor = actor
	st.expire(expiresAt)
	return over
}

// expire ends the stream at a time; not if that is zero. st.mu is held.
func (st *stream) expire(at time.Time) {
	if st.expiry != nil {
		st.expiry.Stop()
	}
	if !at.IsZero() {
		st.expiry = time.AfterFunc(time.Until(at), func() { st.end(expired) })
	}
}

// changed is told when something about the actor may have changed. The stream ends, or goes on: what
// the actor has subscribed to only if their role is the same.
func (st *stream) changed(credential string, actor *auth.Actor, expiresAt time.Time, err error) {
	st.mu.Lock()
	var over *changelog.Subscription
	current := st.credential == credential // else there is a newer one
	if current && err == nil {
		over = st.become(actor, expiresAt)
	}
	st.mu.Unlock()
	switch {
	case !current:
	case err != nil:
		st.end(logoff)
	case over != nil:
		over.End(changelog.Epoch)
	}
}

// await returns when the stream has been told what the hub has found about its login: changes that were made after its end are not for it.
func (st *stream) await() {
	st.mu.Lock()
	hold := st.hold
	st.mu.Unlock()
	if hold != nil {
		hold.Await()
	}
}

// user returns the stream's actor; nil as long as it is not known who that is.
func (st *stream) user() *auth.Actor {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.actor
}

// subscribe begins a subscription of the stream, as its actor.
func (st *stream) subscribe(of changelog.Interest, to changelog.Subscriber) (*changelog.Subscription, changelog.Head, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	sub, head, err := st.server.Hub.Subscribe(st.as(st.actor), of, to)
	if err == nil {
		st.sub = sub
	}
	return sub, head, err
}

// unsubscribe ends the subscription.
func (st *stream) unsubscribe() (was bool) {
	st.mu.Lock()
	sub := st.sub
	st.sub = nil
	st.mu.Unlock()
	if sub != nil {
		sub.Close()
	}
	return sub != nil
}

// connected says how the client is told why the stream ends, which it may have done already.
func (st *stream) connected(say func(farewell)) {
	st.mu.Lock()
	st.say = say
	why := st.why
	st.mu.Unlock()
	if why != "" {
		say(why)
	}
}

// end ends the stream, and blocks until the client has been told why, for lastWords at the most.
func (st *stream) end(why farewell) {
	st.mu.Lock()
	say := st.say
	if st.why != "" {
		say = nil
	} else {
		st.why = why
	}
	st.mu.Unlock()
	if say != nil {
		say(why)
	}
}

// keepAlive calls ping from time to time, as long as the stream lasts and ping returns nil.
func (st *stream) keepAlive(ping func() error) {
	time.AfterFunc(st.server.times.ping, func() {
		if st.ctx.Err() == nil && ping() == nil {
			st.keepAlive(ping)
		}
	})
}

// close frees what the stream holds.
func (st *stream) close() {
	st.unsubscribe()
	st.unfollowAll()
	st.cancel()
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.expiry != nil {
		st.expiry.Stop()
	}
	if st.hold != nil {
		st.hold.Release()
	}
	if st.leave != nil {
		st.leave()
	}
}

// log writes the log line of a stream that has ended.
func (st *stream) log() {
	st.mu.Lock()
	defer st.mu.Unlock()
	fields := []zap.Field{
		zap.String("request_id", st.request.ID), zap.String("kind", st.kind), zap.Duration("took", time.Since(st.start)),
		zap.Int64("delivered", st.delivered.Load()), zap.String("reason", string(st.why)),
	}
	if st.actor != nil {
		fields = append(fields, zap.String("tenant", st.actor.TenantSlug), zap.Int64("user", st.actor.User))
	}
	st.server.Log.Info("stream", fields...)
}

// streams are the open ones.
type streams struct {
	mu       sync.Mutex
	open     map[*stream]struct{}
	draining bool
	running  sync.WaitGroup
}

// run runs a stream's connection on a goroutine of its own, which keeps nothing of the request; false if the server drains.
func (s *streams) run(st *stream, connection func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.open[st] = struct{}{}
	s.running.Go(func() {
		defer func() {
			st.close()
			st.log()
			s.mu.Lock()
			delete(s.open, st)
			s.mu.Unlock()
		}()
		connection()
	})
	return true
}

// drain ends all streams, and returns at once.
func (s *streams) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	for st := range s.open {
		s.running.Go(func() { st.end(shutdown) })
	}
}

// wait returns when all streams have ended, or when ctx does.
func (s *streams) wait(ctx context.Context) {
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
}

// live opens a stream: a WebSocket or SSE.
func (s *Server) live(c *gin.Context) {
	switch {
	case s.Hub != nil && isUpgrade(c.Request):
		s.websocket(c)
	case s.Hub != nil && accepts(c.Request, eventStream):
		s.events(c)
	default:
		c.Header("Allow", http.MethodPost)
		refuse(c, http.StatusMethodNotAllowed, errNotLive)
	}
}

var errNotLive = apperr.New(apperr.InvalidRequest, "GET is for streams: with Accept: text/event-stream, or as a WebSocket")
