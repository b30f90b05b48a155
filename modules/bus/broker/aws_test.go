//go:build brokers

package broker_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// The server is moto's, which make brokers installs and names in MOTO_SERVER.
func TestAWS(t *testing.T) {
	program := os.Getenv("MOTO_SERVER")
	if program == "" {
		skip(t, "SNS and SQS are not tested: MOTO_SERVER does not name moto's server, as make brokers does")
	}
	port := freePort(t)
	start(t, exec.Command(program, "-H", "127.0.0.1", "-p", port), port)
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": "http://127.0.0.1:" + port, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "eu-central-1",
	} {
		t.Setenv(name, value)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	topics, queues := sns.NewFromConfig(cfg), sqs.NewFromConfig(cfg)
	topic, err := topics.CreateTopic(t.Context(), &sns.CreateTopicInput{Name: new("rowcall")})
	if err != nil {
		t.Fatal(err)
	}
	contract(t, "awssns:///"+*topic.TopicArn)
	left, err := queues.ListQueues(t.Context(), &sqs.ListQueuesInput{})
	if err != nil || len(left.QueueUrls) > 0 {
		t.Errorf("queues are left behind: %v %v", left.QueueUrls, err)
	}
	subscriptions, err := topics.ListSubscriptions(t.Context(), &sns.ListSubscriptionsInput{})
	if err != nil || len(subscriptions.Subscriptions) > 0 {
		t.Errorf("subscriptions are left behind: %v %v", subscriptions.Subscriptions, err)
	}
}
