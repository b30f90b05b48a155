//go:build brokers

package broker_test

import (
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
)

// The server is Google's own imitation, in this process.
func TestGoogle(t *testing.T) {
	s := pstest.NewServer()
	defer s.Close() //nolint:errcheck // of a test
	t.Setenv("PUBSUB_EMULATOR_HOST", s.Addr)
	const project, topic = "projects/some-project", "projects/some-project/topics/rowcall"
	if _, err := s.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	contract(t, "gcppubsub://"+topic)
	left, err := s.GServer.ListSubscriptions(t.Context(), &pubsubpb.ListSubscriptionsRequest{Project: project})
	if err != nil || len(left.Subscriptions) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
