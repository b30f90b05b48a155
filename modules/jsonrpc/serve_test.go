package jsonrpc_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/jsonrpc/jsonrpctest"
)

func TestSpecification(t *testing.T) {
	m := jsonrpctest.New()
	jsonrpctest.Run(t, func(t *testing.T, body []byte) []byte { return m.Serve(t.Context(), requestID, body).Body })
}

func TestCallObject(t *testing.T) {
	m := newMux(jsonrpc.Options{})
	for _, c := range []struct{ body, want string }{
		{`{"id":1,"method":"ping"}`, `1 "pong"`},
		{` {"params" : {} , "method":"p\u0069ng","\u0069d" :1} `, `1 "pong"`},
		{`{"jsonrpc":"2.0","id":1,"method":"ping"}`, `1 "pong"`},
		{`{"jsonrpc":"2\u002e0","id":1,"method":"ping"}`, `1 "pong"`},
		{`{"jsonrpc":"1.0","id":1,"method":"ping"}`, `1 INVALID_REQUEST`},
		{`{"jsonrpc":2.0,"id":1,"method":"ping"}`, `1 INVALID_REQUEST`},
		{`{"jsonrpc":null,"id":1,"method":"ping"}`, `1 INVALID_REQUEST`},
		{`{"jsonrpc":"1.0","method":"ping"}`, `null INVALID_REQUEST`},

		{`{"id":"a\u00e9\/\"b","method":"ping"}`, `"a\u00e9\/\"b" "pong"`},
		{`{"id":"","method":"ping"}`, `"" "pong"`},
		{`{"id":null,"method":"ping"}`, `null "pong"`},
		{`{"id":-0,"method":"ping"}`, `-0 "pong"`},
		{`{"id":123456789012345678901234567890,"method":"ping"}`, `123456789012345678901234567890 "pong"`},
		{`{"id":1.0,"method":"ping"}`, `null INVALID_REQUEST`},
		{`{"id":1e3,"method":"ping"}`, `null INVALID_REQUEST`},
		{`{"id":1E3,"method":"ping"}`, `null INVALID_REQUEST`},
		{`{"id":true,"method":"ping"}`, `null INVALID_REQUEST`},
		{`{"id":[1],"method":"ping"}`, `null INVALID_REQUEST`},
		{`{"id":{},"method":"ping"}`, `null INVALID_REQUEST`},

		{`{"id":1}`, `1 INVALID_REQUEST`},
		{`{}`, `null INVALID_REQUEST`},
		{`{"id":1,"method":null}`, `1 INVALID_REQUEST`},
		{`{"id":1,"method":""}`, `1 METHOD_NOT_FOUND`},
		{`{"id":1,"method":"PING"}`, `1 METHOD_NOT_FOUND`},
		{`{"id":1,"Method":"ping"}`, `1 INVALID_REQUEST`},
		{`{"id":1,"method":"ping","extra":1}`, `1 INVALID_REQUEST`},
		{`{"extra":1,"method":"ping"}`, `null INVALID_REQUEST`},

		{`{"id":1,"method":"ping","params":null}`, `1 INVALID_PARAMS`},
		{`{"id":1,"method":"ping","params":[]}`, `1 INVALID_PARAMS`},
		{`{"id":1,"method":"ping","params":"x"}`, `1 INVALID_PARAMS`},
		{`{"method":"ping","params":null}`, ``},
		{`{"id":1,"method":"guarded","params":null}`, `1 UNAUTHENTICATED`},

		{`1`, `null INVALID_REQUEST`},
		{`"x"`, `null INVALID_REQUEST`},
		{`null`, `null INVALID_REQUEST`},
	} {
		if got := summary(t, m, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
}

func TestParseErrors(t *testing.T) {
	m := newMux(jsonrpc.Options{MaxDepth: 10})
	nested := func(depth int) string { // the call and its params are two more
		return `{"id":1,"method":"echo","params":{"value":` + strings.Repeat("[", depth) + strings.Repeat("]", depth) + `}}`
	}
	for name, body := range map[string]string{
		"nothing":                        ``,
		"whitespace":                     " \n\t",
		"an open object":                 `{"id":1`,
		"an open batch":                  `[{"id":1,"method":"ping"}`,
		"a comma too many":               `[{"id":1,"method":"ping"},]`,
		"a wrong bracket":                `[{"id":1,"method":"ping"}}`,
		"data after a call":              `{"id":1,"method":"ping"}{`,
		"a second call":                  `{"id":1,"method":"ping"} {"id":2,"method":"ping"}`,
		"data after a batch":             `[{"id":1,"method":"ping"}]1`,
		"a duplicate member":             `{"id":1,"id":1,"method":"ping"}`,
		"a duplicate, escaped":           `{"id":1,"\u0069d":1,"method":"ping"}`,
		"a duplicate in params":          `{"id":1,"method":"echo","params":{"value":1,"value":1}}`,
		"a duplicate in a raw value":     `{"id":1,"method":"echo","params":{"value":[{"a":{"b":1,"b":2}}]}}`,
		"a duplicate in what is no call": `[[{"a":1,"a":2}]]`,
		"invalid UTF-8":                  "{\"id\":1,\"method\":\"echo\",\"params\":{\"value\":\"\xff\"}}",
		"invalid UTF-8 in a name":        "{\"id\":1,\"method\":\"ping\",\"\xc0\":1}",
		"half a surrogate pair":          `{"id":1,"method":"echo","params":{"value":"\ud800"}}`,
		"the other half":                 `{"id":1,"method":"echo","params":{"value":"\udc00"}}`,
		"half a pair as an id":           `{"id":"\ud800","method":"ping"}`,
		"a control character":            "{\"id\":1,\"method\":\"echo\",\"params\":{\"value\":\"\x01\"}}",
		"a byte order mark":              "\ufeff" + `{"id":1,"method":"ping"}`,
		"a comment":                      `{"id":1,"method":"ping"} // x`,
		"NaN":                            `{"id":NaN,"method":"ping"}`,
		"a leading zero":                 `{"id":01,"method":"ping"}`,
		"deep nesting":                   nested(9),
		"very deep nesting":              nested(100000),
		"in the last call of a batch":    `[{"id":1,"method":"boom"},{"id":2,"method":"ping","params":{"a":1,"a":2}}]`,
		"past the limit of a batch":      `[` + strings.Repeat(`{"id":1,"method":"boom"},`, 100) + `{"a":1,"a":2}]`,
	} {
		reply := m.Serve(t.Context(), requestID, []byte(body))
		if got := summarize(read(t, reply)); got != "null PARSE_ERROR" {
			t.Errorf("%s: %s", name, got)
		}
		if apperr.From(reply.Err).Kind != apperr.ParseError || len(reply.Calls) != 0 {
			t.Errorf("%s: %+v", name, reply)
		}
	}
	if got := summary(t, m, nested(8)); got != "1 "+strings.Repeat("[", 8)+strings.Repeat("]", 8) {
		t.Errorf("nesting at the limit: %s", got)
	}
	brackets := `{"id":1,"method":"echo","params":{"value":"[[[[[[[[[[[[\"[[[[\\"}}`
	if got := summary(t, m, brackets); got != `1 "[[[[[[[[[[[[\"[[[[\\"` {
		t.Errorf("brackets in a string: %s", got)
	}
}

func TestBatch(t *testing.T) {
	m := newMux(jsonrpc.Options{})
	calls := func(n int) string {
		return `[` + strings.TrimSuffix(strings.Repeat(`{"id":1,"method":"ping"},`, n), ",") + `]`
	}
	for _, c := range []struct{ body, want string }{
		{`[{"id":1,"method":"ping"}]`, `[1 "pong"]`},
		{`[{"id":1,"method":"ping"},{"method":"ping"},{"id":1,"method":"ping"}]`, `[1 "pong", 1 "pong"]`},
		{`[{"id":1,"method":"unencodable"},{"id":2,"method":"boom"},{"id":3,"method":"panics_encoding"},{"id":4,"method":"secret"},{"id":5,"method":"ping"}]`,
			`[1 INTERNAL, 2 INTERNAL, 3 INTERNAL, 4 INTERNAL, 5 "pong"]`},
		{`[{"method":"boom"},{"method":"unencodable"},{"method":"secret"}]`, ``},
		{`[[],[{"id":1,"method":"ping"}]]`, `[null INVALID_REQUEST, null INVALID_REQUEST]`},
		{calls(101), `null INVALID_REQUEST`},
	} {
		if got := summary(t, m, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
	if answers, batch := serve(t, m, calls(100)); !batch || len(answers) != 100 {
		t.Errorf("%d answers to 100 calls", len(answers))
	}
}

func TestLargeAnswersEndABatch(t *testing.T) {
	m := jsonrpc.New(jsonrpc.Options{MaxAnswer: 100})
	ran := 0
	jsonrpc.Handle(m, "large", func(context.Context, none) (string, error) { ran++; return strings.Repeat("x", 90), nil })
	got := m.Serve(t.Context(), requestID, []byte(`[{"id":1,"method":"large"},{"id":2,"method":"large"},{"method":"large"},{"id":3,"method":"nonsense"}]`))
	if ran != 2 || len(got.Calls) != 4 || got.Calls[1].Kind != apperr.Aborted || got.Calls[2].Kind != "" || got.Calls[3].Kind != apperr.Aborted {
		t.Errorf("%d ran: %+v", ran, got)
	}
}

func TestCalls(t *testing.T) {
	m := newMux(jsonrpc.Options{})
	reply := m.Serve(t.Context(), requestID, []byte(`[{"id":"\u0061","method":"ping"},{"method":"boom"},{"id":2,"method":"nonsense"},3]`))
	want := `ping "\u0061" , boom  INTERNAL, nonsense 2 METHOD_NOT_FOUND,   INVALID_REQUEST`
	got := make([]string, len(reply.Calls))
	for i, c := range reply.Calls {
		got[i] = c.Method + " " + string(c.ID) + " " + string(c.Kind)
	}
	if got := strings.Join(got, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if reply := m.Serve(t.Context(), requestID, []byte(`[]`)); reply.Err != nil || len(reply.Calls) != 1 || reply.Calls[0].Kind != apperr.InvalidRequest {
		t.Errorf("%+v", reply)
	}
}

func TestErrors(t *testing.T) {
	m := newMux(jsonrpc.Options{})
	got := string(m.Serve(t.Context(), "r", []byte(`{"id":1,"method":"conflict"}`)).Body)
	want := `{"jsonrpc":"2.0","id":1,"error":{"code":4090,"message":"It has changed","data":{"kind":"CONFLICT","request_id":"r","current":{"a":1,"b":2}}}}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{apperr.New(apperr.Unauthenticated, "This needs a login"), `{"code":4010,"message":"This needs a login","data":{"kind":"UNAUTHENTICATED","request_id":"r"}}`},
		{errSecret, `{"code":-32603,"message":"Internal error","data":{"kind":"INTERNAL","request_id":"r"}}`},
		{(*apperr.Error)(nil), `{"code":-32603,"message":"Internal error","data":{"kind":"INTERNAL","request_id":"r"}}`},
		{nil, `{"code":-32603,"message":"Internal error","data":{"kind":"INTERNAL","request_id":"r"}}`},
		{apperr.New(apperr.NotFound, "\xff").With("a", func() {}).With("b", bomb{}).With("c", []int(nil)), `{"code":4040,"message":"�","data":{"kind":"NOT_FOUND","request_id":"r","c":[]}}`},
	} {
		got, want := string(jsonrpc.ErrorBody(c.err, "r")), `{"jsonrpc":"2.0","id":null,"error":`+c.want+`}`
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestOnlyTheLogHasCauses(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	m := newMux(jsonrpc.Options{Log: zap.New(core)})
	jsonrpc.Handle(m, "panics_with_a_kind", func(context.Context, none) (none, error) { panic(apperr.New(apperr.NotFound, "not this one")) })
	jsonrpc.Handle(m, "unavailable", func(context.Context, none) (none, error) {
		return none{}, apperr.Wrap(apperr.Unavailable, "The database cannot be reached", errSecret)
	})
	jsonrpc.Handle(m, "unencodable_data", func(context.Context, none) (none, error) {
		return none{}, apperr.New(apperr.Conflict, "It has changed").With("current", bomb{})
	})
	for _, c := range []struct {
		method string
		kind   apperr.Kind
		level  zapcore.Level
		logged string // a part of the error's text; "" for nothing logged
		stack  bool
	}{
		{"ping", "", 0, "", false},
		{"conflict", apperr.Conflict, 0, "", false},
		{"nonsense", apperr.MethodNotFound, 0, "", false},
		{"secret", apperr.Internal, zap.ErrorLevel, errSecret.Error(), false},
		{"unavailable", apperr.Unavailable, zap.WarnLevel, errSecret.Error(), false},
		{"unencodable", apperr.Internal, zap.ErrorLevel, "cannot be encoded", false},
		{"boom", apperr.Internal, zap.ErrorLevel, "panic: boom", true},
		{"panics_encoding", apperr.Internal, zap.ErrorLevel, "panic: in a marshaler", true},
		{"unencodable_data", apperr.Conflict, zap.ErrorLevel, "the data of an error cannot be encoded", true},
		{"panics_with_a_kind", apperr.Internal, zap.ErrorLevel, "panic: NOT_FOUND", true},
	} {
		reply := m.Serve(t.Context(), requestID, fmt.Appendf(nil, `{"id":1,"method":%q}`, c.method))
		read(t, reply)
		if reply.Calls[0].Kind != c.kind {
			t.Errorf("%s: %s", c.method, reply.Body)
		}
		lines := logs.TakeAll()
		if c.logged == "" {
			if len(lines) != 0 {
				t.Errorf("%s: logged %v", c.method, lines)
			}
			continue
		}
		if len(lines) != 1 {
			t.Fatalf("%s: %d lines", c.method, len(lines))
		}
		fields := lines[0].ContextMap()
		stack, _ := fields["stack"].(string)
		if lines[0].Level != c.level || fields["request_id"] != requestID || fields["method"] != c.method ||
			!strings.Contains(fields["error"].(string), c.logged) || c.stack != strings.Contains(stack, "_test.go") {
			t.Errorf("%s: logged %v", c.method, lines[0])
		}
	}
}

// TestTheBodyMayBeUsedAgain proves that params share no memory with the body.
func TestTheBodyMayBeUsedAgain(t *testing.T) {
	m := jsonrpc.New(jsonrpc.Options{})
	var kept anything
	jsonrpc.Handle(m, "keep", func(_ context.Context, p anything) (none, error) { kept = p; return none{}, nil })
	body := []byte(`{"id":1,"method":"keep","params":{"value":{"a":[1,2]}}}`)
	m.Serve(t.Context(), requestID, body)
	copy(body, bytes.Repeat([]byte("x"), len(body)))
	if string(kept.Value) != `{"a":[1,2]}` {
		t.Errorf("%s", kept.Value)
	}
}

// The limit is asked once for each item, whatever it is, before anything is done for it.
func TestLimit(t *testing.T) {
	t.Parallel()
	asked, ran := 0, 0
	m := jsonrpc.New(jsonrpc.Options{
		Limit: func(context.Context) error {
			if asked++; asked > 4 {
				return apperr.Limited("Too many", 1500*time.Millisecond)
			}
			return nil
		},
		Guard: func(context.Context, string) error { return apperr.New(apperr.Unauthenticated, "This needs a login") },
	})
	jsonrpc.Handle(m, "open", func(context.Context, none) (int, error) { ran++; return ran, nil }, jsonrpc.Public())
	jsonrpc.Handle(m, "closed", func(context.Context, none) (int, error) { return 0, nil })
	reply := m.Serve(t.Context(), "r", []byte(`[{"id":1,"method":"open"},{"method":"open"},{"id":2,"method":"closed"},7,
		{"id":3,"method":"open"},{"method":"open"},{"id":4,"method":"closed"},{"id":5,"method":"unknown"},8]`))
	var kinds []apperr.Kind
	for _, c := range reply.Calls {
		kinds = append(kinds, c.Kind)
	}
	limited := apperr.RateLimited
	if want := []apperr.Kind{"", "", apperr.Unauthenticated, apperr.InvalidRequest, limited, limited, limited, limited, limited}; !slices.Equal(kinds, want) || ran != 2 || asked != 9 {
		t.Errorf("%v, %d ran, %d asked", kinds, ran, asked)
	}
	if body := string(reply.Body); strings.Count(body, `"retry_after_ms":1500`) != 4 || strings.Count(body, `"id":null`) != 2 {
		t.Error(body)
	}
}
