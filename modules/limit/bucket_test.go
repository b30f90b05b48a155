package limit

import (
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func callerNo(n int) caller { return caller{kind: user, id: int64(n)} }

// Whatever a caller does, in any stretch of time they get no more than the burst and what flows in meanwhile; and what a
// refusal tells them to wait is enough.
func TestNoWindowHasMore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Rate{rapid.IntRange(1, 5000).Draw(t, "rate"), rapid.IntRange(1, 5000).Draw(t, "burst")}
		rule := Rule{Calls: r}
		b := &buckets{held: [dimensions]float64{calls: float64(r.Burst)}, at: time.Unix(1, 0)}
		type admission struct {
			at time.Time
			n  int
		}
		var admitted []admission
		now := time.Unix(1, 0)
		for range rapid.IntRange(1, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")))
			b.flow(rule, now)
			for range rapid.IntRange(1, 50).Draw(t, "calls") {
				n := rapid.IntRange(1, min(r.Burst, 20)).Draw(t, "n")
				lacking, wait := b.take(rule, n, 1)
				if wait == 0 {
					admitted = append(admitted, admission{now, n})
					continue
				}
				if lacking != calls {
					t.Fatalf("%s lacks", dimensionNames[lacking])
				}
				now = now.Add(wait)
				b.flow(rule, now)
				if _, again := b.take(rule, n, 1); again != 0 {
					t.Fatalf("after a wait of %v it takes %v more", wait, again)
				}
				admitted = append(admitted, admission{now, n})
			}
		}
		for i := range admitted {
			sum := 0
			for _, a := range admitted[i:] {
				sum += a.n
				window := a.at.Sub(admitted[i].at)
				if most := float64(r.Burst) + float64(r.PerSecond)*window.Seconds() + 1e-3; float64(sum) > most {
					t.Fatalf("%d in %v, at most %v", sum, window, most)
				}
			}
		}
	})
}

// The same for callers that are many goroutines, on a clock that stands still.
func TestNoMoreAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(Rule{Calls: Rate{PerSecond: 10, Burst: 100}}, maxBuckets)
		for range 3 {
			var admitted atomic.Int64
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					for range 10 {
						if _, wait := table.take(callerNo(1), 1, 1); wait == 0 {
							admitted.Add(1)
						}
					}
				})
			}
			wg.Wait()
			if admitted.Load() != 100 {
				t.Errorf("%d admitted", admitted.Load())
			}
			time.Sleep(10 * time.Second)
		}
	})
}

func TestTableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const most = 1600
		table := newTable(Rule{Calls: Rate{PerSecond: 1, Burst: 2}}, most)
		for n := range 50 * most {
			table.take(callerNo(n), 1, 1)
		}
		if n := table.len(); n != most {
			t.Errorf("%d buckets", n)
		}
	})
}

// Callers that have been away for long enough are forgotten when others come; those in debt are not, and keep it.
func TestTableForgetsTheFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := newTable(Rule{Cost: Rate{PerSecond: 10, Burst: 20}}, maxBuckets)
		for n := range 10_000 {
			table.take(callerNo(n), 1, 1)
		}
		debtor := callerNo(-1)
		table.charge(debtor, 1000)
		time.Sleep(time.Second)
		for n := range 10_000 {
			table.take(callerNo(100_000+n), 1, 1)
		}
		if n := table.len(); n > 10_500 {
			t.Errorf("%d buckets, of which 10,000 are full", n)
		}
		if _, wait := table.take(debtor, 1, 1); wait != 97*time.Second+100*time.Millisecond {
			t.Errorf("the debtor waits %v", wait)
		}
	})
}
