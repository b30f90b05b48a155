// Command editor serves a page on which several people edit the same text at once, and passes what the page asks of Rowcall on to a server.
//
//	editor [-addr 127.0.0.1:8090] [-server http://127.0.0.1:8080]
//
// It is served from the folder public, in which npm run build puts the script.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	"time"
)

//go:embed public
var public embed.FS

func main() {
	addr := flag.String("addr", "127.0.0.1:8090", "the address to serve the page on")
	server := flag.String("server", "http://127.0.0.1:8080", "the server's address")
	flag.Parse()
	if err := run(*addr, *server); err != nil {
		fmt.Fprintln(os.Stderr, "editor:", err)
		os.Exit(1)
	}
}

func run(addr, server string) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	to, err := url.Parse(server)
	if err != nil {
		return err
	}
	files, err := fs.Sub(public, "public")
	if err != nil {
		return err
	}
	if _, err := fs.Stat(files, "app.js"); err != nil {
		return errors.New("there is no public/app.js: npm run build makes it, or make editor")
	}
	mux := http.NewServeMux()
	mux.Handle("/", page(http.FileServerFS(files)))
	// The page and the server have one origin, so neither needs to know of the other's. Calls, streams and WebSockets pass.
	mux.Handle("/api/", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
		// A connection that was kept may be dead by now, and then nobody can tell whether the server has had the call.
		Transport:    &http.Transport{DisableKeepAlives: true},
		ErrorHandler: unavailable,
	})
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	fmt.Printf("open http://%s in two windows\n", listener.Addr())
	if err := s.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// unavailable answers what the server could not. A call that did not get to it says so, as the server would: a client that cannot tell
// whether its refresh token was used must give its login up.
func unavailable(w http.ResponseWriter, _ *http.Request, err error) {
	if op := (*net.OpError)(nil); !errors.As(err, &op) || op.Op != "dial" {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":null,"error":{"code":5030,"message":"The server cannot be reached: is make run running?",`+
		`"data":{"kind":"UNAVAILABLE","request_id":""}}}`)
}

// page tells browsers what the page may do: run its own script and no other.
func page(files http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'self'; img-src data:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'")
		w.Header().Set("Cache-Control", "no-cache")
		files.ServeHTTP(w, r)
	})
}
