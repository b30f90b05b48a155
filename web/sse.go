package web

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
)

const eventStream = "text/event-stream"

// accepts tells whether the request names the media type among those that it accepts.
func accepts(r *http.Request, mediaType string) bool {
	for _, header := range r.Header.Values("Accept") {
		for part := range strings.SplitSeq(header, ",") {
			if t, _, err := mime.ParseMediaType(part); err == nil && t == mediaType {
				return true
			}
		}
	}
	return false
}

// sse is a stream of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). It writes to the connection
// itself, past net/http's buffers: one write for all that there is, of texts that are encoded once for all subscribers.
type sse struct {
	*stream
	conn     net.Conn
	start    func()       // lets what is followed begin; nil: there is nothing to follow from where the client is
	position func() int64 // up to which all of it has been delivered

	ending  atomic.Bool
	bounded atomic.Bool // whether there is a deadline, of the write that is under way or of one before
	mu      sync.Mutex  // held to write
	broken  bool        // whether the last event was cut in two, so that none can follow
	sent    int64       // position of the last that was written; 0: none yet
}

// events opens a stream of server-sent events.
func (s *Server) events(c *gin.Context) {
	follow, err := wanted(c.Request)
	if err != nil {
		refuseAs(c, err)
		return
	}
	credential, err := credentialOf(c.Request)
	if err == nil && credential == "" {
		_, err = auth.ActorFrom(c.Request.Context()) // UNAUTHENTICATED
	}
	if err != nil {
		refuseAs(c, err)
		return
	}
	e := &sse{stream: s.newStream(c, "sse")}
	opened := false
	defer func() {
		if !opened {
			e.close()
		}
	}()
	if _, err := e.login(credential); err != nil {
		refuseAs(c, err)
		return
	}
	observed(c).request.Actor = e.user()
	first, err := follow(e)
	switch {
	case err == nil:
	case apperr.From(err).Kind == apperr.ResyncRequired:
		first = resync(err)
	default:
		refuseAs(c, err)
		return
	}
	c.Status(http.StatusOK)
	conn, buffered, hijackErr := http.NewResponseController(c.Writer).Hijack()
	if hijackErr != nil {
		refuseAs(c, hijackErr)
		return
	}
	_ = buffered // the request has no body, and nothing follows it
	e.conn = conn
	opened = s.streams.run(e.stream, func() { e.run(first) })
	if !opened {
		_ = conn.Close()
	}
}

// wanted returns how what a request asks for is followed: the function returns the first event.
func wanted(r *http.Request) (follow func(*sse) (first string, err error), err error) {
	q, err := readQuery(r)
	if err != nil {
		return nil, err
	}
	if q.values.Has("document") {
		id, since, err := q.document()
		return func(e *sse) (string, error) { return e.followDocument(id, since) }, err
	}
	of, err := q.interest()
	return func(e *sse) (string, error) { return e.followChanges(of) }, err
}

// followChanges subscribes to changes, and returns the first event.
func (e *sse) followChanges(of changelog.Interest) (first string, err error) {
	sub, head, err := e.subscribe(of, e)
	if err != nil {
		return "", err
	}
	e.start, e.position = sub.Start, sub.Position
	return hello(sub.Position(), head.Position, head.Epoch), nil
}

// run sends the first event, lets the subscription begin, and returns when the connection is closed.
func (e *sse) run(first string) {
	defer e.conn.Close() //nolint:errcheck // whatever comes of it
	boundSendBuffer(e.conn)
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + eventStream + "\r\nCache-Control: no-store\r\nConnection: close\r\n" +
		"X-Accel-Buffering: no\r\nX-Request-Id: " + e.request.ID + "\r\n\r\n"
	if err := e.begin(head + first); err != nil || e.start == nil {
		return
	}
	e.connected(e.farewell)
	e.start()
	e.keepAlive(e.ping)
	var b [1]byte
	for {
		if _, err := e.conn.Read(b[:]); err != nil { // a client has nothing to say: it goes away
			return
		}
	}
}

func (e *sse) begin(text string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.write([]byte(text), 0)
}

var errEnding = errors.New("the stream has been ended")

// write writes events whole, within a time if that is not zero; [changelog.ErrSlow] if it takes long. After any other error the
// connection is closed. Changes have no deadline, which costs something for every write: ping finds those that are stuck. e.mu is held.
func (e *sse) write(events []byte, within time.Duration) error {
	switch {
	case within > 0:
		e.bounded.Store(true)
		_ = e.conn.SetWriteDeadline(time.Now().Add(within))
	case e.bounded.Swap(false): // the deadline was for another write
		_ = e.conn.SetWriteDeadline(time.Time{})
	}
	if e.ending.Load() { // if it begins to end now, farewell sets the deadline after this has
		return errEnding
	}
	start := time.Now()
	_, err := e.conn.Write(events)
	switch e.broken = err != nil; {
	case time.Since(start) > e.server.times.slow, errors.Is(err, os.ErrDeadlineExceeded):
		return changelog.ErrSlow
	case err != nil:
		_ = e.conn.Close() // ends run
	}
	return err
}

// Deliver implements changelog.Subscriber.
func (e *sse) Deliver(changes []changelog.Change) error {
	b := buffers.Get().(*[]byte)
	defer releaseBuffer(b)
	for _, c := range changes {
		*b = append(strconv.AppendInt(append(*b, "id: "...), c.Position, 10), "\nevent: change\ndata: "...)
		*b = append(appendChange(*b, c), "\n\n"...)
	}
	return e.deliver(*b, len(changes), changes[len(changes)-1].Position)
}

// deliver writes so many events, up to a position, when it is known that they are still for the client.
func (e *sse) deliver(events []byte, n int, position int64) error {
	e.await()
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.write(events, 0)
	if err == nil {
		e.sent = max(e.sent, position)
		e.delivered.Add(int64(n))
	}
	return err
}

// buffers are for what is about to be written.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// keptBuffer is the size up to which a buffer waits for the next delivery.
const keptBuffer = 64 << 10

func releaseBuffer(b *[]byte) {
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// appendChange appends the notification of a change.
func appendChange(b []byte, c changelog.Change) []byte {
	b = strconv.AppendInt(append(b, `{"jsonrpc":"2.0","method":"change","params":{"position":`...), c.Position, 10)
	b = strconv.AppendInt(append(b, `,"prev":`...), c.Prev, 10)
	return append(append(append(b, ','), c.Text...), `}}`...)
}

// End implements changelog.Subscriber.
func (e *sse) End(why changelog.Ending) { e.end(farewell(why)) }

// farewell tells why the stream ends and closes it.
func (e *sse) farewell(why farewell) {
	e.ending.Store(true)
	soon := time.Now().Add(lastWords)
	_ = e.conn.SetWriteDeadline(soon) // of a write that is under way
	e.mu.Lock()
	defer e.mu.Unlock()
	_ = e.conn.SetWriteDeadline(soon) // again, as a ping may have put it off
	name := "resync"
	if slices.Contains([]farewell{shutdown, logoff, expired, slow, forbidden, deleted}, why) {
		name = "bye"
	}
	if !e.broken {
		_, _ = fmt.Fprintf(e.conn, "event: %s\ndata: {\"reason\":%q}\n\n", name, why)
	}
	_ = e.conn.Close()
}

// ping keeps the connection alive in the eyes of whoever is between, and tells the position to go on from. A write that is under way
// is given a deadline instead, which the next takes away.
func (e *sse) ping() error {
	if !e.mu.TryLock() {
		if !e.bounded.Swap(true) {
			_ = e.conn.SetWriteDeadline(time.Now().Add(e.server.times.stuck))
		}
		return nil
	}
	position := max(e.position(), e.sent) // the subscription may not know yet what has been sent
	err := e.write(fmt.Appendf(nil, "id: %d\nevent: ping\ndata: {\"position\":%[1]d}\n\n", position), e.server.times.stuck)
	e.mu.Unlock()
	if errors.Is(err, changelog.ErrSlow) {
		e.end(slow)
	}
	return err
}

// hello is the first event of a stream that goes on. Its id is where the stream begins, so that a client that comes back before the
// first change misses none. The epoch is that of a tenant's log.
func hello(since, head int64, epoch string) string {
	data, _ := jsonrpc.Marshal(struct {
		Position   int64     `json:"position"`
		ServerTime time.Time `json:"server_time"`
		Epoch      string    `json:"epoch,omitzero"`
	}{head, time.Now().UTC(), epoch})
	return fmt.Sprintf("id: %d\nevent: hello\ndata: %s\n\n", since, bytes.TrimSpace(data))
}

// resync is the only event of a stream that cannot begin where it should.
func resync(err error) string {
	e := apperr.From(err)
	data, _ := jsonrpc.Marshal(e.Data)
	return fmt.Sprintf("event: resync\ndata: %s\n\n", data)
}
