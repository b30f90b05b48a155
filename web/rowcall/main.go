// Command rowcall is the server, and what belongs to running it: rowcall help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"rowcall/modules/auth"
)

func main() {
	// After the first signal the next one has its usual effect: it ends the process.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	context.AfterFunc(ctx, stop)
	if err := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr, nil); err != nil {
		fmt.Fprintln(os.Stderr, "rowcall:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New(`there is no such command: see "rowcall help"`)

// run is the whole program. It returns when the command is done, or, of a server, when ctx ends. listening, which may be
// nil, is told a server's address.
func run(ctx context.Context, args, environ []string, stdout, stderr io.Writer, listening func(net.Addr)) error {
	if len(args) > 0 {
		switch args[0] {
		case "generate":
			return generateClient(ctx, args[1:], stdout)
		case "prune":
			return prune(ctx, args[1:], environ, stdout, stderr)
		}
	}
	if len(args) != 1 {
		return errUsage
	}
	switch args[0] {
	case "help", "-h", "--help":
		return printHelp(stdout)
	case "gen-key":
		_, err := fmt.Fprintln(stdout, auth.NewKey())
		return err
	case "dev", "serve":
		return serve(ctx, mode(args[0]), environ, stderr, listening)
	case "migrate":
		return migrate(ctx, environ, stdout)
	case "new-epoch":
		return newEpoch(ctx, environ, stdout)
	case "recreate-db":
		return recreate(ctx, environ, stdout, stderr)
	}
	return errUsage
}
