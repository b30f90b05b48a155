package bus

import (
	"context"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// Connection is a node's connection to a broker, by which it gets what any node sends, also itself. Send and Receive may be called at
// the same time. An error of either ends it.
type Connection interface {
	// Send hands a message to the broker.
	Send(ctx context.Context, body []byte) error
	// Receive waits for the next message.
	Receive(ctx context.Context) ([]byte, error)
	// Close removes whatever was made at the broker for the connection.
	Close(ctx context.Context) error
}

// Dial makes a connection, over which everything comes that is sent after Dial has returned.
type Dial func(ctx context.Context) (Connection, error)

const (
	dialTimeout  = 30 * time.Second
	closeTimeout = 5 * time.Second

	maxBatch = 64 << 10 // bytes of payloads in one message to a broker; most take 256 KiB
)

// Broker is a bus over a broker. What triggers say still comes by NOTIFY.
type Broker struct {
	node
	dial      Dial
	triggers  *Postgres
	connected bool // once before
}

// NewBroker returns a bus over a broker, which has yet to run. It runs the other bus, too, to hear what triggers say.
func NewBroker(dial Dial, triggers *Postgres, log *zap.Logger) *Broker {
	return &Broker{node: newNode(log), dial: dial, triggers: triggers}
}

// Subscribe implements Bus.
func (b *Broker) Subscribe(topic string, handle func([]byte)) (cancel func()) {
	fromNodes, fromTriggers := b.node.Subscribe(topic, handle), b.triggers.Subscribe(topic, handle)
	return func() {
		fromNodes()
		fromTriggers()
	}
}

// Stats returns the counters of what goes by the broker and by Postgres.
func (b *Broker) Stats() Stats {
	s, t := b.node.Stats(), b.triggers.Stats()
	s.Heard += t.Heard
	s.Reconnects += t.Reconnects
	return s
}

// Run implements Bus.
func (b *Broker) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		b.triggers.Run(ctx)
	}()
	defer func() { <-done }()
	for pause := minReconnect; ; pause = min(2*pause, maxReconnect) {
		began := time.Now()
		err := b.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > maxReconnect {
			pause = minReconnect
		}
		b.log.Warn("the broker between the nodes is away; what other nodes do is seen a second late", zap.Error(err), zap.Duration("retry", pause))
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// connect sends and receives over one connection, until that is lost or ctx ends.
func (b *Broker) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := b.dial(dialing)
	if err != nil {
		return err
	}
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := conn.Close(closing); err != nil {
			b.log.Warn("the connection to the broker was not closed in order; something may have been left there", zap.Error(err))
		}
	}()
	if b.connected {
		b.reconnects.Add(1)
	}
	b.connected = true
	b.log.Info("connected to the broker between the nodes")
	b.forget()
	b.missed()
	both, ctx := errgroup.WithContext(ctx)
	both.Go(func() error { return b.send(ctx, conn) })
	both.Go(func() error { return b.receive(ctx, conn) })
	return both.Wait()
}

// forget drops what waits to be sent: it is old by now.
func (b *Broker) forget() {
	for range len(b.queue) {
		<-b.queue
		b.dropped.Add(1)
	}
}

// envelope is what goes to the broker: messages of one node.
type envelope struct {
	Node     string    `json:"node"`
	Messages []message `json:"messages"`
}

// send sends what is published, as much at a time as there is.
func (b *Broker) send(ctx context.Context, conn Connection) error {
	for {
		var batch []message
		select {
		case m := <-b.queue:
			batch = append(batch, m)
		case <-ctx.Done():
			return ctx.Err()
		}
		for size := len(batch[0].Payload); size < maxBatch-MaxPayload && len(b.queue) > 0; {
			m := <-b.queue
			batch, size = append(batch, m), size+len(m.Payload)
		}
		body, err := json.Marshal(envelope{b.id, batch})
		if err == nil {
			sending, cancel := context.WithTimeout(ctx, sendTimeout)
			err = conn.Send(sending, body)
			cancel()
		}
		if err != nil {
			b.dropped.Add(int64(len(batch)))
			return err
		}
		b.sent.Add(int64(len(batch)))
	}
}

func (b *Broker) receive(ctx context.Context, conn Connection) error {
	for {
		body, err := conn.Receive(ctx)
		if err != nil {
			return err
		}
		var e envelope
		if err := json.Unmarshal(body, &e); err != nil {
			b.log.Warn("a message of the broker is not of a node", zap.Error(err))
			continue
		}
		for _, m := range e.Messages {
			b.heard(e.Node, m.Topic, []byte(m.Payload))
		}
	}
}
