//go:build brokers

package broker

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"time"

	gcp "cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"gocloud.dev/pubsub/gcppubsubv2"
	"google.golang.org/protobuf/types/known/durationpb"

	"rowcall/modules/bus"
)

var googleTopic = regexp.MustCompile(`^projects/([a-z][a-z0-9:.-]+)/topics/[\w.~+%-]+$`)

// openGoogle is for gcppubsub://projects/project/topics/topic: a topic that exists, and a subscription that Google removes after a day
// without a node. Credentials are found as by all programs of Google's.
func openGoogle(u *url.URL) (bus.Dial, error) {
	topicName := u.Host + u.Path
	found := googleTopic.FindStringSubmatch(topicName)
	if found == nil {
		return nil, errors.New("must be as gcppubsub://projects/project/topics/topic")
	}
	if err := onlyParams(u); err != nil {
		return nil, err
	}
	project := "projects/" + found[1]
	return func(ctx context.Context) (bus.Connection, error) {
		client, err := gcp.NewClient(context.WithoutCancel(ctx), found[1]) // it lasts as long as the connection
		if err != nil {
			return nil, err
		}
		name := project + "/subscriptions/" + newName()
		const least, leastExpiration = 10 * time.Minute, 24 * time.Hour
		_, err = client.SubscriptionAdminClient.CreateSubscription(ctx, &pubsubpb.Subscription{
			Name: name, Topic: topicName, MessageRetentionDuration: durationpb.New(least),
			ExpirationPolicy: &pubsubpb.ExpirationPolicy{Ttl: durationpb.New(leastExpiration)},
		})
		if err != nil {
			return nil, errors.Join(err, client.Close())
		}
		remove := func(ctx context.Context) error {
			err := client.SubscriptionAdminClient.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: name})
			return errors.Join(err, client.Close())
		}
		topic, err := gcppubsubv2.OpenTopicByPath(client, topicName, nil)
		if err != nil {
			return nil, errors.Join(err, remove(ctx))
		}
		subscription, err := gcppubsubv2.OpenSubscriptionByPath(client, name, nil)
		if err != nil {
			return nil, errors.Join(err, topic.Shutdown(ctx), remove(ctx))
		}
		return &connection{topic, subscription, remove}, nil
	}, nil
}
