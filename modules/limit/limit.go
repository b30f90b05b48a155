// Package limit bounds what one caller takes from a node, so that the others get theirs.
//
// Two token buckets stand before each caller: one of calls, and one of cost. A call costs 1, and each row that it reads or
// writes 1 more; as rows are known only afterwards, a call may leave its caller in debt, and the next one waits until
// the debt is paid. The caller is an API key if the request came by one, else the user in the tenant, else the address.
// Further, only so many requests of one tenant run at once, and those that come meanwhile wait for their turn, in order.
//
// A request passes in this order: [Limits.Knock] before anything is known of it but its address, [Limits.Enter] once it is
// known who calls, and [Call] before each of its calls; a stream, which lasts, passes [Limits.Open]. The buckets are a node's own:
// n nodes admit n times as much.
package limit

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Config is the limits. The zero value has none.
type Config struct {
	User    Rule
	Key     Rule
	Address Rule // its Calls are requests of any caller; its Cost is that of anonymous calls and of refused credentials

	Concurrency int           // requests of one tenant that run at once; 0 for any number
	Wait        time.Duration // how long others of the tenant wait for their turn

	Streams Streams
}

// Rule is the buckets of one caller.
type Rule struct{ Calls, Cost Rate }

// Rate is a bucket: it holds Burst, is full at first, and PerSecond flow into it. The zero Rate is no limit; otherwise both
// are at least 1.
type Rate struct{ PerSecond, Burst int }

// refusedCost is what a request with a refused credential costs its address: looking for a key is a query, and somebody who
// guesses is to be stopped before they find one.
const refusedCost = 50

// Limits is the state of the limits on a node. Make one with New. It is safe for concurrent use, and a [prometheus.Collector].
type Limits struct {
	callers [kinds]*table
	tenants tenants
	streams streams
	metrics metrics
}

// New returns Limits, on which nobody has drawn yet.
func New(cfg Config) *Limits {
	l := &Limits{
		callers: [kinds]*table{
			user:    newTable(cfg.User, maxBuckets),
			key:     newTable(cfg.Key, maxBuckets),
			address: newTable(cfg.Address, maxBuckets),
		},
		tenants: tenants{most: cfg.Concurrency, wait: cfg.Wait, turns: map[uuid.UUID]*turns{}},
		streams: streams{most: cfg.Streams, by: map[caller]int{}},
	}
	l.metrics = newMetrics(l)
	return l
}

// Knock takes a call from the bucket of the address of a request, whoever calls; RATE_LIMITED if it has none. It protects
// what comes before the caller is known: reading the body, and looking at the credential.
func (l *Limits) Knock(ctx context.Context) error {
	return l.take([]caller{callerAt(auth.RequestFrom(ctx).Address)}, 1, 0)
}

// Refused charges the address of a request for a credential that was refused.
func (l *Limits) Refused(ctx context.Context) {
	l.callers[address].charge(callerAt(auth.RequestFrom(ctx).Address), refusedCost)
}

// Enter takes the request's first call from the caller's buckets, and waits until it is the turn of the request among those
// of its tenant. RATE_LIMITED if the caller has to pause, or if the wait is too long; the context's error if it ends first.
//
// The calls of the request get the context that it returns ([Call] finds the caller's buckets through it), and leave is called
// when they are done. A request counts once for its tenant, as its calls run one after another.
func (l *Limits) Enter(ctx context.Context) (inside context.Context, leave func(), err error) {
	v := &visit{limits: l, request: auth.RequestFrom(ctx), taken: true}
	v.rows = v.request.Stats.Rows
	if v.request.Actor == nil {
		v.callers = []caller{callerAt(v.request.Address)}
		if err := l.take(v.callers, 0, 1); err != nil { // Knock has taken the call
			return nil, nil, err
		}
		return context.WithValue(ctx, visitKey{}, v), v.settle, nil
	}
	v.callers, v.tenant = callersOf(v.request.Actor), v.request.Actor.Tenant
	if err := l.take(v.callers, 1, 1); err != nil {
		return nil, nil, err
	}
	waited, err := l.tenants.enter(ctx, v.tenant)
	if errors.Is(err, errCrowded) {
		l.metrics.concurrency.Inc()
	}
	if err != nil {
		return nil, nil, err
	}
	leave = func() {
		v.settle() // before the next one has its turn
		l.tenants.leave(v.tenant, v.turn)
	}
	v.turn = true
	if waited { // for others of the same caller, perhaps, who have left a debt
		if err := l.take(v.callers, 0, 0); err != nil {
			leave()
			return nil, nil, err
		}
	}
	return context.WithValue(ctx, visitKey{}, v), leave, nil
}

// visit is a request inside.
type visit struct {
	limits  *Limits
	request *auth.Request
	callers []caller
	tenant  uuid.UUID
	taken   bool // the next call, the first, has been taken from the buckets
	rows    int  // that have been charged for
	turn    bool // it has its tenant's
}

type visitKey struct{}

// Aside waits for something that others of the tenant may bring about, as a group of writes that commit together: meanwhile somebody else
// has the turn of the request. It returns when wait has, and the request has a turn again or its context has ended.
func Aside(ctx context.Context, wait func()) {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok || !v.turn || v.limits.tenants.most == 0 {
		wait()
		return
	}
	v.turn = v.limits.tenants.aside(ctx, v.tenant, wait)
}

// Call takes one call of a request that has entered from its caller's buckets; RATE_LIMITED if the caller has to pause. So
// the calls of a batch that no longer fit are refused one by one, before anything is done for them. For a context
// without a request that has entered there is no limit.
func Call(ctx context.Context) error {
	v, ok := ctx.Value(visitKey{}).(*visit)
	if !ok {
		return nil
	}
	if v.taken {
		v.taken = false
		return nil
	}
	v.settle()
	return v.limits.take(v.callers, 1, 1)
}

// settle charges for the rows since it did so last.
func (v *visit) settle() {
	if n := v.request.Stats.Rows - v.rows; n > 0 {
		for _, c := range v.callers {
			v.limits.callers[c.kind].charge(c, n)
		}
		v.rows += n
	}
}

// take takes from the buckets of all the callers, or from none.
func (l *Limits) take(callers []caller, calls, cost int) error {
	for i, c := range callers {
		lacking, wait := l.callers[c.kind].take(c, calls, cost)
		if wait == 0 {
			continue
		}
		for _, before := range callers[:i] {
			l.callers[before.kind].give(before, calls, cost)
		}
		l.metrics.buckets[c.kind][lacking].Inc()
		return apperr.Limited(c.message(lacking), wait)
	}
	return nil
}

func (c caller) message(lacking dimension) string {
	switch {
	case lacking == calls:
		return "There have been too many calls"
	case c.kind == address:
		return "There have been too many anonymous calls and refused credentials from this address"
	}
	return "The calls have been about too many rows"
}
