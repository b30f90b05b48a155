package jsonrpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The methods that most tests call.
type (
	none  struct{}
	terms struct {
		Minuend    int `json:"minuend"`
		Subtrahend int `json:"subtrahend"`
	}
	anything struct {
		Value jsontext.Value `json:"value"`
	}
)

var errSecret = errors.New(`pq: relation "secret" does not exist`)

// newMux returns a mux whose guard refuses the method "guarded".
func newMux(opts jsonrpc.Options) *jsonrpc.Mux {
	if opts.Guard == nil {
		opts.Guard = func(_ context.Context, method string) error {
			if method == "guarded" {
				return apperr.New(apperr.Unauthenticated, "This needs a login")
			}
			return nil
		}
	}
	m := jsonrpc.New(opts)
	jsonrpc.Handle(m, "subtract", func(_ context.Context, p terms) (int, error) { return p.Minuend - p.Subtrahend, nil })
	jsonrpc.Handle(m, "echo", func(_ context.Context, p anything) (jsontext.Value, error) { return p.Value, nil })
	jsonrpc.Handle(m, "ping", func(context.Context, none) (string, error) { return "pong", nil })
	jsonrpc.Handle(m, "guarded", func(context.Context, terms) (none, error) { panic("the guard let it through") })
	jsonrpc.Handle(m, "boom", func(context.Context, none) (none, error) { panic("boom") })
	jsonrpc.Handle(m, "secret", func(context.Context, none) (none, error) { return none{}, fmt.Errorf("listing: %w", errSecret) })
	jsonrpc.Handle(m, "unencodable", func(context.Context, none) (func(), error) { return func() {}, nil })
	jsonrpc.Handle(m, "panics_encoding", func(context.Context, none) (bomb, error) { return bomb{}, nil })
	jsonrpc.Handle(m, "conflict", func(context.Context, none) (none, error) {
		return none{}, apperr.Wrap(apperr.Conflict, "It has changed", errSecret).With("current", map[string]any{"b": 2, "a": 1}).With("kind", "no")
	})
	return m
}

type bomb struct{}

func (bomb) MarshalJSON() ([]byte, error) { panic("in a marshaler") }

// response is an answer to a call.
type response struct {
	JSONRPC string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Result  jsontext.Value `json:"result,omitzero"`
	Error   *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    struct {
			Kind      apperr.Kind    `json:"kind"`
			RequestID string         `json:"request_id"`
			Issues    []apperr.Issue `json:"issues,omitzero"`
			Current   jsontext.Value `json:"current,omitzero"`
		} `json:"data"`
	} `json:"error,omitzero"`
}

// short says an answer in a few characters: the result or the kind, after the id.
func (r response) short() string {
	if r.Error != nil {
		return string(r.ID) + " " + string(r.Error.Data.Kind)
	}
	return string(r.ID) + " " + string(r.Result)
}

const requestID = "the-request"

// serve returns the answers of a body, and whether they are a batch. It checks what holds for every answer.
func serve(t testing.TB, m *jsonrpc.Mux, body string) (answers []response, batch bool) {
	t.Helper()
	return read(t, m.Serve(t.Context(), requestID, []byte(body)))
}

func read(t testing.TB, reply jsonrpc.Reply) (answers []response, batch bool) {
	t.Helper()
	if reply.Body == nil {
		return nil, false
	}
	strict := json.RejectUnknownMembers(true)
	if batch = reply.Body[0] == '['; batch {
		if err := json.Unmarshal(reply.Body, &answers, strict); err != nil {
			t.Fatalf("%s: %v", reply.Body, err)
		}
	} else {
		answers = make([]response, 1)
		if err := json.Unmarshal(reply.Body, &answers[0], strict); err != nil {
			t.Fatalf("%s: %v", reply.Body, err)
		}
	}
	for _, a := range answers {
		switch {
		case a.JSONRPC != "2.0", a.ID == nil, (a.Result == nil) == (a.Error == nil):
			t.Fatalf("not a response: %s", reply.Body)
		case a.Error == nil:
		case a.Error.Data.RequestID != requestID, a.Error.Code != a.Error.Data.Kind.Code(), a.Error.Message == "":
			t.Fatalf("not an error: %s", reply.Body)
		}
	}
	if strings.Contains(string(reply.Body), "secret\" does") {
		t.Fatalf("a cause is told: %s", reply.Body)
	}
	return answers, batch
}

// summary is the answers of a body in short: "1 19", "[1 19, 2 INTERNAL]", "" for none.
func summary(t testing.TB, m *jsonrpc.Mux, body string) string {
	t.Helper()
	return summarize(serve(t, m, body))
}

func summarize(answers []response, batch bool) string {
	all := make([]string, len(answers))
	for i, a := range answers {
		all[i] = a.short()
	}
	if batch {
		return "[" + strings.Join(all, ", ") + "]"
	}
	return strings.Join(all, "")
}
