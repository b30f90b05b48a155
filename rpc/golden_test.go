package rpc_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/jsonrpc"
	"rowcall/rpc"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The surface: every method, with the shape of its params and of its result. A change of it shows in review.
func TestGoldenSurface(t *testing.T) {
	t.Parallel()
	m := jsonrpc.New(jsonrpc.Options{})
	rpc.Register(m, rpc.API{})
	var b strings.Builder
	for _, method := range m.Methods() {
		fmt.Fprintf(&b, "%s\n    params %s\n    result %s\n", method.Name, shape(method.Params), shape(method.Result))
	}
	path := filepath.Join("testdata", "surface.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the surface has changed; if that is wanted: make golden\n%s", b.String())
	}
}

// shape writes a type as its JSON looks. A member with ? may be absent.
func shape(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[jsontext.Value]():
		return "any"
	case reflect.TypeFor[time.Time]():
		return "time"
	case reflect.TypeFor[uuid.UUID]():
		return "uuid"
	}
	if t.Implements(reflect.TypeFor[jsonrpc.Appender]()) {
		return strings.ReplaceAll(t.Name(), "rowcall/model.", "")
	}
	switch t.Kind() {
	case reflect.Pointer:
		return shape(t.Elem()) + "|null"
	case reflect.Slice:
		return "[" + shape(t.Elem()) + "]"
	case reflect.Struct:
		var members []string
		for _, f := range reflect.VisibleFields(t) {
			name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
			if f.Anonymous || name == "-" {
				continue
			}
			if strings.Contains(options, "omit") {
				name += "?"
			}
			members = append(members, name+": "+shape(f.Type))
		}
		return "{" + strings.Join(members, ", ") + "}"
	default:
		return t.Kind().String()
	}
}
