package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"rowcall/clients"
	"rowcall/modules/generate"
	"rowcall/modules/jsonrpc"
	"rowcall/modules/rpcclient"
	"rowcall/rpc"
)

var errGenerate = errors.New("usage: rowcall generate ts|go [-from URL|FILE] [-o FOLDER]")

// generateClient writes a client's generated part to stdout, or the whole of the client into a folder.
func generateClient(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errGenerate
	}
	flags := flag.NewFlagSet("generate", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	from := flags.String("from", "", "the server, or the file, that has the OpenRPC document")
	folder := flags.String("o", "", "the folder to write to")
	if err := flags.Parse(args[1:]); err != nil || flags.NArg() > 0 {
		return errGenerate
	}
	document, err := openRPC(ctx, *from)
	if err != nil {
		return err
	}
	files := map[string][]byte{}
	var name string
	switch args[0] {
	case "ts":
		name = "api.ts"
		files[name], err = generate.TypeScript(document)
		files["client.ts"], files["events.ts"] = clients.TypeScript, clients.TypeScriptEvents
	case "go":
		name = "api.go"
		files[name], err = generate.Go(document, packageName(*folder))
	default:
		return errGenerate
	}
	if err != nil {
		return err
	}
	if *folder == "" {
		_, err := stdout.Write(files[name])
		return err
	}
	if err := os.MkdirAll(*folder, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(*folder, name), text, 0o644); err != nil { //nolint:gosec // it is source
			return err
		}
	}
	return nil
}

// packageName returns the name of the Go package in a folder: the folder's, as far as a package can be called so.
func packageName(folder string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, strings.ToLower(filepath.Base(filepath.Clean(folder))))
	if !token.IsIdentifier(name) { // a keyword, or it begins with a digit, or there is nothing left
		return "api"
	}
	return name
}

// openRPC returns the OpenRPC document: that of the server at a URL, of a file, or of this program if from is "".
func openRPC(ctx context.Context, from string) (document jsontext.Value, err error) {
	switch {
	case strings.HasPrefix(from, "http://"), strings.HasPrefix(from, "https://"):
		err = rpcclient.New(from).Call(ctx, "rpc.discover", nil, &document)
		return document, err
	case from != "":
		return os.ReadFile(from)
	}
	m := jsonrpc.New(jsonrpc.Options{})
	rpc.Register(m, rpc.API{})
	var answer struct {
		Result jsontext.Value `json:"result"`
	}
	reply := m.Serve(ctx, "", []byte(`{"id":1,"method":"rpc.discover"}`))
	if err := json.Unmarshal(reply.Body, &answer); err != nil {
		return nil, err
	}
	if answer.Result == nil {
		return nil, fmt.Errorf("the methods are not described: %s", reply.Body)
	}
	return answer.Result, nil
}
