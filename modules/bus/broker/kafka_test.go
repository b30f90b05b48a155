//go:build brokers

package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
)

// The cluster is one that imitates Kafka's protocol in this process.
func TestKafka(t *testing.T) {
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, "rowcall"))
	if err != nil {
		t.Fatal(err)
	}
	defer cluster.Close()
	contract(t, "kafka://"+cluster.ListenAddrs()[0]+"/rowcall")
}
