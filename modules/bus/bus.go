// Package bus carries wake-ups and small, short-lived messages between the nodes of one deployment.
//
// It is lossy by contract: a message that cannot be sent, or comes while nobody can hear it, is gone; and over some brokers messages may
// come twice or in another order. So a message is only ever a hint at what the database holds, or something that is soon said again, and
// whoever waits for one looks for itself from time to time.
package bus

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/google/uuid"
	"go.uber.org/zap"
)

// Bus is a node's way to the other nodes: [Postgres], or one over a broker.
type Bus interface {
	// Publish sends a message to the handlers of a topic on all other nodes. It never blocks and keeps nothing of the payload, which is
	// text (UTF-8, without U+0000) of up to MaxPayload bytes. Any other is lost, as is what comes faster than it can be sent: to make
	// one message of many is the caller's affair.
	Publish(topic string, payload []byte)

	// Subscribe lets a topic's messages be handled until cancel is called, which does not wait for a handler that runs. A topic's name
	// is of lower-case letters and underscores. Handlers must not block, and may be called by several goroutines at once.
	//
	// An empty payload says that there may be news, and not what: every handler gets one whenever messages may have been lost, as when
	// the bus begins to listen.
	Subscribe(topic string, handle func(payload []byte)) (cancel func())

	// Run sends and listens until ctx ends, whatever becomes of the connection.
	Run(ctx context.Context)
}

// MaxPayload is how long a payload may be, in bytes: Postgres carries 8000, with the node and the topic.
const MaxPayload = 7500

// maxQueue is how many messages wait to be sent.
const maxQueue = 1024

// Stats is what a bus has counted since it was made.
type Stats struct {
	Sent       int64 // messages to other nodes
	Heard      int64 // messages of other nodes
	Lost       int64 // messages that could not be sent
	Reconnects int64 // times that listening began again
}

// message is one that waits to be sent.
type message struct {
	Topic   string `json:"topic"`
	Payload string `json:"payload"`
}

// node is what every bus has of its own node.
type node struct {
	id    string // tells this node's messages from those of others
	log   *zap.Logger
	queue chan message
	grown chan struct{} // there is a new topic

	sent, received, dropped, reconnects atomic.Int64

	mu       sync.Mutex
	handlers map[string]map[*handler]struct{} // by topic
}

type handler struct{ handle func([]byte) }

func newNode(log *zap.Logger) node {
	return node{
		id: uuid.NewString(), log: log, queue: make(chan message, maxQueue), grown: make(chan struct{}, 1),
		handlers: map[string]map[*handler]struct{}{},
	}
}

// Publish implements Bus.
func (n *node) Publish(topic string, payload []byte) {
	if len(payload) <= MaxPayload && utf8.Valid(payload) && bytes.IndexByte(payload, 0) < 0 {
		select {
		case n.queue <- message{topic, string(payload)}:
			return
		default:
		}
	}
	n.dropped.Add(1)
}

// Subscribe implements Bus.
func (n *node) Subscribe(topic string, handle func([]byte)) (cancel func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.handlers[topic] == nil {
		n.handlers[topic] = map[*handler]struct{}{}
		select {
		case n.grown <- struct{}{}:
		default:
		}
	}
	h := &handler{handle}
	n.handlers[topic][h] = struct{}{}
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.handlers[topic], h)
	}
}

// Stats returns the counters.
func (n *node) Stats() Stats {
	return Stats{Sent: n.sent.Load(), Heard: n.received.Load(), Lost: n.dropped.Load(), Reconnects: n.reconnects.Load()}
}

// topics returns those that anybody has ever subscribed to.
func (n *node) topics() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Collect(maps.Keys(n.handlers))
}

// deliver hands a message to its topic's handlers.
func (n *node) deliver(topic string, payload []byte) {
	n.mu.Lock()
	handlers := slices.Collect(maps.Keys(n.handlers[topic]))
	n.mu.Unlock()
	for _, h := range handlers {
		h.handle(payload)
	}
}

// heard takes a message of any node.
func (n *node) heard(from, topic string, payload []byte) {
	if from != n.id {
		n.received.Add(1)
		n.deliver(topic, payload)
	}
}

// missed tells all handlers that messages may have been lost.
func (n *node) missed() {
	for _, topic := range n.topics() {
		n.deliver(topic, nil)
	}
}
