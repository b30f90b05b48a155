package rpcclient

import (
	"bufio"
	"context"
	"errors"
	"io"
	"iter"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
)

// Change is an entry of the change log: one change of one row.
type Change struct {
	Position int64          `json:"position"`
	Prev     int64          `json:"prev"` // the position of the entry before, of those that one sees
	At       time.Time      `json:"at"`
	Actor    int64          `json:"actor"` // the id of the user who made it
	Method   string         `json:"method"`
	Entity   string         `json:"entity"`
	ID       jsontext.Value `json:"id"` // the row's: a number, or a string
	Op       string         `json:"op"` // create, update or delete
	Version  int64          `json:"version"`
	Data     jsontext.Value `json:"data"` // the row after the change; null for delete
}

// Hello is what a stream of changes begins with.
type Hello struct {
	Position   int64     `json:"position"` // the newest that the server has
	Epoch      string    `json:"epoch"`
	ServerTime time.Time `json:"server_time"`
}

// Follow says which changes to follow.
type Follow struct {
	Since    *int64      // the position after which they begin; nil for the server's as it is then
	Epoch    string      // of that position, as sync_bootstrap and sync_head give it; "" for any
	Entities []string    // nil for all
	OnHello  func(Hello) // is told whenever a stream begins; nil for nobody
}

// silence is how long a stream may be silent. The server sends a ping every 15 s.
const silence = 40 * time.Second

// errCut ends a stream that is to be opened again.
var errCut = errors.New("the stream has ended")

// Changes gives the changes of the rows that the client may see, as they come, until ctx ends. It goes on by itself when the
// connection ends, without a gap and without repeating one, as long as the server can be asked again. An error is the last that it
// gives. RESYNC_REQUIRED: the log does not go back that far any more, or the database was restored, so whoever keeps a copy starts over.
func (c *Client) Changes(ctx context.Context, f Follow) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		s := stream{client: c, follow: f, yield: yield}
		for attempt := 0; ; attempt++ {
			s.heard = false
			err := s.run(ctx)
			switch {
			case s.left:
				return
			case ctx.Err() != nil:
				err = context.Cause(ctx)
				fallthrough
			case !errors.Is(err, errCut) && !repeatable(err, true):
				yield(Change{}, err)
				return
			case s.heard:
				attempt = 0
			}
			if !wait(ctx, attempt, askedWait(err)) {
				yield(Change{}, context.Cause(ctx))
				return
			}
		}
	}
}

// stream is a stream of changes, of which one connection after another brings a part.
type stream struct {
	client *Client
	follow Follow // its Since and Epoch are those to go on from
	yield  func(Change, error) bool
	heard  bool // a change or a ping on this connection
	left   bool // whoever iterates has had enough
}

// run opens the stream and reads it to its end, which is an error.
func (s *stream) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	quiet := time.AfterFunc(silence, func() { cancel(errCut) })
	defer quiet.Stop()
	var body io.ReadCloser
	err := s.client.authorized(ctx, func(token string) (err error) {
		body, err = s.client.open(ctx, "/api/rpc?"+s.query(), token)
		return err
	})
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it has been read, or is not wanted any more
	var last int64     // the position that the next change's prev must be
	err = readEvents(body, func(e event) error {
		quiet.Reset(silence)
		switch e.name {
		case "hello":
			var hello Hello
			if err := json.Unmarshal(e.data, &hello); err != nil {
				return err
			}
			last = e.id
			s.follow.Since, s.follow.Epoch = &e.id, hello.Epoch
			if s.follow.OnHello != nil {
				s.follow.OnHello(hello)
			}
		case "change":
			var n struct {
				Params Change `json:"params"`
			}
			if err := json.Unmarshal(e.data, &n); err != nil {
				return err
			}
			if n.Params.Prev != last { // something is missing: ask again for what follows the last one
				return errCut
			}
			last, s.heard = n.Params.Position, true
			s.follow.Since = &n.Params.Position
			if s.left = !s.yield(n.Params, nil); s.left {
				return errCut
			}
		case "ping":
			s.follow.Since, s.heard = &e.id, true
		case "resync":
			refused := &Error{Code: apperr.ResyncRequired.Code(), Message: "The changes cannot be followed any longer", Status: http.StatusOK}
			if err := json.Unmarshal(e.data, &refused.Data); err != nil {
				return err
			}
			refused.Data.Kind = apperr.ResyncRequired
			return refused
		}
		return nil
	})
	if err == nil {
		err = errCut
	}
	return err
}

func (s *stream) query() string {
	q := url.Values{}
	if s.follow.Since != nil {
		q.Set("since", strconv.FormatInt(*s.follow.Since, 10))
	}
	if s.follow.Epoch != "" {
		q.Set("epoch", s.follow.Epoch)
	}
	if s.follow.Entities != nil {
		q.Set("entities", strings.Join(s.follow.Entities, ","))
	}
	return q.Encode()
}

// open opens a stream of events. The error is an *Error if the server refused it.
func (c *Client) open(ctx context.Context, path, token string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := *c.HTTP
	client.Timeout = 0 // which would be of the whole stream
	resp, err := client.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if t, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); t == "text/event-stream" {
		return resp.Body, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	a, err := parse(resp.StatusCode, text)
	if err == nil {
		err = a.decode(nil)
	}
	if err == nil {
		err = &HTTPError{Status: resp.StatusCode, Cause: errors.New("it is no stream")}
	}
	return nil, err
}

// event is a server-sent event. id is the last that was sent, with it or before it; 0 for none.
type event struct {
	name string
	data []byte
	id   int64
}

// readEvents reads events (https://html.spec.whatwg.org/multipage/server-sent-events.html) until r ends, in whatever way: a connection
// that is cut is no error. An error of do ends it. The server ends its lines with \n.
func readEvents(r io.Reader, do func(event) error) error {
	b := bufio.NewReader(r)
	var e event
	for {
		line, err := b.ReadString('\n')
		if err != nil {
			return nil //nolint:nilerr // as documented
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			e.name = value
		case "data":
			if e.data != nil {
				e.data = append(e.data, '\n')
			}
			e.data = append(e.data, value...)
		case "id":
			if e.id, err = strconv.ParseInt(value, 10, 64); err != nil {
				return err
			}
		case "":
			if line == "" && e.data != nil {
				if err := do(e); err != nil {
					return err
				}
			}
			if line == "" {
				e.name, e.data = "", nil
			}
		}
	}
}
