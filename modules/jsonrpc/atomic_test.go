package jsonrpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

// wrapped is the shape of a result that can be referred to.
type wrapped struct {
	Data jsontext.Value `json:"data"`
}

// tape is a transaction: what ran in it, and whether it was kept.
type tape struct {
	ran    []string
	kept   bool
	begun  bool
	commit error // what comes of a commit
}

func (tp *tape) atomic(ctx context.Context, calls func(context.Context) error) error {
	*tp = tape{begun: true, commit: tp.commit}
	if err := calls(ctx); err != nil {
		return fmt.Errorf("rolled back: %w", err)
	}
	if tp.commit != nil {
		return tp.commit
	}
	tp.kept = true
	return nil
}

// newTape returns a mux with the method "put", which notes its value on the tape and returns it as data.
func newTape(opts jsonrpc.Options) (*jsonrpc.Mux, *tape) {
	tp := &tape{}
	opts.Atomic = tp.atomic
	m := newMux(opts)
	jsonrpc.Handle(m, "put", func(_ context.Context, p anything) (wrapped, error) {
		tp.ran = append(tp.ran, string(p.Value))
		return wrapped{p.Value}, nil
	})
	return m, tp
}

func atomic(t *testing.T, m *jsonrpc.Mux, body string) string {
	t.Helper()
	return summarize(read(t, m.ServeAtomic(t.Context(), requestID, []byte(body))))
}

func TestAtomic(t *testing.T) {
	m, tp := newTape(jsonrpc.Options{})
	put := func(id int) string { return fmt.Sprintf(`{"id":%d,"method":"put","params":{"value":%d}}`, id, id) }
	for _, c := range []struct {
		body, want string
		ran        int
	}{
		{`[` + put(1) + `,` + put(2) + `]`, `[1 {"data":1}, 2 {"data":2}]`, 2},
		{put(1), `1 {"data":1}`, 1},
		{`[` + put(1) + `,{"method":"put","params":{"value":2}}]`, `[1 {"data":1}]`, 2},
		{`{"method":"put","params":{"value":2}}`, ``, 1},

		{`[` + put(1) + `,{"id":2,"method":"conflict"},` + put(3) + `]`, `[1 ABORTED, 2 CONFLICT, 3 ABORTED]`, 1},
		{`[` + put(1) + `,{"id":2,"method":"boom"},{"id":3,"method":"conflict"}]`, `[1 ABORTED, 2 INTERNAL, 3 ABORTED]`, 1},
		{`[` + put(1) + `,{"method":"conflict"},` + put(3) + `]`, `[1 ABORTED, 3 ABORTED]`, 1},
		{`[` + put(1) + `,{"id":2,"method":"unencodable"}]`, `[1 ABORTED, 2 INTERNAL]`, 1},
		{`[` + put(1) + `,{"method":"panics_encoding"}]`, `[1 ABORTED]`, 1},
		{`[` + put(1) + `,{"id":2,"method":"guarded"}]`, `[1 ABORTED, 2 UNAUTHENTICATED]`, 1},
		{`[` + put(1) + `,{"id":2,"method":"put"}]`, `[1 ABORTED, 2 INVALID_PARAMS]`, 1},

		// What cannot run is known before anything does.
		{`[` + put(1) + `,2,3]`, `[1 ABORTED, null INVALID_REQUEST, null ABORTED]`, 0},
		{`[{"id":1,"method":"conflict"},{"id":2,"method":"nonsense"}]`, `[1 ABORTED, 2 METHOD_NOT_FOUND]`, 0},
		{`[` + put(1) + `,{"method":"nonsense"}]`, `[1 ABORTED]`, 0},
		{`[` + put(1), `null PARSE_ERROR`, 0},
		{`[]`, `null INVALID_REQUEST`, 0},
	} {
		*tp = tape{}
		if got := atomic(t, m, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
		if len(tp.ran) != c.ran || tp.begun != (c.ran > 0) {
			t.Errorf("%s: ran %d calls, want %d", c.body, len(tp.ran), c.ran)
		}
		if kept := c.ran > 0 && !strings.Contains(c.want, "ABORTED"); tp.kept != kept {
			t.Errorf("%s: kept: %v", c.body, tp.kept)
		}
	}
	if got := atomic(t, newMux(jsonrpc.Options{}), put(1)); got != `null INVALID_REQUEST` {
		t.Errorf("without Options.Atomic: %s", got)
	}
}

func TestAtomicCommitThatFails(t *testing.T) {
	core, logged := observer.New(zapcore.WarnLevel)
	m, tp := newTape(jsonrpc.Options{Log: zap.New(core)})
	tp.commit = apperr.Wrap(apperr.Unavailable, "It is not known whether the work was kept", errSecret)
	body := `[{"id":1,"method":"ping"},{"method":"ping"},{"id":2,"method":"ping"}]`
	if got := atomic(t, m, body); got != `[1 UNAVAILABLE, 2 UNAVAILABLE]` {
		t.Errorf("answered %s", got)
	}
	if logged.Len() != 1 {
		t.Errorf("%d log lines for one failure", logged.Len())
	}
	reply := m.ServeAtomic(t.Context(), requestID, []byte(body))
	for _, call := range reply.Calls {
		if call.Kind != apperr.Unavailable {
			t.Errorf("%+v", call)
		}
	}
}

func TestAtomicHasTheBoundsOfOtherBatches(t *testing.T) {
	m, tp := newTape(jsonrpc.Options{MaxAnswer: 100})
	long := `{"id":1,"method":"put","params":{"value":"` + strings.Repeat("x", 100) + `"}}`
	if got := atomic(t, m, `[`+long+`,{"id":2,"method":"ping"},{"id":3,"method":"ping"}]`); !strings.HasSuffix(got, `[1 ABORTED, 2 ABORTED, 3 ABORTED]`) || tp.kept {
		t.Error(got)
	}
	if got := atomic(t, m, long); !strings.HasPrefix(got, `1 {"data":"xxx`) || !tp.kept {
		t.Error(got)
	}

	m, tp = newTape(jsonrpc.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	jsonrpc.Handle(m, "cancel", func(context.Context, none) (none, error) { cancel(); return none{}, nil })
	if got := summarize(read(t, m.ServeAtomic(ctx, requestID, []byte(`[{"id":1,"method":"cancel"},{"id":2,"method":"ping"},{"id":3,"method":"ping"}]`)))); got != `[1 ABORTED, 2 ABORTED, 3 ABORTED]` || tp.kept {
		t.Error(got)
	}
}

func TestReferences(t *testing.T) {
	m, tp := newTape(jsonrpc.Options{MaxDepth: 40})
	const first = `{"id":0,"method":"put","params":{"value":{"id":7,"name":"é","rows":[{"id":8},{"id":[9]}],"a\u002eb":1,"none":null,"x":{"":{"\"":2}}}}}`
	for _, c := range []struct{ value, want string }{
		{`{"$ref":"0.id"}`, `7`},
		{`{"\u0024ref":"0\u002eid"}`, `7`},
		{` { "$ref" : "0.id" } `, `7`},
		{`{"project":{"$ref":"0.id"},"name":{"$ref":"0.name"}}`, `{"project":7,"name":"é"}`},
		{`[ {"$ref":"0.rows.0.id"}, 1, {"$ref":"0.rows.1.id"}]`, `[8,1,[9]]`},
		{`{"$ref":"0.rows"}`, `[{"id":8},{"id":[9]}]`},
		{`{"$ref":"0.none"}`, `null`},
		{`{"$ref":"0.x..\""}`, `2`},
		{`[{"$ref":"0"}]`, `[{"id":7,"name":"é","rows":[{"id":8},{"id":[9]}],"a.b":1,"none":null,"x":{"":{"\"":2}}}]`},

		// Not references.
		{`{"$ref":7}`, `{"$ref":7}`},
		{`{"$ref":{"$ref":"0.id"}}`, `{"$ref":7}`},
		{`{"$ref":"0.id","x":1}`, `{"$ref":"0.id","x":1}`},
		{`{"x":1,"$ref":"0.id"}`, `{"x":1,"$ref":"0.id"}`},
		{`["$ref","0.id",{}]`, `["$ref","0.id",{}]`},
	} {
		if got := atomic(t, m, `[`+first+`,{"id":1,"method":"put","params":{"value":`+c.value+`}}]`); !strings.HasSuffix(got, `1 {"data":`+c.want+`}]`) || !tp.kept {
			t.Errorf("%s: %s, want %s", c.value, got, c.want)
		}
	}

	for _, c := range []struct{ value, path string }{
		{`{"$ref":""}`, `params.value`},
		{`{"$ref":"x"}`, `params.value`},
		{`{"$ref":"1.id"}`, `params.value`}, // itself
		{`{"$ref":"2.id"}`, `params.value`}, // later
		{`{"$ref":"3.id"}`, `params.value`},
		{`{"$ref":"-1.id"}`, `params.value`},
		{`{"$ref":"00.id"}`, `params.value`},
		{`{"$ref":"+0.id"}`, `params.value`},
		{`{"$ref":"99999999999999999999.id"}`, `params.value`},
		{`{"a":[1,{"b":{"$ref":"0.ids"}}]}`, `params.value.a[1].b`},
		{`{"$ref":"0.a.b"}`, `params.value`},
		{`{"$ref":"0."}`, `params.value`},
		{`{"$ref":"0.id.x"}`, `params.value`},
		{`{"$ref":"0.rows.2"}`, `params.value`},
		{`{"$ref":"0.rows.00"}`, `params.value`},
		{`{"$ref":"0.rows.-1"}`, `params.value`},
		{`{"$ref":"0.rows.length"}`, `params.value`},
	} {
		answers, _ := read(t, m.ServeAtomic(t.Context(), requestID, []byte(`[`+first+`,{"id":1,"method":"put","params":{"value":`+c.value+`}},{"id":2,"method":"ping"}]`)))
		if got := summarize(answers, true); got != `[0 ABORTED, 1 INVALID_PARAMS, 2 ABORTED]` || tp.kept {
			t.Errorf("%s: %s", c.value, got)
			continue
		}
		if issues := answers[1].Error.Data.Issues; len(issues) != 1 || issues[0].Path != c.path {
			t.Errorf("%s: %v, want an issue at %s", c.value, issues, c.path)
		}
	}

	for name, c := range map[string]struct{ body, want string }{
		"all params":               {`[{"id":0,"method":"put","params":{"value":{"value":1}}},{"id":1,"method":"put","params":{"$ref":"0"}}]`, `[0 {"data":{"value":1}}, 1 {"data":1}]`},
		"all params, not found":    {`[{"id":0,"method":"put","params":{"value":1}},{"id":1,"method":"put","params":{"$ref":"0.x"}}]`, `[0 ABORTED, 1 INVALID_PARAMS]`},
		"a notification's result":  {`[{"method":"put","params":{"value":1}},{"id":1,"method":"put","params":{"value":{"$ref":"0"}}}]`, `[1 {"data":1}]`},
		"a result that is text":    {`[{"id":0,"method":"ping"},{"id":1,"method":"put","params":{"value":{"$ref":"0"}}}]`, `[0 ABORTED, 1 INVALID_PARAMS]`},
		"what a result has inside": {`[{"id":0,"method":"put","params":{"value":{"$ref":"9","x":1}}},{"id":1,"method":"put","params":{"value":{"$ref":"0"}}}]`, `[0 {"data":{"$ref":"9","x":1}}, 1 {"data":{"$ref":"9","x":1}}]`},
		"too deep together": {`[{"id":0,"method":"put","params":{"value":` + strings.Repeat("[", 30) + strings.Repeat("]", 30) + `}},` +
			`{"id":1,"method":"put","params":{"value":` + strings.Repeat("[", 20) + `{"$ref":"0"}` + strings.Repeat("]", 20) + `}}]`, `[0 ABORTED, 1 INVALID_PARAMS]`},
	} {
		if got := atomic(t, m, c.body); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}

	// Outside of an atomic batch a reference is data like any other.
	if got := summary(t, m, `[`+first+`,{"id":1,"method":"put","params":{"value":{"$ref":"0.id"}}}]`); !strings.HasSuffix(got, `1 {"data":{"$ref":"0.id"}}]`) {
		t.Error(got)
	}
}

// Each call refers twice to the one before: params that double a hundred times.
func TestReferencesDoNotExplode(t *testing.T) {
	m, _ := newTape(jsonrpc.Options{})
	body := `[{"id":0,"method":"put","params":{"value":"` + strings.Repeat("x", 100) + `"}}`
	for i := 1; i < 100; i++ {
		body += fmt.Sprintf(`,{"id":%d,"method":"put","params":{"value":[{"$ref":"%[2]d"},{"$ref":"%[2]d"}]}}`, i, i-1)
	}
	reply := m.ServeAtomic(t.Context(), requestID, []byte(body+`]`))
	failed := slices.IndexFunc(reply.Calls, func(c jsonrpc.Call) bool { return c.Kind == apperr.InvalidParams })
	if failed < 5 || failed > 20 || !bytes.Contains(reply.Body, []byte(`a batch may refer to 1 MiB`)) {
		t.Fatalf("call %d failed: %.2000s", failed, reply.Body)
	}

	// Many references into one large result: it is read once, and not for each.
	rows := strings.TrimSuffix(strings.Repeat(`{"id":1},`, 30_000), ",")
	var into strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&into, `{"$ref":"0.%d.id"},`, i)
	}
	body = `[{"id":0,"method":"put","params":{"value":[` + rows + `]}},{"id":1,"method":"put","params":{"value":[` + into.String() + `0]}}]`
	if got := atomic(t, m, body); strings.Count(got, "1,") < 10_000 {
		t.Fatalf("%.300s", got)
	}

	// And one that is too large to be searched.
	large := `{"id":0,"method":"large"}`
	jsonrpc.Handle(m, "large", func(context.Context, none) (wrapped, error) {
		return wrapped{jsontext.Value(`["` + strings.Repeat("x", 3<<20) + `"]`)}, nil
	})
	if got := atomic(t, m, `[`+large+`,{"id":1,"method":"put","params":{"value":{"$ref":"0.1"}}}]`); got != `[0 ABORTED, 1 INVALID_PARAMS]` {
		t.Fatalf("%.300s", got)
	}
}

// FuzzReferences compares references with a plain way to follow them, in values without their text.
func FuzzReferences(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":[1,{"b":2}]}`, `{"x":{"$ref":"0.a.1.b"}}`},
		{`[[],{}]`, `[{"$ref":"0"},{"$ref":"0.0"},{"\u0024ref":"0.1"},{"$ref":"1"}]`},
		{`{"":{"é":null}}`, `{"$ref":"0..é"}`},
		{`1`, `{"$ref":{"$ref":"0"},"y":["$ref"]}`},
		{`{"$ref":"0"}`, `{"$ref":"0"}`},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, data, value string) {
		var from, given any
		if json.Unmarshal([]byte(data), &from) != nil || json.Unmarshal([]byte(value), &given) != nil {
			return
		}
		if _, err := replaced(from, nil); err != nil { // the first call can refer to nothing
			return
		}
		m, _ := newTape(jsonrpc.Options{})
		answers, _ := read(t, m.ServeAtomic(t.Context(), requestID, []byte(
			`[{"id":0,"method":"put","params":{"value":`+data+`}},{"id":1,"method":"put","params":{"value":`+value+`}}]`)))
		want, err := replaced(given, []any{from})
		switch {
		case (err != nil) != (answers[1].Error != nil):
			t.Fatalf("%s into %s: %s, want error %v", data, value, answers[1].short(), err)
		case err != nil && answers[1].Error.Data.Kind != apperr.InvalidParams:
			t.Fatalf("%s into %s: %s", data, value, answers[1].short())
		case err != nil:
			return
		}
		var got struct {
			Data any `json:"data"`
		}
		if err := json.Unmarshal(answers[1].Result, &got); err != nil || !reflect.DeepEqual(got.Data, want) {
			t.Fatalf("%s into %s: %s, want %v", data, value, answers[1].Result, want)
		}
	})
}

// replaced returns the value with the references into data replaced, the first of them being that of call 0.
func replaced(v any, data []any) (any, error) {
	var err error
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i := range v {
			if out[i], err = replaced(v[i], data); err != nil {
				return nil, err
			}
		}
		return out, nil
	case map[string]any:
		if target, is := v["$ref"].(string); is && len(v) == 1 {
			return followed(strings.Split(target, "."), data)
		}
		out := map[string]any{}
		for name := range v {
			if out[name], err = replaced(v[name], data); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	return v, nil
}

func followed(path []string, v any) (any, error) {
	if len(path) == 0 {
		return v, nil
	}
	switch v := v.(type) {
	case map[string]any:
		if member, ok := v[path[0]]; ok {
			return followed(path[1:], member)
		}
	case []any:
		for i := range v {
			if strconv.Itoa(i) == path[0] {
				return followed(path[1:], v[i])
			}
		}
	}
	return nil, errors.New("it is not there")
}
