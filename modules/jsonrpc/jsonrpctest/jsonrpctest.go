// Package jsonrpctest holds exchanges that tell what a server of JSON-RPC 2.0 answers: those of the specification's
// section 7, and further ones. They are run against the package jsonrpc and against the HTTP server.
package jsonrpctest

import (
	"bytes"
	"context"
	_ "embed" // the exchanges
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

//go:embed section7.txt
var section7 string

//go:embed further.txt
var further string

// New returns a Mux with the methods of section 7, which take their parameters by name, and echo.
func New() *jsonrpc.Mux {
	type value struct {
		Value jsontext.Value `json:"value"`
	}
	m := jsonrpc.New(jsonrpc.Options{})
	jsonrpc.Handle(m, "subtract", func(_ context.Context, p struct {
		Minuend    int `json:"minuend"`
		Subtrahend int `json:"subtrahend"`
	}) (int, error) {
		return p.Minuend - p.Subtrahend, nil
	})
	jsonrpc.Handle(m, "sum", func(_ context.Context, p struct {
		Terms []int `json:"terms"`
	}) (sum int, err error) {
		for _, term := range p.Terms {
			sum += term
		}
		return sum, nil
	})
	for _, name := range []string{"update", "notify_hello", "notify_sum", "echo"} {
		jsonrpc.Handle(m, name, func(_ context.Context, p value) (jsontext.Value, error) { return p.Value, nil })
	}
	jsonrpc.Handle(m, "get_data", func(context.Context, struct{}) ([]any, error) { return []any{"hello", 5}, nil })
	return m
}

// exchange is a body and what is answered to it.
type exchange struct {
	title     string
	body      string
	specified string // the specification's answer, or the only one; "" for nothing
	reason    string // why another one is given
	other     string // the other one
}

// Run runs all exchanges. serve takes a body to a server with the methods of [New] and returns the answer, nil for none.
func Run(t *testing.T, serve func(t *testing.T, body []byte) []byte) {
	for _, corpus := range []struct{ name, text string }{{"section7", section7}, {"further", further}} {
		exchanges := parse(corpus.text)
		if len(exchanges) == 0 {
			t.Fatalf("%s has no exchanges", corpus.name)
		}
		for _, e := range exchanges {
			t.Run(corpus.name+"/"+e.title, func(t *testing.T) {
				want := e.specified
				if e.other != "" {
					want = e.other
				}
				if (e.other == "") != (e.reason == "") {
					t.Errorf("an answer of its own and a reason come together")
				}
				got := string(serve(t, []byte(e.body)))
				answers, batch := read(t, got)
				wanted, wantedBatch := read(t, want)
				same := batch == wantedBatch && len(answers) == len(wanted)
				for i := 0; same && i < len(answers); i++ {
					same = answers[i].is(wanted[i])
				}
				if !same {
					t.Errorf("%s\ngot  %s\nwant %s", e.body, got, want)
				}
			})
		}
	}
}

func parse(text string) []exchange {
	var exchanges []exchange
	var part *string // what the lines that follow are added to
	for line := range strings.Lines(text) {
		mark, rest := "", line
		if len(line) > 3 {
			mark, rest = line[:3], line[3:]
		}
		switch last := len(exchanges) - 1; {
		case strings.HasPrefix(line, "# "):
			exchanges = append(exchanges, exchange{title: strings.TrimSpace(line[2:])})
			part = nil
			continue
		case last < 0:
			continue
		case mark == "-->":
			part = &exchanges[last].body
		case mark == "<--":
			part = &exchanges[last].specified
		case mark == "=/=":
			part = &exchanges[last].reason
		case mark == "<==":
			part = &exchanges[last].other
		default:
			rest = line
		}
		if part != nil {
			*part += rest
		}
	}
	for i := range exchanges {
		e := &exchanges[i]
		for _, p := range []*string{&e.body, &e.specified, &e.reason, &e.other} {
			*p = strings.TrimSpace(*p)
		}
	}
	return exchanges
}

// answer is one answer. The codes of errors are the specification's; their words and data are the server's own.
type answer struct {
	JSONRPC string         `json:"jsonrpc"`
	ID      jsontext.Value `json:"id"`
	Result  jsontext.Value `json:"result,omitzero"`
	Error   *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Data    struct {
			Kind      apperr.Kind `json:"kind"`
			RequestID string      `json:"request_id"`
		} `json:"data"`
	} `json:"error,omitzero"`
}

func read(t *testing.T, text string) (answers []answer, batch bool) {
	t.Helper()
	if text == "" {
		return nil, false
	}
	batch = text[0] == '['
	if !batch {
		text = "[" + text + "]"
	}
	if err := json.Unmarshal([]byte(text), &answers); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return answers, batch
}

// is tells whether an answer is a well-formed one that means the same as the wanted one, with an id of the same bytes.
func (a answer) is(want answer) bool {
	if a.JSONRPC != "2.0" || !bytes.Equal(a.ID, want.ID) || (a.Result == nil) == (a.Error == nil) {
		return false
	}
	if a.Error != nil {
		return want.Error != nil && a.Error.Code == want.Error.Code && a.Error.Message != "" &&
			a.Error.Data.Kind.Code() == a.Error.Code && a.Error.Data.RequestID != ""
	}
	return want.Result != nil && a.Result.Compact() == nil && want.Result.Compact() == nil && bytes.Equal(a.Result, want.Result)
}
