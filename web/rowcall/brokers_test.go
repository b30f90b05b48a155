//go:build brokers

package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"
	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/goleak"

	"rowcall/modules/rpcclient"
	"rowcall/modules/store/storetest"
	"rowcall/sqlscripts"
)

func init() {
	mayStay = append(mayStay, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start")) // of Google's library
}

func TestBusURL(t *testing.T) {
	c := load(t, modeDev, "ROWCALL_BUS_URL=nats://token@host:4222/subject")
	if c.Broker == nil || strings.Contains(c.String(), "token@") || !strings.Contains(c.String(), "host:4222/subject") {
		t.Error(c)
	}
	_, err := loadConfig([]string{"ROWCALL_BUS_URL=nats://u:s3cret@host/a b"}, modeDev)
	if err == nil || !strings.Contains(err.Error(), "ROWCALL_BUS_URL must be as nats://host:4222/subject") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

// startNATS runs a NATS server in this process.
func startNATS(t *testing.T, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server is not ready")
	}
	return s
}

// Two servers wake each other by NATS, and by nothing else. While it is away their polls still find everything.
func TestNodesByNATS(t *testing.T) {
	db := storetest.New(t, sqlscripts.Migrations())
	notified := make(chan string, 1000)
	listenTo(t, db, notified)
	nats := startNATS(t, server.RANDOM_PORT)
	port := nats.Addr().(*net.TCPAddr).Port
	environ := append(development(t, db), fmt.Sprintf("ROWCALL_BUS_URL=nats://%s/rowcall.test", nats.Addr()), "ROWCALL_ADMIN_ADDR=127.0.0.1:0")
	urlA, logA, _ := startServer(t, "dev", environ...)
	urlB, _, _ := startServer(t, "dev", environ...)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	writer, reader := rpcclient.New(urlA), rpcclient.New(urlB)
	for _, c := range []*rpcclient.Client{writer, reader} {
		if _, err := c.Login(t.Context(), "demo1", "welcome", ""); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	changes, done := make(chan int64, 100), make(chan struct{})
	go func() {
		defer close(done)
		for c, err := range reader.Changes(ctx, rpcclient.Follow{}) {
			if err == nil {
				changes <- c.Position
			}
		}
	}()
	defer func() {
		cancel()
		<-done
	}()

	// write makes a change on one server, and returns how long it took to a follower of the other.
	made := 0
	write := func() time.Duration {
		t.Helper()
		made++
		var result struct {
			Position int64 `json:"position"`
		}
		err := writer.Call(t.Context(), "create_project", map[string]any{"data": map[string]any{"name": "project " + strconv.Itoa(made)}}, &result)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for {
			select {
			case position := <-changes:
				if position >= result.Position {
					return time.Since(start)
				}
			case <-time.After(time.Minute):
				t.Fatal("the change does not come")
			}
		}
	}
	// quick fails the test unless changes come sooner than a poll would find them: each is made right after the one before has come, and
	// from one poll to the next are 800 ms.
	const soon = 400 * time.Millisecond
	quick := func(when string) {
		t.Helper()
		for end := time.Now().Add(time.Minute); write() > soon; { // until the nodes know of each other
			if time.Now().After(end) {
				t.Fatalf("%s: only polls find the changes", when)
			}
		}
		var took []time.Duration
		for range 21 {
			took = append(took, write())
		}
		slices.Sort(took)
		t.Logf("%s: median %v, longest %v", when, took[10], took[20])
		if took[10] > soon {
			t.Errorf("%s: half of the changes took longer than %v", when, took[10])
		}
	}
	waitFor(t, "the follower", func() bool {
		_, metrics := get(t, "http://"+admin(t, logA)+"/metrics")
		return !strings.Contains(metrics, `rowcall_bus_messages_total{what="heard"} 0`) // that somebody follows
	})
	quick("by NATS")

	nats.Shutdown()
	nats.WaitForShutdown()
	var took []time.Duration
	for range 4 {
		took = append(took, write())
	}
	t.Logf("without NATS: %v", took)
	startNATS(t, port)
	quick("when NATS is back")
	if len(notified) > 0 {
		t.Errorf("a server has notified by Postgres: %s", <-notified)
	}
	if logged := logA.String(); !strings.Contains(logged, "the broker between the nodes is away") {
		t.Errorf("it is not logged that the broker was away:\n%s", logged)
	}
}

// development returns the settings of development servers on a database.
func development(t *testing.T, db *storetest.Database) []string {
	t.Helper()
	db.Exec(t, `DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET rowcall.environment = ''development''', current_database()); END $$`)
	return []string{"DATABASE_URL=" + db.OwnerURL, "ROWCALL_TENANT_DATABASE_URL=" + db.TenantURL, "ROWCALL_PLATFORM_DATABASE_URL=" + db.PlatformURL}
}

// listenTo collects what servers, but not triggers, notify of changes.
func listenTo(t *testing.T, db *storetest.Database, notified chan<- string) {
	t.Helper()
	l := pq.NewListener(db.PlatformURL, time.Second, time.Second, nil)
	if err := l.Listen("rowcall_change"); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range l.NotificationChannel() {
			if n != nil && !strings.HasPrefix(n.Extra, "- ") {
				notified <- n.Extra
			}
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}

var adminAddr = regexp.MustCompile(`serving metrics and profiles\s+\{"address": "([^"]+)"`)

func admin(t *testing.T, log *log) string {
	t.Helper()
	found := adminAddr.FindStringSubmatch(log.String())
	if found == nil {
		t.Fatalf("there is no admin listener:\n%s", log)
	}
	return found[1]
}

func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waiting for ", what)
		}
	}
}
