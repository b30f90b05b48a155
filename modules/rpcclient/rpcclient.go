// Package rpcclient is a client of a Rowcall server. It logs in and keeps its session, calls methods one by one or in batches,
// and repeats what failed where that is safe.
//
// Methods with types are of a package that "rowcall generate go" writes:
//
//	c := rpcclient.New("http://127.0.0.1:8080")
//	if _, err := c.Login(ctx, "demo1", "welcome", ""); err != nil { … }
//	tasks, err := api.ListTasks.Call(ctx, c, api.ListTasksParams{
//		Filters: []api.TaskFilterGroup{{Title: &api.StringCondition{Contains: new("moon")}}},
//	})
//
// An error is an [*Error] if the server answered it, an [*HTTPError] if something else answered, the context's error once
// that has ended, and otherwise the network's.
//
// A call is repeated up to 4 times, after waits that double from 100 ms and of which a part is chance: any call that the
// server refused before it began (HTTP 401 once with a new session, 429, 503, RATE_LIMITED); and one that only reads also when
// the network failed, a proxy answered instead of the server, or the server was UNAVAILABLE; and so one that writes, if its method
// takes a mutation_id, by which the server does it once. The client makes the id. Any other write whose answer is lost may have
// happened, and is not repeated.
package rpcclient

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
)

// Client calls the methods of one server. Make one with New. It is safe for concurrent use; its fields are set before that.
type Client struct {
	// HTTP sends the requests. It is never nil.
	HTTP *http.Client

	// Trace, if not nil, is told of every exchange with the server. It is called by the goroutine of the exchange.
	Trace func(Exchange)

	// OnSession, if not nil, is told of every new or renewed session, and of the end of one with nil: a program that stores
	// it can go on with it later, by Resume. One call is made at a time, and calls to the server wait for it. So it must not
	// call the server, nor Login, Resume or Logoff: they would wait for ever.
	OnSession func(*Session)

	base string
	ids  atomic.Int64

	mu       sync.Mutex // of what follows
	token    string     // set by SetToken, used where there is no session
	session  *Session
	renewAt  time.Time
	renewing *renewal // nil: none is under way
	spent    bool     // the session's refresh token may have been used

	telling sync.Mutex // held while OnSession runs
}

// Exchange is one request and its answer. Passwords and refresh tokens of the request are not in it.
type Exchange struct {
	Path    string
	Request []byte
	Status  int
	Answer  []byte
	Took    time.Duration
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

// New returns a client of the server at base, such as "http://127.0.0.1:8080". It is anonymous until it logs in.
func New(base string) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), HTTP: &http.Client{Timeout: time.Minute}}
}

// SetToken makes the client send an API key, or an access token that it does not renew, where it has no session.
func (c *Client) SetToken(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

// Call calls a method by its name and decodes its whole result into result, unless that is nil. The client does not know
// whether the method only reads, so it takes it for a write.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	return c.call(ctx, call{ID: c.ids.Add(1), Method: method, Params: params}, result)
}

func (c *Client) call(ctx context.Context, one call, result any) error {
	body, err := one.encode()
	if err != nil {
		return err
	}
	return c.repeat(ctx, one.safe, func() error {
		return c.authorized(ctx, func(token string) error {
			a, err := c.post(ctx, request{path: "/api/rpc", body: body, token: token})
			if err != nil {
				return err
			}
			return a.decode(result)
		})
	})
}

// call is a call as it is sent.
type call struct {
	JSONRPC string `json:"jsonrpc"`
	ID      int64  `json:"id"`
	Method  string `json:"method"`
	Params  any    `json:"params,omitzero"`

	once bool // it needs a mutation_id
	safe bool // it may be sent again when its answer is lost
}

// encode returns the call as it is sent. One that happens once gets an id for that, unless it has one.
func (c call) encode() ([]byte, error) {
	c.JSONRPC = "2.0"
	if c.once {
		var err error
		if c.Params, err = withMutationID(c.Params); err != nil {
			return nil, err
		}
	}
	return json.Marshal(c, json.Deterministic(true))
}

func withMutationID(params any) (jsontext.Value, error) {
	text, err := json.Marshal(params, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	var members map[string]jsontext.Value
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, err
	}
	const name = "mutation_id"
	if given := members[name]; given != nil && given.Kind() != 'n' {
		return text, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	if members == nil {
		members = map[string]jsontext.Value{}
	}
	members[name] = jsontext.Value(strconv.Quote(id.String()))
	return json.Marshal(members, json.Deterministic(true))
}

// request is what is posted.
type request struct {
	path   string
	body   []byte
	shown  []byte // in place of body, to Trace; nil for body itself
	token  string // "" for none
	atomic bool
}

// post sends a request once. The error is an *Error if the server refused the request as a whole.
func (c *Client) post(ctx context.Context, r request) (answers, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+r.path, bytes.NewReader(r.body))
	if err != nil {
		return nil, err
	}
	// Whether a request is sent again is decided by what it does, and not by the transport.
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/json")
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	if r.atomic {
		req.Header.Set("Rowcall-Atomic", "true")
	}
	start := time.Now()
	status, text, err := c.exchange(req)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		return nil, err
	}
	if c.Trace != nil {
		shown := r.shown
		if shown == nil {
			shown = r.body
		}
		c.Trace(Exchange{Path: r.path, Request: shown, Status: status, Answer: text, Took: time.Since(start)})
	}
	return parse(status, text)
}

func (c *Client) exchange(req *http.Request) (status int, text []byte, err error) {
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	text, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	return resp.StatusCode, text, err
}

// answers are the answers to a batch, or the one to a call.
type answers []answer

type answer struct {
	ID     int64          `json:"id"`
	Result jsontext.Value `json:"result"`
	Error  *Error         `json:"error"`
}

// parse reads the body of an answer.
func parse(status int, text []byte) (answers, error) {
	var a answers
	var err error
	if jsontext.Value(text).Kind() == '[' {
		err = json.Unmarshal(text, &a)
	} else {
		a = make(answers, 1)
		err = json.Unmarshal(text, &a[0])
	}
	if err == nil && len(a) == 0 {
		err = errors.New("it is empty")
	}
	for i := range a {
		if a[i].Error != nil {
			a[i].Error.Status = status
		} else if a[i].Result == nil {
			err = errors.Join(err, errors.New("it has neither a result nor an error"))
		}
	}
	if err != nil {
		return nil, &HTTPError{Status: status, Cause: err}
	}
	if status != http.StatusOK && a[0].Error != nil {
		return nil, a[0].Error
	}
	return a, nil
}

// decode decodes the result of the one answer, unless it is to go nowhere.
func (a answers) decode(result any) error {
	if a[0].Error != nil {
		return a[0].Error
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(a[0].Result, result)
}
