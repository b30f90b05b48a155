//go:build brokers

package broker

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/nats-io/nats.go"
	"gocloud.dev/pubsub/natspubsub"

	"rowcall/modules/bus"
)

var natsSubject = regexp.MustCompile(`^[\w-]+(\.[\w-]+)*$`)

// openNATS is for nats://user:password@host:port,host:port/subject, or with tls: a subscription to the subject without a queue group.
func openNATS(u *url.URL) (bus.Dial, error) {
	subject := strings.Trim(u.Path, "/")
	if subject == "" {
		subject = defaultName
	}
	if u.Host == "" || !natsSubject.MatchString(subject) {
		return nil, errors.New("must be as nats://host:4222/subject, or tls://…")
	}
	if err := onlyParams(u); err != nil {
		return nil, err
	}
	var servers []string
	for host := range strings.SplitSeq(u.Host, ",") {
		servers = append(servers, (&url.URL{Scheme: u.Scheme, User: u.User, Host: host}).String())
	}
	return func(ctx context.Context) (bus.Connection, error) {
		conn, err := nats.Connect(strings.Join(servers, ","), nats.Name(defaultName), nats.Timeout(connectTimeout),
			nats.NoReconnect(), nats.PingInterval(heartbeat), nats.MaxPingsOutstanding(2)) // the bus connects again, and says so
		if err != nil {
			return nil, err
		}
		c, err := subscribeNATS(ctx, conn, subject)
		if err != nil {
			conn.Close()
			return nil, err
		}
		return c, nil
	}, nil
}

func subscribeNATS(ctx context.Context, conn *nats.Conn, subject string) (bus.Connection, error) {
	topic, err := natspubsub.OpenTopicV2(conn, subject, nil)
	if err != nil {
		return nil, err
	}
	subscription, err := natspubsub.OpenSubscriptionV2(conn, subject, nil)
	if err == nil {
		err = conn.FlushWithContext(ctx) // the server has the subscription
	}
	if err != nil {
		return nil, errors.Join(err, topic.Shutdown(ctx))
	}
	return &connection{topic, subscription, func(context.Context) error {
		conn.Close()
		return nil
	}}, nil
}
