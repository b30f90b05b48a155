package web

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/rpc"
)

// The close codes of the wire contract; that of shutdown is RFC 6455's.
const (
	codeEnded           websocket.StatusCode = 4001
	codeSlow            websocket.StatusCode = 4008
	codeUnauthenticated websocket.StatusCode = 4010
)

const unauthenticated farewell = "not authenticated"

var closeCodes = map[farewell]websocket.StatusCode{
	shutdown: websocket.StatusGoingAway, logoff: codeEnded, expired: codeEnded, slow: codeSlow, unauthenticated: codeUnauthenticated,
}

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// socket is a WebSocket (RFC 6455). Its text frames are bodies as those of POST, which are run one after another and answered in their
// order; between the answers come the changes that it has subscribed to.
type socket struct {
	*stream
	conn *websocket.Conn

	turn sync.Mutex   // held while a body is run and answered
	read atomic.Int64 // frames
	sent atomic.Int64 // likewise

	begun []func()    // what the body that is being run has subscribed to begins when it is answered
	mu    sync.Mutex  // held to deliver
	to    *subscriber // who gets changes; nil for nobody
}

// subscriber is a subscription of a socket.
type subscriber struct{ *socket }

// websocket opens a WebSocket.
func (s *Server) websocket(c *gin.Context) {
	credential, err := credentialOf(c.Request)
	if err != nil {
		refuseAs(c, err)
		return
	}
	w := &socket{stream: s.newStream(c, "websocket")}
	opened := false
	defer func() {
		if !opened {
			w.close()
		}
	}()
	if credential != "" {
		_, err = w.login(credential)
	} else {
		w.leave, err = s.Limits.Open(c.Request.Context())
	}
	if err != nil {
		refuseAs(c, err)
		return
	}
	observed(c).request.Actor = w.user()
	// Pages of other origins may connect, but not with the cookie, which credentialOf has seen to.
	w.conn, err = websocket.Accept(boundedWriter{c.Writer}, c.Request, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		observed(c).err = err
		return // it has been answered
	}
	w.conn.SetReadLimit(maxBody)
	if opened = s.streams.run(w.stream, w.run); !opened {
		_ = w.conn.CloseNow()
	}
}

// boundedWriter bounds the send buffer of the connection that it is hijacked for.
type boundedWriter struct{ gin.ResponseWriter }

func (w boundedWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.ResponseWriter.Hijack()
	if err == nil {
		boundSendBuffer(conn)
	}
	return conn, buffered, err
}

// run serves the connection until it is closed.
func (w *socket) run() {
	defer w.conn.CloseNow() //nolint:errcheck // whatever comes of it
	w.connected(w.farewell)
	if w.user() == nil {
		late := time.AfterFunc(w.server.times.authenticate, func() {
			if w.user() == nil {
				w.end(unauthenticated)
			}
		})
		defer late.Stop()
	}
	w.keepAlive(w.ping)
	for {
		kind, body, err := w.conn.Read(w.ctx)
		if err != nil {
			return
		}
		w.read.Add(1)
		if kind != websocket.MessageText {
			_ = w.conn.Close(websocket.StatusUnsupportedData, "frames must be text")
			return
		}
		if !w.serve(body) {
			return
		}
	}
}

// serve runs a body and answers it, as POST does; false if the connection is to be closed.
func (w *socket) serve(body []byte) bool {
	s := w.server
	w.turn.Lock()
	defer w.turn.Unlock()
	o := &observation{start: time.Now(), request: auth.Request{ID: uuid.NewString(), Address: w.request.Address, Now: time.Now}}
	ctx, cancel := context.WithTimeout(rpc.WithConnection(auth.WithRequest(w.ctx, &o.request), w), requestTimeout)
	defer cancel()
	reply, err := w.answer(ctx, o, body)
	status := http.StatusOK
	switch {
	case err != nil:
		o.err, status = err, statusOf(err)
		reply.Body = jsonrpc.ErrorBody(err, o.request.ID)
	case reply.Err != nil:
		o.err, status = reply.Err, http.StatusBadRequest
	case reply.Body == nil:
		status = http.StatusNoContent
	}
	o.calls = reply.Calls
	s.logFrame(ctx, o, status)
	if reply.Body != nil {
		if err := w.reply(reply.Body); err != nil {
			if errors.Is(err, changelog.ErrSlow) {
				w.end(slow)
			}
			return false
		}
	}
	for _, begin := range w.begun {
		begin()
	}
	w.begun = nil
	if status == http.StatusUnauthorized && w.user() != nil { // what the connection was opened by has ended
		go w.end(logoff)
	}
	return true
}

// answer runs a body if its caller may.
func (w *socket) answer(ctx context.Context, o *observation, body []byte) (jsonrpc.Reply, error) {
	s := w.server
	if !s.running.begin() {
		return jsonrpc.Reply{}, errStopping
	}
	defer s.running.end()
	if err := s.Limits.Knock(ctx); err != nil {
		return jsonrpc.Reply{}, err
	}
	w.stream.mu.Lock()
	credential := w.credential
	w.stream.mu.Unlock()
	if credential != "" {
		o.request.Actor, o.request.Memory = s.Authn.Recall(ctx, credential)
	}
	if credential != "" && o.request.Actor == nil {
		actor, err := s.actorOf(ctx, credential)
		if err != nil {
			return jsonrpc.Reply{}, err
		}
		o.request.Actor = actor
	}
	reply, err := s.run(ctx, o.request.ID, body, s.Mux.Serve)
	if err != nil || credential == "" {
		return reply, err
	}
	// Not all that is answered asks who calls, as what is malformed, but a login that has ended gets to know nothing else. It has done nothing.
	if _, err := auth.ActorFrom(ctx); err != nil && apperr.From(err).Kind == apperr.Unauthenticated {
		return jsonrpc.Reply{}, err
	}
	return reply, nil
}

// sendWithin is how long an answer may take, after which the connection is closed.
const sendWithin = 30 * time.Second

// reply sends an answer; [changelog.ErrSlow] if that takes long. As long as it is under way there are no pings.
func (w *socket) reply(text []byte) error {
	ctx, cancel := context.WithTimeout(context.Background(), sendWithin)
	defer cancel()
	return w.send(ctx, text)
}

// send sends a text frame; [changelog.ErrSlow] if that takes long.
func (w *socket) send(ctx context.Context, text []byte) error {
	start := time.Now()
	err := w.conn.Write(ctx, websocket.MessageText, text)
	w.sent.Add(1)
	if time.Since(start) > w.server.times.slow {
		return changelog.ErrSlow
	}
	return err
}

// Authenticate implements rpc.Connection.
func (w *socket) Authenticate(ctx context.Context, token string) (time.Time, error) {
	expiresAt, err := w.login(token) //nolint:contextcheck // the login outlives the call
	if err != nil {
		if apperr.From(err).Kind == apperr.Unauthenticated {
			w.server.Limits.Refused(ctx)
		}
		return time.Time{}, err
	}
	r := auth.RequestFrom(ctx)
	r.Actor, r.Memory = w.user(), nil // of the calls after it, too
	return expiresAt, nil
}

// Subscribe implements rpc.Connection.
func (w *socket) Subscribe(_ context.Context, of changelog.Interest) (int64, string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to != nil {
		return 0, "", apperr.New(apperr.InvalidRequest, "There is a subscription on this connection: unsubscribe first")
	}
	to := &subscriber{w}
	sub, head, err := w.subscribe(of, to) //nolint:contextcheck // so does the subscription
	if err != nil {
		return 0, "", err
	}
	w.to, w.begun = to, append(w.begun, sub.Start)
	return sub.Position(), head.Epoch, nil
}

// Unsubscribe implements rpc.Connection.
func (w *socket) Unsubscribe() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = nil
	return w.unsubscribe()
}

// Deliver implements changelog.Subscriber. A frame has no deadline, which costs as much as a third of sending it: a ping that cannot be sent
// because of it ends it.
func (to *subscriber) Deliver(changes []changelog.Change) error {
	w := to.socket
	w.await()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.to != to {
		return nil // it has unsubscribed
	}
	b := buffers.Get().(*[]byte)
	defer releaseBuffer(b)
	for _, c := range changes {
		*b = appendChange((*b)[:0], c)
		if err := w.send(context.Background(), *b); errors.Is(err, changelog.ErrSlow) {
			return err
		} else if err != nil {
			_ = w.conn.CloseNow() // ends run
			return err
		}
	}
	w.delivered.Add(int64(len(changes)))
	return nil
}

// End implements changelog.Subscriber. Who must start over can do it on the same connection.
func (to *subscriber) End(why changelog.Ending) {
	if why == changelog.Slow {
		to.end(slow)
		return
	}
	to.mu.Lock()
	defer to.mu.Unlock()
	if to.to == to {
		to.to = nil
		_ = to.reply([]byte(`{"jsonrpc":"2.0","method":"resync","params":{"reason":` + strconv.Quote(string(why)) + `}}`))
	}
}

// farewell closes the connection with the code for the reason. A body that is being run at a shutdown is answered first.
func (w *socket) farewell(why farewell) {
	if why == shutdown {
		w.turn.Lock()
		defer w.turn.Unlock()
	}
	stop := time.AfterFunc(lastWords, func() { _ = w.conn.CloseNow() })
	defer stop.Stop()
	_ = w.conn.Close(closeCodes[why], string(why))
}

// ping finds out whether the client is still there: it answers, or sends frames, of which the first may keep the answer from being read.
// While a body is being run nothing is read, so nobody is asked. A ping that cannot be sent, because a frame is being written, ends
// the connection only if no frame gets through.
func (w *socket) ping() error {
	read, sent := w.read.Load(), w.sent.Load()
	if !w.turn.TryLock() {
		return nil
	}
	w.turn.Unlock()
	ctx, cancel := context.WithTimeout(w.ctx, w.server.times.stuck)
	defer cancel()
	err := w.conn.Ping(ctx)
	if err != nil && ctx.Err() == nil { // it could not be sent within the library's own time
		<-ctx.Done()
		if w.sent.Load() > sent {
			return nil
		}
	}
	if err == nil || w.read.Load() > read {
		return nil
	}
	_ = w.conn.CloseNow() // ends run
	return err
}
