package limit

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"rowcall/modules/auth"
)

// kind is what a caller is known by.
type kind int

const (
	user kind = iota
	key
	address
	kinds
)

var kindNames = [kinds]string{"user", "key", "address"}

// caller is whose bucket it is.
type caller struct {
	kind  kind
	scope [16]byte // the tenant, or the address
	id    int64    // the user's or the key's
}

// callersOf are those whose buckets an actor's calls are taken from: the API key's and its user's, who could make any number of
// keys otherwise.
func callersOf(a *auth.Actor) []caller {
	callers := []caller{{user, a.Tenant, a.User}}
	if a.Key != 0 {
		callers = append(callers, caller{key, a.Tenant, a.Key})
	}
	return callers
}

// ipv6Network is how much of an IPv6 address tells callers apart: who has one address usually has all of its /64.
const ipv6Network = 64 / 8

// callerAt is the caller at an IP address. All that are none are one caller.
func callerAt(ip string) caller {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return caller{kind: address}
	}
	c := caller{kind: address, scope: a.As16()}
	if a.Is6() && !a.Is4In6() {
		clear(c.scope[ipv6Network:])
	}
	return c
}

// dimension is what a bucket holds.
type dimension int

const (
	calls dimension = iota
	cost
	dimensions
)

var dimensionNames = [dimensions]string{"calls", "cost"}

// buckets are those of one caller. (golang.org/x/time/rate has no debts of more than a burst, and locks that are of no use
// under the table's.)
type buckets struct {
	held [dimensions]float64 // less than 0: a debt
	at   time.Time           // when that was so
}

// flow lets in what has come since it was called last.
func (b *buckets) flow(r Rule, now time.Time) {
	elapsed := now.Sub(b.at).Seconds()
	b.at = now
	b.held[calls] = r.Calls.after(b.held[calls], elapsed)
	b.held[cost] = r.Cost.after(b.held[cost], elapsed)
}

// take takes from both buckets, or from neither and returns how long it takes until the one that needs longer has it.
func (b *buckets) take(r Rule, nCalls, nCost int) (lacking dimension, wait time.Duration) {
	lacking, wait = calls, r.Calls.until(b.held[calls], nCalls)
	if w := r.Cost.until(b.held[cost], nCost); w > wait {
		lacking, wait = cost, w
	}
	if wait == 0 {
		b.held[calls] -= float64(nCalls)
		b.held[cost] -= float64(nCost)
	}
	return lacking, wait
}

// after returns what a bucket holds so many seconds after it held so much. One without a limit keeps no account.
func (r Rate) after(held, seconds float64) float64 {
	if r == (Rate{}) {
		return 0
	}
	return min(float64(r.Burst), held+seconds*float64(r.PerSecond))
}

// until returns how long it takes until a bucket that holds so much holds n, in whole milliseconds.
func (r Rate) until(held float64, n int) time.Duration {
	const rounding = 1e-6 // what is held is a sum of many fractions
	missing := float64(n) - held
	if missing < rounding || r == (Rate{}) {
		return 0
	}
	return time.Duration(math.Ceil(missing/float64(r.PerSecond)*1000)) * time.Millisecond
}

// maxBuckets is how many callers of a kind are remembered, at about 250 bytes each.
const maxBuckets = 1 << 15

// table is the buckets of all callers of a kind. Those that are full again are forgotten, which changes nothing, when others
// come; if there are too many all the same, those whose caller has been away for longest.
type table struct {
	rule   Rule
	seed   maphash.Seed
	shards [16]shard
}

type shard struct {
	mu      sync.Mutex
	buckets *simplelru.LRU[caller, *buckets]
}

// newTable returns a table for at most so many callers; nil if the rule limits nothing.
func newTable(r Rule, most int) *table {
	if r == (Rule{}) {
		return nil
	}
	t := &table{rule: r, seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].buckets, _ = simplelru.NewLRU[caller, *buckets](max(1, most/len(t.shards)), nil) // it fails for a size of 0 only
	}
	return t
}

func (t *table) take(c caller, nCalls, nCost int) (lacking dimension, wait time.Duration) {
	if t == nil {
		return 0, 0
	}
	s := t.shard(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.of(c, t.rule).take(t.rule, nCalls, nCost)
}

// give gives back what take took.
func (t *table) give(c caller, nCalls, nCost int) {
	if t == nil {
		return
	}
	s := t.shard(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.of(c, t.rule)
	b.held[calls] += float64(nCalls)
	b.held[cost] += float64(nCost)
}

// charge takes a cost that has arisen, be it there or not.
func (t *table) charge(c caller, n int) {
	if t == nil {
		return
	}
	s := t.shard(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(c, t.rule).held[cost] -= float64(n)
}

func (t *table) shard(c caller) *shard {
	return &t.shards[maphash.Comparable(t.seed, c)%uint64(len(t.shards))]
}

// of returns a caller's buckets as they are now. For one that it makes it forgets up to two, so that they become fewer when
// callers do.
func (s *shard) of(c caller, r Rule) *buckets {
	now := time.Now()
	if b, ok := s.buckets.Get(c); ok {
		b.flow(r, now)
		return b
	}
	full := [dimensions]float64{calls: float64(r.Calls.Burst), cost: float64(r.Cost.Burst)}
	for range 2 {
		if _, oldest, ok := s.buckets.GetOldest(); ok {
			if oldest.flow(r, now); oldest.held == full {
				s.buckets.RemoveOldest()
			}
		}
	}
	b := &buckets{full, now}
	s.buckets.Add(c, b)
	return b
}

func (t *table) len() (n int) {
	if t == nil {
		return 0
	}
	for i := range t.shards {
		s := &t.shards[i]
		s.mu.Lock()
		n += s.buckets.Len()
		s.mu.Unlock()
	}
	return n
}
