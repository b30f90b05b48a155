package bus

import (
	"context"
	"strings"
	"time"

	"github.com/lib/pq"
	"go.uber.org/zap"

	"rowcall/modules/store"
)

const (
	// channelPrefix and a topic are a channel of NOTIFY. A notification is the id of the node that sends it, a space, and the payload.
	// Triggers send some, too, with the id "-" or as an empty text.
	channelPrefix = "rowcall_"

	notifyEvery  = 5 * time.Millisecond // at least, as NOTIFY takes a lock over the whole database
	sendTimeout  = 5 * time.Second
	minReconnect = 100 * time.Millisecond
	maxReconnect = 5 * time.Second
)

// Postgres is a bus over NOTIFY.
type Postgres struct {
	node
	db  *store.DB
	url string
}

// NewPostgres returns a bus over a database, which has yet to run. The URL is of the platform's login, for the one connection that
// listens.
func NewPostgres(db *store.DB, listenURL string, log *zap.Logger) *Postgres {
	return &Postgres{node: newNode(log), db: db, url: listenURL}
}

// Run implements Bus.
func (p *Postgres) Run(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.listen(ctx)
	}()
	p.notify(ctx)
	<-done
}

// notify sends what is published, outside of anybody's transactions.
func (p *Postgres) notify(ctx context.Context) {
	for {
		select {
		case first := <-p.queue:
			pause := time.After(notifyEvery)
			p.send(ctx, first)
			select {
			case <-pause:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// send sends a message, and those that wait behind it, by one statement, for which nothing waits for the disk.
func (p *Postgres) send(ctx context.Context, m message) {
	channels, payloads := []string{channelPrefix + m.Topic}, []string{p.id + " " + m.Payload}
	for range len(p.queue) {
		m = <-p.queue
		channels, payloads = append(channels, channelPrefix+m.Topic), append(payloads, p.id+" "+m.Payload)
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	_, err := p.db.Platform(ctx).Exec(`SELECT set_config('synchronous_commit', 'off', true), pg_notify(channel, payload)
		FROM unnest($1::text[], $2::text[]) AS m (channel, payload)`, channels, payloads)
	if err != nil {
		p.log.Debug("other nodes could not be notified", zap.Error(err))
		p.dropped.Add(int64(len(channels)))
		return
	}
	p.sent.Add(int64(len(channels)))
}

// listen hears what other nodes and triggers say, over a connection that it makes anew whenever it is lost.
func (p *Postgres) listen(ctx context.Context) {
	l := pq.NewListener(p.url, minReconnect, maxReconnect, func(event pq.ListenerEventType, err error) {
		switch event {
		case pq.ListenerEventReconnected:
			p.reconnects.Add(1)
		case pq.ListenerEventDisconnected, pq.ListenerEventConnectionAttemptFailed:
			p.log.Warn("the connection that listens to other nodes is lost; what they do is seen a second late", zap.Error(err))
		default:
		}
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.join(ctx, l)
		_ = l.Close() // which ends the loop below
	}()
	defer func() { <-done }()
	for n := range l.NotificationChannel() {
		if n == nil { // the connection was lost, and with it whatever was said
			p.missed()
			continue
		}
		from, payload, _ := strings.Cut(n.Extra, " ")
		p.heard(from, strings.TrimPrefix(n.Channel, channelPrefix), []byte(payload))
	}
}

// join listens to every topic from when it is subscribed to, until ctx ends.
func (p *Postgres) join(ctx context.Context, l *pq.Listener) {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // ends a Listen, too
	defer stop()
	joined := map[string]bool{}
	for {
		for _, topic := range p.topics() {
			if joined[topic] {
				continue
			}
			if err := l.Listen(channelPrefix + topic); err != nil {
				return // it was closed
			}
			joined[topic] = true
			p.deliver(topic, nil) // whatever was said before is lost
		}
		select {
		case <-p.grown:
		case <-ctx.Done():
			return
		}
	}
}
