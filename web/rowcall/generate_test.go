package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func generated(t *testing.T, args ...string) string {
	t.Helper()
	var stdout bytes.Buffer
	if err := run(t.Context(), append([]string{"generate"}, args...), nil, &stdout, io.Discard, nil); err != nil {
		t.Fatal(err)
	}
	return stdout.String()
}

// The clients that are checked in are those that the program writes now.
func TestClientsAreCurrent(t *testing.T) {
	t.Parallel()
	for language, file := range map[string]string{"ts": "../../clients/ts/src/api.ts", "go": "../../clients/go/api/api.go"} {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if generated(t, language) != string(want) {
			t.Errorf("%s is not what the methods are now: make generate", file)
		}
	}
}

func TestGenerate(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "a", "my-api")
	document := filepath.Join(t.TempDir(), "openrpc.json")
	text := `{"openrpc":"1.3.2","info":{"title":"Tiny","version":"1"},"methods":[{"name":"ping","params":[],"result":{"name":"result","schema":{"type":"string"}}}]}`
	if err := os.WriteFile(document, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	generated(t, "go", "-from", document, "-o", folder)
	generated(t, "ts", "-from", document, "-o", folder)
	for file, want := range map[string]string{"api.go": "package myapi\n", "api.ts": "result: string;", "client.ts": "export class Client<"} {
		got, err := os.ReadFile(filepath.Join(folder, file))
		if err != nil || !bytes.Contains(got, []byte(want)) {
			t.Errorf("%s lacks %q (%v):\n%s", file, want, err, got)
		}
	}

	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":`+text+`}`)
	}))
	defer server.Close()
	if got := generated(t, "ts", "-from", server.URL); got != generated(t, "ts", "-from", document) {
		t.Errorf("from a server:\n%s", got)
	}
	for _, args := range [][]string{nil, {"rust"}, {"ts", "-x"}, {"ts", "more"}, {"ts", "-from", filepath.Join(folder, "nothing.json")}, {"go", "-from", filepath.Join(folder, "api.ts")}} {
		if err := run(t.Context(), append([]string{"generate"}, args...), nil, io.Discard, io.Discard, nil); err == nil {
			t.Errorf("generate %v is no error", args)
		}
	}
}
