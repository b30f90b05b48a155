//go:build brokers

package broker

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"gocloud.dev/pubsub/kafkapubsub"

	"rowcall/modules/bus"
)

// joinGroup is how long a node waits for its consumer group, which Kafka lets wait for more members for three seconds.
const joinGroup = 15 * time.Second

// openKafka is for kafka://user:password@host:port,host:port/topic?tls=true: a topic that exists, and a consumer group that commits nothing, so
// that Kafka forgets it when its only member has left.
func openKafka(u *url.URL) (bus.Dial, error) {
	if err := onlyParams(u, "tls"); err != nil {
		return nil, err
	}
	topicName, tls := strings.Trim(u.Path, "/"), u.Query().Get("tls")
	if u.Host == "" || topicName == "" || strings.Contains(topicName, "/") || (tls != "" && tls != "true" && tls != "false") {
		return nil, errors.New("must be as kafka://host:9092,host:9092/topic, with ?tls=true where it is so")
	}
	brokers := strings.Split(u.Host, ",")
	cfg := kafkapubsub.MinimalConfig()
	cfg.Version = sarama.DefaultVersion // older ones are no longer spoken by Kafka 4
	cfg.ClientID = defaultName
	cfg.Net.DialTimeout, cfg.Net.ReadTimeout, cfg.Net.WriteTimeout = connectTimeout, connectTimeout, connectTimeout
	cfg.Net.TLS.Enable = tls == "true"
	if password, ok := u.User.Password(); ok {
		cfg.Net.SASL.Enable, cfg.Net.SASL.User, cfg.Net.SASL.Password = true, u.User.Username(), password
	}
	cfg.Consumer.Offsets.Initial = sarama.OffsetNewest
	cfg.Consumer.Offsets.AutoCommit.Enable = false
	if err := cfg.Validate(); err != nil {
		return nil, errors.New("has a user or password that Kafka does not take")
	}
	return func(ctx context.Context) (bus.Connection, error) {
		topic, err := kafkapubsub.OpenTopic(brokers, cfg, topicName, nil)
		if err != nil {
			return nil, err
		}
		subscription, err := kafkapubsub.OpenSubscription(brokers, cfg, newName(), []string{topicName},
			&kafkapubsub.SubscriptionOptions{WaitForJoin: joinGroup})
		if err != nil {
			return nil, errors.Join(err, topic.Shutdown(ctx))
		}
		return &connection{topic, subscription, func(context.Context) error { return nil }}, nil
	}, nil
}
