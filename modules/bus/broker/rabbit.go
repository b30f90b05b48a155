//go:build brokers

package broker

import (
	"context"
	"errors"
	"net/url"

	amqp "github.com/rabbitmq/amqp091-go"
	"gocloud.dev/pubsub/rabbitpubsub"

	"rowcall/modules/bus"
)

// openRabbit is for rabbit://user:password@host:port/vhost?exchange=name, also as amqp or amqps: a fanout exchange, which goes with the last
// node, and an exclusive queue, which goes with its connection.
func openRabbit(u *url.URL) (bus.Dial, error) {
	if err := onlyParams(u, "exchange"); err != nil {
		return nil, err
	}
	exchange := u.Query().Get("exchange")
	if exchange == "" {
		exchange = defaultName
	}
	server := *u
	server.RawQuery = ""
	if server.Scheme == "rabbit" {
		server.Scheme = "amqp"
	}
	if _, err := amqp.ParseURI(server.String()); err != nil || u.Host == "" {
		return nil, errors.New("must be as rabbit://user:password@host:5672/vhost?exchange=name, or amqps://…")
	}
	return func(context.Context) (bus.Connection, error) {
		conn, err := amqp.DialConfig(server.String(), amqp.Config{
			Heartbeat: heartbeat, Dial: amqp.DefaultDial(connectTimeout), Properties: amqp.Table{"connection_name": defaultName},
		})
		if err != nil {
			return nil, err
		}
		queue, err := bindRabbit(conn, exchange)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		return &connection{
			rabbitpubsub.OpenTopic(conn, exchange, nil), rabbitpubsub.OpenSubscription(conn, queue, nil),
			func(context.Context) error {
				if err := conn.Close(); !errors.Is(err, amqp.ErrClosed) {
					return err
				}
				return nil
			},
		}, nil
	}, nil
}

// bindRabbit makes the queue of a connection.
func bindRabbit(conn *amqp.Connection, exchange string) (queue string, err error) {
	ch, err := conn.Channel()
	if err != nil {
		return "", err
	}
	const durable, autoDelete, exclusive, internal, noWait = false, true, true, false, false
	if err := ch.ExchangeDeclare(exchange, amqp.ExchangeFanout, durable, autoDelete, internal, noWait, nil); err != nil {
		return "", err
	}
	q, err := ch.QueueDeclare("", durable, !autoDelete, exclusive, noWait, amqp.Table{amqp.QueueMessageTTLArg: keepMessages.Milliseconds()})
	if err != nil {
		return "", err
	}
	if err := ch.QueueBind(q.Name, "", exchange, noWait, nil); err != nil {
		return "", err
	}
	return q.Name, ch.Close()
}
