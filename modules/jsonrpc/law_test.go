package jsonrpc_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/jsonrpc"
)

// FuzzServe holds any body to the laws of JSON-RPC. What must be answered is found out in another way than Serve does it:
// by decoding the body into Go values.
func FuzzServe(f *testing.F) {
	for _, seed := range []string{
		``, `[]`, `[1]`, `{}`, `null`, `{"id":1,"method":"ping"}`, `{"method":"ping"}`, `{"id":"x","method":"echo","params":{"value":[{"a":null}]}}`,
		`[{"id":1,"method":"subtract","params":{"minuend":42,"subtrahend":23}},{"method":"boom"},{"id":null,"method":"secret"}]`,
		`{"jsonrpc":"2.0","id":18446744073709551616,"method":"guarded"}`, `{"id":1.0,"method":"ping"}`, `{"id":1,"id":1}`,
		`{"id":"\ud800","method":"ping"}`, `{"id":1,"method":"echo","params":{"value":1,"other":2}}`, `{"id":1,"method":"ping"}}`,
		`[{"id":1,"method":"unencodable"},{"id":2,"method":"panics_encoding"},[]]`, `{"id":1,"method":"subtract","params":{"minuend":"x"}}`,
		`{"id":1,"method":"conflict","extra":{}}`, "{\"id\":\"\xff\"}", `[[[[[[[[[[[[[[[[[[[[[[[[`, `{"\u0069d":1,"method":"p\u0069ng"}`,
	} {
		f.Add([]byte(seed))
	}
	m := newMux(jsonrpc.Options{MaxBatch: 5, MaxDepth: 20})
	f.Fuzz(func(t *testing.T, body []byte) {
		before := string(body)
		reply := m.Serve(t.Context(), requestID, body)
		if string(body) != before {
			t.Fatal("the body was written to")
		}
		answers, batch := read(t, reply)

		valid := jsontext.Value(body).IsValid()
		if refused := reply.Err != nil; refused || !valid {
			if !refused || batch || len(reply.Calls) != 0 || summarize(answers, batch) != "null PARSE_ERROR" {
				t.Fatalf("valid %v, refused %v: %s", valid, refused, reply.Body)
			}
			return
		}
		var items []jsontext.Value
		if jsontext.Value(body).Kind() != '[' {
			items = []jsontext.Value{body}
		} else if err := json.Unmarshal(body, &items); err != nil {
			t.Fatal(err)
		} else if len(items) == 0 || len(items) > 5 {
			if summarize(answers, batch) != "null INVALID_REQUEST" {
				t.Fatalf("%s", reply.Body)
			}
			return
		} else if batch != (len(answers) > 0) {
			t.Fatalf("a batch is answered by %s", reply.Body)
		}
		for _, item := range items {
			id, answered := expectedID(item)
			if !answered {
				continue
			}
			if len(answers) == 0 || string(answers[0].ID) != id {
				t.Fatalf("%s should be answered with the id %s: %s", item, id, reply.Body)
			}
			answers = answers[1:]
		}
		if len(answers) > 0 || len(reply.Calls) != len(items) {
			t.Fatalf("%d answers too many, %d calls: %s", len(answers), len(reply.Calls), reply.Body)
		}
	})
}

// expectedID returns the id that a valid JSON value is answered with as a call, if it is.
func expectedID(item jsontext.Value) (id string, answered bool) {
	var call map[string]jsontext.Value
	if item.Kind() != '{' || json.Unmarshal(item, &call) != nil {
		return "null", true
	}
	raw, given := call["id"]
	ok := true
	for name := range call {
		ok = ok && slices.Contains([]string{"jsonrpc", "id", "method", "params"}, name)
	}
	var method string
	ok = ok && call["method"].Kind() == '"' && json.Unmarshal(call["method"], &method) == nil
	if version, versioned := call["jsonrpc"]; versioned {
		var v any
		ok = ok && json.Unmarshal(version, &v) == nil && v == "2.0"
	}
	validID := raw.Kind() == '"' || raw.Kind() == 'n' || raw.Kind() == '0' && strings.Trim(string(raw), "-0123456789") == ""
	switch {
	case given && validID:
		return string(raw), true
	case given || !ok:
		return "null", true
	}
	return "", false
}

// drawnCall is a call that was drawn with what it must be answered with.
type drawnCall struct{ text, want string }

// TestBatchLaw: what a batch answers is what its calls answer one by one, notifications left out, in their order.
func TestBatchLaw(t *testing.T) {
	m := newMux(jsonrpc.Options{})
	ids := rapid.OneOf(
		rapid.StringMatching(`-?(0|[1-9][0-9]{0,40})`),
		rapid.Map(rapid.String(), quoted),
		rapid.StringMatching(`"(\\u00[0-9a-f]{2}|\\/|[a-z ])*"`),
		rapid.SampledFrom([]string{"", "null", "1.5", "true", "[]"}),
	)
	calls := rapid.Custom(func(t *rapid.T) drawnCall {
		id := ids.Draw(t, "id")
		method := rapid.SampledFrom([]string{"ping", "boom", "conflict", "nonsense", "unencodable", "echo"}).Draw(t, "method")
		want := map[string]string{"ping": `"pong"`, "boom": "INTERNAL", "conflict": "CONFLICT", "nonsense": "METHOD_NOT_FOUND", "unencodable": "INTERNAL"}[method]
		members := []string{`"method":` + quoted(method)}
		if method == "echo" {
			want = quoted(rapid.String().Draw(t, "value"))
			members = append(members, `"params":{"value":`+want+`}`)
		}
		switch id {
		case "":
			want = ""
		case "1.5", "true", "[]":
			want = "null " + string(apperr.InvalidRequest)
			members = append(members, `"id":`+id)
		default:
			want = id + " " + want
			members = append(members, `"id":`+id)
		}
		return drawnCall{`{` + strings.Join(rapid.Permutation(members).Draw(t, "members"), ", ") + `}`, want}
	})
	rapid.Check(t, func(rt *rapid.T) {
		batch := rapid.SliceOfN(calls, 1, 20).Draw(rt, "batch")
		var texts, want []string
		for _, call := range batch {
			if got := summary(t, m, call.text); got != call.want {
				rt.Fatalf("%s: %s, want %s", call.text, got, call.want)
			}
			texts = append(texts, call.text)
			if call.want != "" {
				want = append(want, call.want)
			}
		}
		whole := ""
		if len(want) > 0 {
			whole = "[" + strings.Join(want, ", ") + "]"
		}
		if got := summary(t, m, "["+strings.Join(texts, ",")+"]"); got != whole {
			rt.Fatalf("%s\ngot  %s\nwant %s", texts, got, whole)
		}
	})
}

func quoted(s string) string {
	text, _ := jsontext.AppendQuote(nil, s)
	return string(text)
}
