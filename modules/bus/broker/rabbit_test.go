//go:build brokers

package broker_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// rabbitServer is where Debian's package has the server itself; the one in the PATH changes to another user.
const rabbitServer = "/usr/lib/rabbitmq/bin/rabbitmq-server"

// TestRabbit runs a real server, with its data in a folder of the test's.
func TestRabbit(t *testing.T) {
	if _, err := os.Stat(rabbitServer); err != nil {
		skip(t, "RabbitMQ is not tested: Debian's package rabbitmq-server is not installed")
	}
	dir := t.TempDir()
	port, distribution, epmd := freePort(t), freePort(t), freePort(t)
	start(t, exec.Command("epmd", "-port", epmd, "-address", "127.0.0.1"), epmd) // or else the server starts one that stays
	settings := filepath.Join(dir, "rabbitmq.conf")
	if err := os.WriteFile(settings, fmt.Appendf(nil, "listeners.tcp.1 = 127.0.0.1:%s\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func() (stop func()) {
		cmd := exec.Command(rabbitServer)
		cmd.Env = append(os.Environ(), "HOME="+dir, "ERL_EPMD_PORT="+epmd, "ERL_EPMD_ADDRESS=127.0.0.1",
			"RABBITMQ_NODENAME=test@localhost", "RABBITMQ_DIST_PORT="+distribution, "RABBITMQ_CONFIG_FILE="+settings,
			"RABBITMQ_MNESIA_BASE="+dir+"/data", "RABBITMQ_LOG_BASE="+dir+"/log", "RABBITMQ_ENABLED_PLUGINS_FILE="+dir+"/plugins",
			"RABBITMQ_PID_FILE="+dir+"/pid")
		return start(t, cmd, port)
	}
	stop := run()
	url := "rabbit://guest:guest@127.0.0.1:" + port + "/?exchange=rowcall.test"
	contract(t, url)

	conn, err := amqp.Dial("amqp://guest:guest@127.0.0.1:" + port)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclarePassive("rowcall.test", amqp.ExchangeFanout, false, true, false, false, nil); err == nil {
		t.Error("the exchange is left behind")
	}
	_ = conn.Close()

	// A server that goes ends the connection, and when it is back the next one works.
	l := connect(t, url)
	stop()
	if err := <-l.ended; err == nil {
		t.Error("no error")
	}
	l.stop()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	run()
	l = connect(t, url)
	l.send(t, `"again"`)
	if got := l.next(t); got != `"again"` {
		t.Errorf("%q", got)
	}
	l.close(t)
}
