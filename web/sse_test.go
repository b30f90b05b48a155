package web

import (
	"bufio"
	"net"
	"strings"
	"testing"
	"time"

	"rowcall/modules/changelog"
)

// A ping that comes when a change has been sent, and before the subscription knows it, does not send the client back.
func TestPingsDoNotGoBack(t *testing.T) {
	t.Parallel()
	client, conn := net.Pipe()
	defer client.Close() //nolint:errcheck // of a test
	e := &sse{stream: &stream{server: &Server{times: times{slow: time.Minute, stuck: time.Minute}}}, conn: conn, position: new(changelog.Subscription).Position}
	done := make(chan error, 2)
	go func() {
		done <- e.Deliver([]changelog.Change{{Position: 7, Prev: 6, Text: []byte(`"id":1`)}})
		done <- e.ping()
		_ = conn.Close()
	}()
	ids := []string{}
	for s := bufio.NewScanner(client); s.Scan(); {
		if id, is := strings.CutPrefix(s.Text(), "id: "); is {
			ids = append(ids, id)
		}
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := strings.Join(ids, " "); got != "7 7" {
		t.Errorf("the ids are %s", got)
	}
}
