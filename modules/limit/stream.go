package limit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// Streams is how many streams may be open at once on a node; 0 is any number.
type Streams struct {
	User   int // of one user in a tenant, or of one address as long as it is not known who calls
	Tenant int
}

// streams counts those that are open.
type streams struct {
	most Streams
	open atomic.Int64

	mu sync.Mutex
	by map[caller]int
}

// tenantStreams is the caller that all streams of a tenant are counted for. There is no user 0.
func tenantStreams(a *auth.Actor) caller { return caller{kind: user, scope: a.Tenant} }

// Open takes a call from the buckets of the request's caller and counts a stream for them until leave is called, once. RATE_LIMITED if
// the caller has to pause, or if they or their tenant have as many streams as they may.
func (l *Limits) Open(ctx context.Context) (leave func(), err error) {
	request := auth.RequestFrom(ctx)
	limits := map[caller]int{}
	if request.Actor == nil {
		limits[callerAt(request.Address)] = l.streams.most.User
	} else {
		if err := l.take(callersOf(request.Actor), 1, 1); err != nil {
			return nil, err
		}
		limits[callersOf(request.Actor)[0]] = l.streams.most.User
		limits[tenantStreams(request.Actor)] = l.streams.most.Tenant
	}
	if leave, err = l.streams.enter(limits); err != nil {
		l.metrics.streams.Inc()
	}
	return leave, err
}

var errStreams = apperr.Limited("There are too many open streams", time.Second)

func (s *streams) enter(limits map[caller]int) (leave func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, most := range limits {
		if most > 0 && s.by[c] >= most {
			return nil, errStreams
		}
	}
	for c := range limits {
		s.by[c]++
	}
	s.open.Add(1)
	return func() { s.leave(limits) }, nil
}

func (s *streams) leave(limits map[caller]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range limits {
		if s.by[c]--; s.by[c] == 0 {
			delete(s.by, c)
		}
	}
	s.open.Add(-1)
}
