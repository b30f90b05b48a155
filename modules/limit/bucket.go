package limit

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

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

func callerOf(a *auth.Actor) caller {
	if a.Key != 0 {
		return caller{key, a.Tenant, a.Key}
	}
	return caller{user, a.Tenant, a.User}
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

// buckets are those of one caller; nil where there is no limit.
type buckets [dimensions]*rate.Limiter

func newBuckets(r Rule) *buckets {
	var b buckets
	for d, r := range [dimensions]Rate{calls: r.Calls, cost: r.Cost} {
		if r != (Rate{}) {
			b[d] = rate.NewLimiter(rate.Limit(r.PerSecond), r.Burst)
		}
	}
	return &b
}

// take takes from both buckets, or from neither and returns how long it takes until the bucket that lacks most has it.
func (b *buckets) take(now time.Time, n [dimensions]int) (lacking dimension, wait time.Duration) {
	for d, l := range b {
		if w := until(l, now, n[d]); w > wait {
			lacking, wait = dimension(d), w
		}
	}
	if wait == 0 {
		for d, l := range b {
			spend(l, now, n[d])
		}
	}
	return lacking, wait
}

// until returns how long it takes until l holds n, in whole milliseconds.
func until(l *rate.Limiter, now time.Time, n int) time.Duration {
	if l == nil {
		return 0
	}
	const rounding = 1e-6 // the tokens are a sum of many fractions
	missing := float64(n) - l.TokensAt(now)
	if missing < rounding {
		return 0
	}
	return time.Duration(math.Ceil(missing/float64(l.Limit())*1000)) * time.Millisecond
}

// spend takes n from l, which may leave it with less than nothing.
func spend(l *rate.Limiter, now time.Time, n int) {
	if l == nil {
		return
	}
	for burst := l.Burst(); n > 0; n -= burst {
		l.ReserveN(now, min(n, burst))
	}
}

// full tells whether the buckets are as new.
func (b *buckets) full(now time.Time) bool {
	for _, l := range b {
		if l != nil && l.TokensAt(now) < float64(l.Burst()) {
			return false
		}
	}
	return true
}

// maxBuckets is how many callers of a kind are remembered, at about 500 bytes each.
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
	now := time.Now() // under the lock: a limiter adds the time up twice if it runs backwards
	return s.of(c, t.rule, now).take(now, [dimensions]int{calls: nCalls, cost: nCost})
}

// charge takes a cost that has arisen, be it there or not.
func (t *table) charge(c caller, n int) {
	if t == nil {
		return
	}
	s := t.shard(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	spend(s.of(c, t.rule, now)[cost], now, n)
}

func (t *table) shard(c caller) *shard {
	return &t.shards[maphash.Comparable(t.seed, c)%uint64(len(t.shards))]
}

// of returns a caller's buckets. For each that it makes it forgets up to two, so that they become fewer when callers do.
func (s *shard) of(c caller, r Rule, now time.Time) *buckets {
	if b, ok := s.buckets.Get(c); ok {
		return b
	}
	for range 2 {
		if _, oldest, ok := s.buckets.GetOldest(); ok && oldest.full(now) {
			s.buckets.RemoveOldest()
		}
	}
	b := newBuckets(r)
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
