//go:build brokers

package broker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"gocloud.dev/pubsub/awssnssqs"

	"rowcall/modules/bus"
)

// openAWS is for awssns:///arn:aws:sns:region:account:topic: an SNS topic that exists, and an SQS queue that subscribes to it. Credentials
// are found as by all programs of AWS.
func openAWS(u *url.URL) (bus.Dial, error) {
	topicARN, err := arn.Parse(strings.Trim(u.Path, "/"))
	if err != nil || u.Host != "" || topicARN.Service != "sns" || topicARN.Region == "" {
		return nil, errors.New("must be as awssns:///arn:aws:sns:eu-central-1:123456789012:topic")
	}
	if err := onlyParams(u); err != nil {
		return nil, err
	}
	return func(ctx context.Context) (bus.Connection, error) {
		cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(topicARN.Region))
		if err != nil {
			return nil, err
		}
		q := awsQueue{sns: sns.NewFromConfig(cfg), sqs: sqs.NewFromConfig(cfg)}
		if err := q.subscribe(ctx, topicARN); err != nil {
			return nil, errors.Join(err, q.remove(ctx))
		}
		const wait = 20 * time.Second // the longest; a message ends it
		return &connection{
			awssnssqs.OpenSNSTopic(ctx, q.sns, topicARN.String(), nil),
			awssnssqs.OpenSubscription(ctx, q.sqs, q.url, &awssnssqs.SubscriptionOptions{Raw: true, WaitTime: wait}),
			q.remove,
		}, nil
	}, nil
}

// awsQueue is the queue of one connection, and its subscription.
type awsQueue struct {
	sns          *sns.Client
	sqs          *sqs.Client
	url          string
	subscription string
}

func (q *awsQueue) subscribe(ctx context.Context, topic arn.ARN) error {
	queue := topic
	queue.Service, queue.Resource = "sqs", newName()
	made, err := q.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: &queue.Resource, Attributes: map[string]string{
		"MessageRetentionPeriod": strconv.Itoa(int(keepMessages.Seconds())),
		"Policy": fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"sns.amazonaws.com"},"Action":"sqs:SendMessage",`+
			`"Resource":%q,"Condition":{"ArnEquals":{"aws:SourceArn":%q}}}]}`, queue, topic),
	}})
	if err != nil {
		return err
	}
	q.url = *made.QueueUrl
	subscribed, err := q.sns.Subscribe(ctx, &sns.SubscribeInput{
		TopicArn: aws.String(topic.String()), Protocol: aws.String("sqs"), Endpoint: aws.String(queue.String()),
		Attributes: map[string]string{"RawMessageDelivery": "true"}, ReturnSubscriptionArn: true,
	})
	if err != nil {
		return err
	}
	q.subscription = *subscribed.SubscriptionArn
	return nil
}

// remove removes what subscribe has made.
func (q *awsQueue) remove(ctx context.Context) (err error) {
	if q.subscription != "" {
		_, err = q.sns.Unsubscribe(ctx, &sns.UnsubscribeInput{SubscriptionArn: &q.subscription})
	}
	if q.url != "" {
		_, failed := q.sqs.DeleteQueue(ctx, &sqs.DeleteQueueInput{QueueUrl: &q.url})
		err = errors.Join(err, failed)
	}
	return err
}
