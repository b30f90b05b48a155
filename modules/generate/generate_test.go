package generate_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"rowcall/modules/generate"
)

var update = flag.Bool("update", false, "write the golden files anew")

func document(t *testing.T) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "openrpc.json"))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What becomes of each form of schema.
func TestGolden(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func([]byte) ([]byte, error){
		"api.ts": generate.TypeScript,
		"api.go": func(d []byte) ([]byte, error) { return generate.Go(d, "shelf") },
	} {
		got, err := write(document(t))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join("testdata", "shelf", name)
		if *update {
			if err := os.WriteFile(path, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s has changed; if that is wanted: go test ./modules/generate -update\n%s", path, got)
		}
	}
}

func TestGoCompiles(t *testing.T) {
	t.Parallel()
	if out, err := exec.CommandContext(t.Context(), "go", "vet", "./testdata/shelf").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestBadDocuments(t *testing.T) {
	t.Parallel()
	method := func(schema string) string {
		return `{"methods":[{"name":"m","params":[],"result":{"name":"r","schema":` + schema + `}}]}`
	}
	for text, want := range map[string]string{
		`{`:                            "EOF",
		`{}`:                           "no methods",
		`{"methods":[{"name":"m"}]}`:   "has no schema",
		method(`{"$ref":"#/nothing"}`): "there is no #/nothing",
		method(`{"items":{"$ref":"#/components/schemas/X"}}`): "there is no #/components/schemas/X",
		method(`{"properties":[]}`):                           "an object is wanted",
	} {
		for _, err := range []error{second(generate.TypeScript([]byte(text))), second(generate.Go([]byte(text), "x"))} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q", text, err, want)
			}
		}
	}
}

func second(_ []byte, err error) error { return err }

// Schemas may contain each other in any way: the writers end, and say the same each time.
func TestRecursion(t *testing.T) {
	t.Parallel()
	text := []byte(`{"methods":[{"name":"m","params":[{"name":"p","schema":{"$ref":"#/components/schemas/A"}}],"result":{"name":"r","schema":{"$ref":"#/components/schemas/A"}}}],
		"components":{"schemas":{
			"A":{"anyOf":[{"type":"array","items":{"$ref":"#/components/schemas/B"}},{"$ref":"#/components/schemas/B"},{"type":"null"}]},
			"B":{"type":"object","properties":{"a":{"$ref":"#/components/schemas/A"},"b":{"anyOf":[{"$ref":"#/components/schemas/B"},{"type":"object","properties":{"x":{"$ref":"#/components/schemas/B"}}}]}}}}}}`)
	for _, write := range []func([]byte) ([]byte, error){generate.TypeScript, func(d []byte) ([]byte, error) { return generate.Go(d, "x") }} {
		first, err := write(text)
		again, _ := write(text)
		if err != nil || !slices.Equal(first, again) {
			t.Errorf("%v\n%s\n%s", err, first, again)
		}
	}
}
