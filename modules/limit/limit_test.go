package limit

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	acme  = uuid.UUID{1}
	other = uuid.UUID{2}
)

func by(a *auth.Actor) context.Context {
	return auth.WithRequest(context.Background(), &auth.Request{Actor: a, Address: "192.0.2.1", Now: time.Now})
}

func at(ip string) context.Context {
	return auth.WithRequest(context.Background(), &auth.Request{Address: ip, Now: time.Now})
}

// request sends a request with so many calls, each of which reads rows, and returns how many of them ran and the error of
// the first that did not.
func request(ctx context.Context, l *Limits, calls, rows int) (ran int, err error) {
	ctx, leave, err := l.Enter(ctx)
	if err != nil {
		return 0, err
	}
	defer leave()
	for range calls {
		if err := Call(ctx); err != nil {
			return ran, err
		}
		auth.RequestFrom(ctx).Stats.Rows += rows
		ran++
	}
	return ran, nil
}

// pause returns what a RATE_LIMITED says.
func pause(t *testing.T, err error) time.Duration {
	t.Helper()
	e := apperr.From(err)
	if e == nil || e.Kind != apperr.RateLimited {
		t.Fatalf("not limited: %v", err)
	}
	return time.Duration(e.Data["retry_after_ms"].(int64)) * time.Millisecond
}

func TestCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{User: Rule{Calls: Rate{PerSecond: 4, Burst: 10}}})
		user := by(&auth.Actor{Tenant: acme, User: 1})
		if ran, err := request(user, l, 100, 0); ran != 10 || pause(t, err) != 250*time.Millisecond {
			t.Fatalf("%d calls of a batch ran (%v)", ran, err)
		}
		_, err := request(user, l, 1, 0)
		time.Sleep(pause(t, err) - time.Millisecond)
		_, err = request(user, l, 1, 0)
		if wait := pause(t, err); wait > 2*time.Millisecond {
			t.Errorf("just before: %v", wait)
		}
		time.Sleep(time.Millisecond)
		if ran, _ := request(user, l, 2, 0); ran != 1 {
			t.Errorf("%d calls after the pause", ran)
		}
		for name, a := range map[string]*auth.Actor{
			"another user":        {Tenant: acme, User: 2},
			"the user, elsewhere": {Tenant: other, User: 1},
			"nobody":              nil,
		} {
			if _, err := request(by(a), l, 1, 0); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		// Any number of keys gives a user no more calls.
		if _, err := request(by(&auth.Actor{Tenant: acme, User: 1, Key: 1}), l, 1, 0); pause(t, err) == 0 {
			t.Error("an API key of the user's is let in")
		}
	})
}

// A key that has to pause takes nothing from its user.
func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{User: Rule{Calls: Rate{PerSecond: 1, Burst: 10}}, Key: Rule{Calls: Rate{PerSecond: 1, Burst: 3}}})
		if ran, _ := request(by(&auth.Actor{Tenant: acme, User: 1, Key: 1}), l, 100, 0); ran != 3 {
			t.Errorf("%d calls by the key", ran)
		}
		if ran, _ := request(by(&auth.Actor{Tenant: acme, User: 1}), l, 100, 0); ran != 7 {
			t.Errorf("%d calls are left to the user", ran)
		}
	})
}

func TestCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{Key: Rule{Cost: Rate{PerSecond: 100, Burst: 1000}}})
		key := by(&auth.Actor{Tenant: acme, User: 1, Key: 7})
		// The third list is paid for only in part, and the fourth does not begin.
		ran, err := request(key, l, 50, 400)
		if ran != 3 || pause(t, err) != 2040*time.Millisecond { // 1000 - 3 - 1200 = -203; one more is 204
			t.Fatalf("%d lists ran (%v)", ran, err)
		}
		_, err = request(key, l, 1, 0)
		if pause(t, err) != 2040*time.Millisecond { // nothing was taken for what was refused
			t.Errorf("the next request: %v", err)
		}
		time.Sleep(2040 * time.Millisecond)
		if _, err := request(key, l, 1, 0); err != nil {
			t.Error(err)
		}
	})
}

// The debt of calls that were admitted together holds for one that waited for its turn meanwhile.
func TestCostIsLookedAtAfterTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Config{User: Rule{Cost: Rate{PerSecond: 1, Burst: 10}}, Concurrency: 1, Wait: time.Minute})
		actor := &auth.Actor{Tenant: acme, User: 1}
		first, leave, err := l.Enter(by(actor))
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			_, err := request(by(actor), l, 1, 0)
			done <- err
		}()
		synctest.Wait()
		auth.RequestFrom(first).Stats.Rows = 1000
		leave()
		pause(t, <-done)
	})
}

func TestAddress(t *testing.T) {
	l := New(Config{Address: Rule{Calls: Rate{1, 3}, Cost: Rate{1, 3}}})
	for range 3 {
		if err := l.Knock(at("2001:db8::1")); err != nil {
			t.Fatal(err)
		}
	}
	for ip, limited := range map[string]bool{
		"2001:db8::1": true, "2001:db8::ffff:2": true, "2001:db8:0:1::1": false, "192.0.2.1": false, "192.0.2.2": false, "::ffff:192.0.2.3": false, "": false,
	} {
		if err := l.Knock(at(ip)); (err != nil) != limited {
			t.Errorf("%q: %v", ip, err)
		}
	}
	if c := callerAt("::ffff:192.0.2.3"); c != callerAt("192.0.2.3") {
		t.Error("an address is two callers")
	}
	if ran, err := request(at("192.0.2.9"), l, 100, 0); ran != 3 {
		t.Errorf("%d anonymous calls (%v)", ran, err)
	}
	l.Refused(at("192.0.2.77"))
	if wait := pause(t, l.Knock(at("192.0.2.77"))); wait < 40*time.Second || wait > 50*time.Second {
		t.Errorf("%v after a refused credential", wait)
	}
}

func TestNoLimits(t *testing.T) {
	l := New(Config{})
	for _, ctx := range []context.Context{by(nil), by(&auth.Actor{User: 1}), by(&auth.Actor{Key: 1})} {
		if err := l.Knock(ctx); err != nil {
			t.Fatal(err)
		}
		l.Refused(ctx)
		if ran, err := request(ctx, l, 10_000, 10_000); err != nil {
			t.Fatal(ran, err)
		}
	}
	if err := Call(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestMetrics(t *testing.T) {
	l := New(Config{User: Rule{Calls: Rate{1, 5}, Cost: Rate{1, 100}}, Address: Rule{Calls: Rate{1, 1}}, Concurrency: 1, Wait: time.Millisecond})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(l)
	actor := &auth.Actor{Tenant: acme, User: 1}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() { _, _ = request(by(actor), l, 1, 0) })
	}
	wg.Wait()
	_, _ = request(by(&auth.Actor{Tenant: acme, User: 2}), l, 2, 101)
	_, leave, err := l.Enter(by(&auth.Actor{Tenant: acme, User: 3}))
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	_, _ = request(by(&auth.Actor{Tenant: acme, User: 4}), l, 1, 0)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.Metric {
			name := f.GetName()
			for _, label := range m.Label {
				name += " " + label.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"rowcall_limit_refused_total calls user": 1, "rowcall_limit_refused_total cost user": 1, "rowcall_limit_refused_total cost address": 0,
		"rowcall_limit_running": 1, "rowcall_limit_waiting": 0, "rowcall_limit_buckets user": 4, "rowcall_limit_buckets key": 0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (%v), want %v", name, value, ok, want)
		}
	}
	if got["rowcall_limit_refused_total concurrency tenant"] < 1 {
		t.Error("a refusal for want of a turn is not counted")
	}
}

func BenchmarkRequest(b *testing.B) {
	rule := Rule{Calls: Rate{1e9, 1e9}, Cost: Rate{1e9, 1e9}}
	for name, cfg := range map[string]Config{
		"off":   {},
		"on":    {User: rule, Key: rule, Address: rule, Concurrency: 1000, Wait: time.Second},
		"turns": {Concurrency: 1000, Wait: time.Second},
	} {
		for _, users := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/users=%d", name, users), func(b *testing.B) {
				l := New(cfg)
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					contexts := make([]context.Context, users)
					for i := range contexts {
						contexts[i] = by(&auth.Actor{Tenant: acme, User: int64(i)})
					}
					for i := 0; pb.Next(); i++ {
						ctx := contexts[i%users]
						if l.Knock(ctx) != nil {
							b.Error("limited")
						}
						if _, err := request(ctx, l, 1, 20); err != nil {
							b.Error(err)
						}
					}
				})
			})
		}
	}
}
