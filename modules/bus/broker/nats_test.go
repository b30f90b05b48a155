//go:build brokers

package broker_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"rowcall/modules/bus/broker"
)

// startNATS runs a server on a port, or any that is free.
func startNATS(t *testing.T, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true, Username: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server is not ready")
	}
	return s
}

func natsURL(s *server.Server) string { return fmt.Sprintf("nats://u:p@%s/rowcall.test", s.Addr()) }

func TestNATS(t *testing.T) {
	s := startNATS(t, server.RANDOM_PORT)
	url := natsURL(s)
	contract(t, url)

	// A server that goes ends the connection, and the next one works.
	l := connect(t, url)
	s.Shutdown()
	s.WaitForShutdown()
	if err := <-l.ended; err == nil {
		t.Error("no error")
	}
	l.stop()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	dial, err := broker.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(context.WithoutCancel(t.Context())); err == nil {
		t.Error("a connection to nothing")
	}
}
