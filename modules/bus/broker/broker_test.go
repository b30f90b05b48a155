//go:build brokers

package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rowcall/modules/bus"
	"rowcall/modules/bus/broker"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, // but for what the libraries of Google and of Kafka start once
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"), goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

func TestURLs(t *testing.T) {
	for _, good := range []string{
		"nats://127.0.0.1:4222", "nats://u:p@a:4222,b:4222/some.subject", "tls://token@a:4222/x",
		"rabbit://u:p@host:5672/vhost?exchange=x", "amqp://host", "amqps://u:p@host/",
		"kafka://a:9092,b:9092/topic", "kafka://u:p@a:9092/topic?tls=true",
		"awssns:///arn:aws:sns:eu-central-1:123456789012:topic",
		"gcppubsub://projects/project/topics/topic",
		"azuresb://namespace.servicebus.windows.net/topic",
	} {
		if dial, err := broker.Open(good); err != nil || dial == nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for bad, fault := range map[string]string{
		"nats":                             "must be a URL of one of the schemes",
		"redis://u:s3cret@host":            "must be a URL of one of the schemes",
		"nats://u:s3cret%zz@host":          "is not a URL",
		"nats:///subject":                  "must be as nats://",
		"nats://u:s3cret@host/a.>":         "must be as nats://",
		"nats://u:s3cret@host/a?queue=x":   `has a parameter "queue"`,
		"rabbit:///exchange":               "must be as rabbit://",
		"rabbit://u:s3cret@host:x/":        "is not a URL",
		"amqp://u:s3cret@host/?heartbeat=": "parameter",
		"kafka://host":                     "must be as kafka://",
		"kafka://u:s3cret@host/a/b":        "must be as kafka://",
		"kafka://u:s3cret@host/a?tls=yes":  "must be as kafka://",
		"awssns:///topic":                  "must be as awssns:///arn",
		"awssns:///arn:aws:sqs:eu-central-1:123456789012:queue": "must be as awssns:///arn",
		"gcppubsub://project/topic":                             "must be as gcppubsub://projects",
		"azuresb://topic":                                       "must be as azuresb://",
	} {
		_, err := broker.Open(bad)
		if err == nil || !strings.Contains(err.Error(), fault) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// link is a connection under test, and what has come over it.
type link struct {
	bus.Connection
	got   chan string
	ended chan error
	stop  func() // receiving
}

// connect makes a connection, and receives over it.
func connect(t *testing.T, url string) *link {
	t.Helper()
	dial, err := broker.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	receiving, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	l := &link{conn, make(chan string, 1000), make(chan error, 1), stop}
	go func() {
		for {
			body, err := conn.Receive(receiving)
			if err != nil {
				l.ended <- err
				return
			}
			l.got <- string(body)
		}
	}()
	return l
}

// close ends a connection in order, as a node does.
func (l *link) close(t *testing.T) {
	t.Helper()
	l.stop()
	if err := <-l.ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := l.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func (l *link) send(t *testing.T, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := l.Send(ctx, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

func (l *link) next(t *testing.T) string {
	t.Helper()
	select {
	case body := <-l.got:
		return body
	case err := <-l.ended:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("nothing comes")
	}
	return ""
}

// contract is what every broker must do: whatever one connection sends, all get.
func contract(t *testing.T, url string) {
	a, b := connect(t, url), connect(t, url)
	var took []time.Duration
	for i := range 25 {
		body := fmt.Sprintf(`{"n":%d,"text":"ü \"\n"}`, i)
		start := time.Now()
		a.send(t, body)
		if got := b.next(t); got != body {
			t.Fatalf("%q, want %q", got, body)
		}
		took = append(took, time.Since(start))
		if got := a.next(t); got != body {
			t.Fatalf("its own: %q, want %q", got, body)
		}
	}
	slices.Sort(took)
	t.Logf("from one to the other: median %v, longest %v", took[len(took)/2], took[len(took)-1])
	large := `"` + strings.Repeat("x", 64<<10) + `"`
	a.send(t, large)
	if b.next(t) != large || a.next(t) != large {
		t.Error("a large one has changed")
	}
	// Many, faster than they come.
	missing := [2]map[string]bool{{}, {}}
	for i := range 200 {
		body := fmt.Sprintf(`"%d"`, i)
		missing[0][body], missing[1][body] = true, true
		a.send(t, body)
	}
	for i, l := range []*link{a, b} {
		for len(missing[i]) > 0 {
			delete(missing[i], l.next(t))
		}
	}
	a.close(t)
	b.send(t, `"alone"`)
	if got := b.next(t); got != `"alone"` {
		t.Errorf("%q", got)
	}
	b.close(t)
}
