//go:build brokers

package broker

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	servicebus "github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azservicebus/admin"
	"gocloud.dev/pubsub/azuresb"

	"rowcall/modules/bus"
)

// openAzure is for azuresb://namespace.servicebus.windows.net/topic: a topic that exists, and a subscription that Azure removes after five
// minutes without a node. Credentials are those of SERVICEBUS_CONNECTION_STRING, or else found as by all programs of Azure's.
func openAzure(u *url.URL) (bus.Dial, error) {
	topicName := strings.Trim(u.Path, "/")
	if u.Host == "" || topicName == "" {
		return nil, errors.New("must be as azuresb://namespace.servicebus.windows.net/topic")
	}
	if err := onlyParams(u); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (bus.Connection, error) {
		client, manager, err := azureClients(u.Host)
		if err != nil {
			return nil, err
		}
		name, minute, idle := newName(), "PT1M", "PT5M"
		_, err = manager.CreateSubscription(ctx, topicName, name, &admin.CreateSubscriptionOptions{
			Properties: &admin.SubscriptionProperties{DefaultMessageTimeToLive: &minute, AutoDeleteOnIdle: &idle},
		})
		if err != nil {
			return nil, errors.Join(err, client.Close(ctx))
		}
		remove := func(ctx context.Context) error {
			_, err := manager.DeleteSubscription(ctx, topicName, name, nil)
			return errors.Join(err, client.Close(ctx))
		}
		c, err := subscribeAzure(ctx, client, topicName, name)
		if err != nil {
			return nil, errors.Join(err, remove(ctx))
		}
		c.close = remove
		return c, nil
	}, nil
}

func azureClients(host string) (*servicebus.Client, *admin.Client, error) {
	if secret := os.Getenv("SERVICEBUS_CONNECTION_STRING"); secret != "" {
		client, err := servicebus.NewClientFromConnectionString(secret, nil)
		if err != nil {
			return nil, nil, errors.New("SERVICEBUS_CONNECTION_STRING is not a connection string")
		}
		manager, err := admin.NewClientFromConnectionString(secret, nil)
		return client, manager, err
	}
	credential, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, nil, err
	}
	client, err := servicebus.NewClient(host, credential, nil)
	if err != nil {
		return nil, nil, err
	}
	manager, err := admin.NewClient(host, credential, nil)
	return client, manager, err
}

func subscribeAzure(ctx context.Context, client *servicebus.Client, topicName, name string) (*connection, error) {
	sender, err := client.NewSender(topicName, nil)
	if err != nil {
		return nil, err
	}
	receiver, err := client.NewReceiverForSubscription(topicName, name, &servicebus.ReceiverOptions{ReceiveMode: servicebus.ReceiveModeReceiveAndDelete})
	if err != nil {
		return nil, err
	}
	topic, err := azuresb.OpenTopic(ctx, sender, nil)
	if err != nil {
		return nil, err
	}
	subscription, err := azuresb.OpenSubscription(ctx, client, receiver, &azuresb.SubscriptionOptions{ReceiveAndDelete: true})
	if err != nil {
		return nil, errors.Join(err, topic.Shutdown(ctx))
	}
	return &connection{topic: topic, subscription: subscription}, nil
}
