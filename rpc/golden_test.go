package rpc_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/rpc/rpctest"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The surface: every method, with its params, result and errors. A change of it shows in review.
func TestGoldenSurface(t *testing.T) {
	t.Parallel()
	got := string(appendPretty(nil, rpctest.Discover(), "")) + "\n"
	path := filepath.Join("testdata", "openrpc.golden.json")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("the surface has changed; see what by: make golden && git diff %s", filepath.Join("rpc", path))
	}
}

// appendPretty appends JSON to be read: each member on a line of its own, unless the whole is short.
func appendPretty(b []byte, v jsontext.Value, indent string) []byte {
	const short = 110
	open, closing := v[0], byte(']')
	switch open {
	case '{':
		closing = '}'
	case '[':
	default:
		return append(b, v...)
	}
	if len(indent)+len(v) <= short {
		line := v.Clone()
		if err := line.Format(jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true)); err != nil {
			panic(err) // it was encoded by us
		}
		return append(b, line...)
	}
	d := jsontext.NewDecoder(bytes.NewReader(v))
	next := func() jsontext.Value {
		value, err := d.ReadValue()
		if err != nil {
			panic(err)
		}
		return value
	}
	if _, err := d.ReadToken(); err != nil {
		panic(err)
	}
	b = append(b, open)
	inner := indent + "  "
	for first := true; d.PeekKind() != jsontext.KindEndObject && d.PeekKind() != jsontext.KindEndArray; first = false {
		if !first {
			b = append(b, ',')
		}
		b = append(append(b, '\n'), inner...)
		if open == '{' {
			b = append(append(b, next()...), ": "...)
		}
		b = appendPretty(b, next().Clone(), inner)
	}
	return append(append(append(b, '\n'), indent...), closing)
}
