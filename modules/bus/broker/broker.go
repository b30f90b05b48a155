//go:build brokers

// Package broker makes a bus's connections to brokers, over gocloud.dev/pubsub. It is only in programs that are built with
// -tags brokers; docs/decisions/bus.md says why.
//
// Every node must get every message, so each connection has a subscription of its own at the broker, which is removed with it.
package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"gocloud.dev/pubsub"

	"rowcall/modules/bus"
)

const (
	defaultName = "rowcall" // of a subject, an exchange

	connectTimeout = 5 * time.Second // of one attempt to reach a server
	heartbeat      = 5 * time.Second // how often a silent connection is looked after
	keepMessages   = time.Minute     // how long a message is of use
)

// openers make a Dial of a URL, by its scheme. Their errors are as Open's.
var openers = map[string]func(*url.URL) (bus.Dial, error){
	"nats": openNATS, "tls": openNATS,
	"rabbit": openRabbit, "amqp": openRabbit, "amqps": openRabbit,
	"kafka":     openKafka,
	"awssns":    openAWS,
	"gcppubsub": openGoogle,
	"azuresb":   openAzure,
}

// Open returns what connects to the broker at a URL, of which docs/operations.md lists the forms. It connects to nothing. An error
// continues a sentence that begins with the setting's name, and repeats no secret.
func Open(rawURL string) (bus.Dial, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	open := openers[u.Scheme]
	if open == nil {
		return nil, fmt.Errorf("must be a URL of one of the schemes %s", strings.Join(slices.Sorted(maps.Keys(openers)), ", "))
	}
	return open(u)
}

// onlyParams returns an error if a URL has other parameters than these.
func onlyParams(u *url.URL, known ...string) error {
	for name := range u.Query() {
		if !slices.Contains(known, name) {
			return fmt.Errorf("has a parameter %q that it cannot have", name)
		}
	}
	return nil
}

// newName returns a name of what a connection has of its own at the broker.
func newName() string { return defaultName + "-" + uuid.NewString() }

// connection is a bus.Connection.
type connection struct {
	topic        *pubsub.Topic
	subscription *pubsub.Subscription
	close        func(context.Context) error // also removes what was made
}

// Send implements bus.Connection.
func (c *connection) Send(ctx context.Context, body []byte) error {
	return c.topic.Send(ctx, &pubsub.Message{Body: body})
}

// Receive implements bus.Connection.
func (c *connection) Receive(ctx context.Context) ([]byte, error) {
	m, err := c.subscription.Receive(ctx)
	if err != nil {
		return nil, err
	}
	m.Ack()
	return m.Body, nil
}

// Close implements bus.Connection.
func (c *connection) Close(ctx context.Context) error {
	_, _ = c.subscription.Shutdown(ctx), c.topic.Shutdown(ctx) // they repeat why the connection was lost
	return c.close(ctx)
}
