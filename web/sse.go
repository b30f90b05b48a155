package web

import (
	"bytes"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/changelog"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/store"
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
	conn net.Conn
	all  *changelog.Subscription // nil: there is nothing to follow from where the client is

	ending  atomic.Bool
	bounded atomic.Bool // whether there is a deadline, of the write that is under way or of one before
	mu      sync.Mutex  // held to write
	broken  bool        // whether the last event was cut in two, so that none can follow
	sent    int64       // position of the last change; 0: none yet
}

// events opens a stream of server-sent events.
func (s *Server) events(c *gin.Context) {
	of, err := interestOf(c.Request)
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
	sub, head, err := e.subscribe(of, e)
	first := "" // event
	switch {
	case err == nil:
		e.all, first = sub, hello(sub, head)
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

// run sends the first event, lets the subscription begin, and returns when the connection is closed.
func (e *sse) run(first string) {
	defer e.conn.Close() //nolint:errcheck // whatever comes of it
	boundSendBuffer(e.conn)
	head := "HTTP/1.1 200 OK\r\nContent-Type: " + eventStream + "\r\nCache-Control: no-store\r\nConnection: close\r\n" +
		"X-Accel-Buffering: no\r\nX-Request-Id: " + e.request.ID + "\r\n\r\n"
	if err := e.begin(head + first); err != nil || e.all == nil {
		return
	}
	e.connected(e.farewell)
	e.all.Start()
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
	e.await()
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.write(*b, 0)
	if err == nil {
		e.sent = changes[len(changes)-1].Position
		e.delivered.Add(int64(len(changes)))
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
	if slices.Contains([]farewell{shutdown, logoff, expired, slow}, why) {
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
	position := max(e.all.Position(), e.sent) // the subscription may not know yet what has been sent
	err := e.write(fmt.Appendf(nil, "id: %d\nevent: ping\ndata: {\"position\":%[1]d}\n\n", position), e.server.times.stuck)
	e.mu.Unlock()
	if errors.Is(err, changelog.ErrSlow) {
		e.end(slow)
	}
	return err
}

// hello is the first event of a stream that goes on. Its id is where the stream begins, so that a client that comes back before the
// first change misses none.
func hello(sub *changelog.Subscription, head changelog.Head) string {
	data, _ := jsonrpc.Marshal(struct {
		Position   int64     `json:"position"`
		ServerTime time.Time `json:"server_time"`
		Epoch      string    `json:"epoch"`
	}{head.Position, time.Now().UTC(), head.Epoch})
	return fmt.Sprintf("id: %d\nevent: hello\ndata: %s\n\n", sub.Position(), bytes.TrimSpace(data))
}

// resync is the only event of a stream that cannot begin where it should.
func resync(err error) string {
	e := apperr.From(err)
	data, _ := jsonrpc.Marshal(e.Data)
	return fmt.Sprintf("event: resync\ndata: %s\n\n", data)
}

// interestOf returns what a request for a stream asks for. The header Last-Event-ID, which a browser sends when it comes back to the same
// URL, stands before the URL's since.
func interestOf(r *http.Request) (of changelog.Interest, err error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return of, apperr.Wrap(apperr.InvalidParams, "The query cannot be read", err)
	}
	var issues []apperr.Issue
	for name, values := range query {
		switch {
		case !slices.Contains(streamParams, name):
			issues = append(issues, apperr.Issue{Path: name, Reason: "is unknown", Allowed: streamParams})
		case len(values) > 1:
			issues = append(issues, apperr.Issue{Path: name, Reason: "is there twice"})
		}
	}
	name, since := "since", query.Get("since")
	if last := r.Header.Get("Last-Event-ID"); last != "" {
		name, since = "Last-Event-ID", last
	}
	if since != "" || (name == "since" && query.Has(name)) {
		n, err := strconv.ParseInt(since, 10, 64)
		if err != nil || n < 0 {
			issues = append(issues, apperr.Issue{Path: name, Reason: "must be a position: an integer, 0 or more"})
		}
		of.Since = &n
	}
	of.Epoch = query.Get("epoch")
	if query.Has("entities") {
		of.Entities = strings.Split(query.Get("entities"), ",")
	}
	if query.Has("groups") {
		groups := strings.Split(query.Get("groups"), ",")
		of.Groups = make([]uuid.UUID, len(groups))
		for i, group := range groups {
			if of.Groups[i], err = uuid.Parse(group); err != nil || len(group) != 36 || i == store.MaxBulk {
				issues = append(issues, apperr.Issue{Path: "groups", Reason: "must be UUIDs, at most 1000"})
				break
			}
		}
	}
	if len(issues) > 0 {
		return of, apperr.Invalid(issues...)
	}
	return of, nil
}

var streamParams = []string{"entities", "epoch", "groups", "since"}
