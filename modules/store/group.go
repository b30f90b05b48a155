package store

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/lib/pq"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
)

// This file is group commit. The commits of one tenant follow each other, as its head is locked until each is on disk. So writes that
// come while others of the tenant run wait, and those that wait are run together, in one transaction: the more there are the larger
// the groups, and who writes alone waits for nobody.

const (
	defaultGroup = 128                   // calls of a group
	groupBytes   = 1 << 20               // of the arguments of a group's calls, but for one that is larger by itself
	maxWaiting   = 1024                  // calls of a tenant; more block
	patience     = 20 * time.Millisecond // of a call that waits for its turn: then who has it waits for something else
	rowPatience  = "10ms"                // of a group that waits for a lock which is not the head's
	groupTimeout = 5 * time.Second       // of a group
)

// groups are the writes of all tenants that do not run by themselves.
type groups struct {
	most  int                           // calls of a group
	aside func(context.Context, func()) // Config.Aside
	run   func([]*call)                 // in a transaction

	mu     sync.Mutex
	queues map[string]*queue // by tenant, where somebody writes
	closed bool
	users  sync.WaitGroup // calls that have waited or do, and groups that run
}

func newGroups(most int, aside func(context.Context, func())) *groups {
	if aside == nil {
		aside = func(_ context.Context, wait func()) { wait() }
	}
	switch most {
	case 0:
		most = defaultGroup
	case 1:
		return nil
	}
	return &groups{most: most, aside: aside, run: runGroup, queues: map[string]*queue{}}
}

// close waits for those who wait. Later writes go by themselves.
func (g *groups) close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.users.Wait()
}

// queue is the writes of a tenant on this node.
type queue struct {
	running int // writes that go by themselves, and groups
	waiting []*call
	space   chan struct{} // if not nil: closed when there is room for one that waits
}

// sizeOf is the size of texts and JSON among arguments.
func sizeOf(args []any) int {
	size := 0
	for _, arg := range args {
		if text, ok := arg.(string); ok {
			size += len(text)
		}
	}
	return size
}

// call is a write that waits for its turn, and belongs to whoever gives it that until done is closed.
type call struct {
	tx    *Tx
	plan  *plan
	args  []any
	run   func(*Tx) error         // in a transaction, which tx is a part of
	added func(row reflect.Value) // of a new row by the arguments of insertArgs: takes what was added; nil: it must be run
	size  int

	taken bool // from the queue
	done  chan struct{}
	alone bool // it goes by itself, and has the turn if it is own
	own   bool
	head  int64 // if not 0: of the group, and to be told
	err   error
}

// change runs a write in a group with others of the tenant, if there are any, and else by itself.
func (g *groups) change(c *call, alone func() error) error {
	q, own, err := g.enter(c)
	if err != nil {
		return err
	}
	if !own {
		defer g.users.Done()
		var err error
		g.aside(c.tx.ctx, func() {
			err = g.wait(q, c)
			if c.head > 0 { // others have been committed, too, who need not wait for this one's turn
				c.tx.db.committed(c.tx.Actor.Tenant, c.head)
			}
		})
		if err != nil || !c.alone {
			return err
		}
	}
	if own || c.own {
		defer g.leave(q, c.tx.tenant)
	}
	return alone()
}

// enter gives a turn if one is free, and else a place in the queue, for which it blocks.
func (g *groups) enter(c *call) (q *queue, own bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for {
		q = g.queues[c.tx.tenant]
		switch {
		case q == nil:
			q = &queue{}
			g.queues[c.tx.tenant] = q
			fallthrough
		case q.running == 0 || g.closed:
			q.running++
			return q, true, nil
		case len(q.waiting) < maxWaiting:
			c.done = make(chan struct{})
			q.waiting = append(q.waiting, c)
			g.users.Add(1)
			return q, false, nil
		}
		if q.space == nil {
			q.space = make(chan struct{})
		}
		space := q.space
		g.mu.Unlock()
		select {
		case <-space:
		case <-c.tx.ctx.Done():
			err = c.tx.ctx.Err()
		}
		if g.mu.Lock(); err != nil {
			return q, false, err
		}
	}
}

// wait returns when the call is done, by others or for going alone. One whose context ends before its turn leaves; later it waits for the
// group, which alone knows what became of it.
func (g *groups) wait(q *queue, c *call) error {
	slow := time.NewTimer(patience)
	defer slow.Stop()
	ended := c.tx.ctx.Done()
	for {
		select {
		case <-c.done:
			return c.err
		case <-slow.C:
			g.mu.Lock()
			if !c.taken {
				q.running++
				g.next(q, c.tx.tenant)
			}
			g.mu.Unlock()
		case <-ended:
			g.mu.Lock()
			if !c.taken {
				q.waiting = slices.DeleteFunc(q.waiting, func(other *call) bool { return other == c })
				g.mu.Unlock()
				return c.tx.ctx.Err()
			}
			g.mu.Unlock()
			ended = nil
		}
	}
}

// leave ends a turn.
func (g *groups) leave(q *queue, tenant string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next(q, tenant)
}

// next gives a turn that is free to those who wait, if somebody does. g.mu is held.
func (g *groups) next(q *queue, tenant string) {
	if len(q.waiting) == 0 {
		if q.running--; q.running == 0 {
			delete(g.queues, tenant)
		}
		return
	}
	n, size := 0, 0
	for _, c := range q.waiting {
		if size += c.size; n == g.most || n > 0 && size > groupBytes {
			break
		}
		c.taken = true
		n++
	}
	group := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	if q.space != nil {
		close(q.space)
		q.space = nil
	}
	if n == 1 {
		group[0].alone, group[0].own = true, true
		close(group[0].done)
		return
	}
	g.users.Go(func() {
		defer g.leave(q, tenant)
		g.run(group)
		for _, c := range group {
			close(c.done)
		}
	})
}

// runGroup runs calls in one transaction. If one of them fails, they are run again, each under a savepoint; and if that does not work either,
// each goes alone, as nothing of them is kept.
func runGroup(group []*call) {
	alone := true
	defer func() {
		_ = recover() // who panicked does it again on its own goroutine
		if alone {
			for _, c := range group {
				c.alone, c.err = true, nil
			}
		}
	}()
	first, p := addLogged, group[0].plan
	if slices.ContainsFunc(group, func(c *call) bool { return c.added == nil || c.plan != p }) {
		first = func(group []*call) outcome { return transactGroup(group, together) }
	}
	result := first(group)
	if pe := (*pq.Error)(nil); errors.As(result.err, &pe) && !errors.Is(result.err, context.DeadlineExceeded) {
		result = transactGroup(group, apart)
	}
	switch {
	case result.err == nil:
		group[0].head = result.head
	case result.perhaps:
		for _, c := range group {
			if !c.alone {
				c.err = result.err
			}
		}
	default:
		return
	}
	alone = false
}

// outcome is that of a group.
type outcome struct {
	head    int64 // after the last of its entries; 0 for none
	err     error
	perhaps bool // it may be kept although there is an error
}

// addLogged adds the new rows of calls for one entity, with their entries, in one statement that commits itself.
func addLogged(group []*call) outcome {
	tx, cancel := groupTx(group)
	defer cancel()
	p, n := group[0].plan, len(group)
	at, actor, method := make([]any, n), make([]any, n), make([]any, n)
	for i, c := range group {
		at[i], actor[i], method[i] = c.tx.now, c.tx.Actor.User, auth.RequestFrom(c.tx.ctx).Method
	}
	args := append(setArgs(tx, group), tx.tenant, pq.GenericArray{A: at}, pq.GenericArray{A: actor}, pq.GenericArray{A: method})
	text := p.cached(false, []byte("+set"), func() string { return p.loggedSet(p.insertSet()) })
	var head [1]any
	start := time.Now()
	rows, _, err := p.query(&tx.runner, p.columns, text, args, head[:], 0)
	if pe := (*pq.Error)(nil); err != nil {
		return outcome{err: tx.plainError(err), perhaps: !errors.As(err, &pe)}
	}
	for i, c := range group {
		c.added(rows.Index(i))
		*c.tx.position = head[0].(int64) - int64(n-1-i)
		if i > 0 {
			c.tx.count(start)
			auth.RequestFrom(c.tx.ctx).Stats.Rows++
		}
	}
	return outcome{head: head[0].(int64)}
}

// setArgs are the arguments of insertSet.
func setArgs(tx *Tx, set []*call) []any {
	args := []any{tx.tenant}
	for i := 1; i < len(set[0].args); i++ {
		values := make([]any, len(set))
		for j, c := range set {
			values[j] = c.args[i]
		}
		args = append(args, pq.GenericArray{A: values})
	}
	return args
}

// groupTx is a Tx for the statements of a group, which are accounted to its first call.
func groupTx(group []*call) (*Tx, context.CancelFunc) {
	tx := *group[0].tx
	ctx, cancel := context.WithTimeout(context.WithoutCancel(tx.ctx), groupTimeout)
	tx.ctx, tx.position = ctx, new(int64)
	return &tx, cancel
}

// transactGroup makes an attempt at the calls in a transaction.
func transactGroup(group []*call, attempt func(*Tx, []*call) error) outcome {
	tx, cancel := groupTx(group)
	defer cancel()
	before := make([]int64, len(group))
	for i, c := range group {
		before[i] = *c.tx.position
	}
	tx.whole = &transaction{}
	committing := false
	err := transact(&tx.runner, tx.db.tenant, nil, func(r runner) error {
		tx.runner = r
		if err := attempt(tx, group); err != nil {
			return err
		}
		if _, err := tx.Exec(`SET LOCAL lock_timeout TO DEFAULT`); err != nil { // everybody waits for the head
			return err
		}
		if err := tx.flush(); err != nil {
			return err
		}
		committing = true
		return nil
	})
	if err != nil {
		for i, c := range group {
			*c.tx.position = before[i]
		}
		return outcome{err: err, perhaps: committing && apperr.From(err).Kind == apperr.Unavailable}
	}
	return outcome{head: tx.whole.head}
}

// part is the call's Tx as a part of the group's.
func (c *call) part(tx *Tx) *Tx {
	part := *c.tx
	part.runner = tx.runner
	part.ctx, part.now, part.whole = context.WithoutCancel(c.tx.ctx), c.tx.now, tx.whole
	return &part
}

// together runs calls as if none could fail. New rows of an entity are one statement.
func together(tx *Tx, group []*call) error {
	if _, err := tx.Exec(`SET LOCAL lock_timeout TO '` + rowPatience + `'`); err != nil {
		return err
	}
	for len(group) > 0 {
		set, others := group[:1], group[1:]
		if p := group[0].plan; group[0].added != nil {
			isNew := func(c *call) bool { return c.added != nil && c.plan == p }
			set = slices.DeleteFunc(slices.Clone(group), func(c *call) bool { return !isNew(c) })
			others = slices.DeleteFunc(slices.Clone(group), isNew)
		}
		var err error
		if len(set) > 1 {
			err = addTogether(tx, set)
		} else {
			err = set[0].run(set[0].part(tx))
		}
		if err != nil {
			return err
		}
		group = others
	}
	return nil
}

// errMissing is the error of rows that a trigger kept away.
var errMissing = errors.New("store: not all new rows are there")

// addTogether adds the new rows of calls for one entity in one statement.
func addTogether(tx *Tx, set []*call) error {
	start, p := time.Now(), set[0].plan
	text := p.cached(false, []byte("-set"), func() string { return p.collected(p.insertSet()) })
	rows, _, err := p.query(&tx.runner, p.columns, text, setArgs(tx, set), nil, 0)
	if err != nil {
		return err
	}
	if rows.Len() != len(set) {
		return errMissing
	}
	for i, c := range set {
		part := c.part(tx)
		row := rows.Index(i)
		if err := part.collect(p, creating, row, nil); err != nil {
			return err
		}
		c.added(row)
		part.count(start)
		auth.RequestFrom(part.ctx).Stats.Rows++
	}
	return nil
}

// apart runs calls each under a savepoint, so that each has its own error. One that would have to wait for a row goes alone.
func apart(tx *Tx, group []*call) error {
	script := `SET LOCAL lock_timeout TO '1ms'; SAVEPOINT call`
	for _, c := range group {
		if _, err := tx.Exec(script); err != nil {
			return err
		}
		entries, collected := len(tx.whole.entries), tx.whole.collected
		script = `RELEASE SAVEPOINT call; SAVEPOINT call`
		if c.err = c.run(c.part(tx)); c.err == nil {
			continue
		}
		script = `ROLLBACK TO SAVEPOINT call`
		tx.whole.entries, tx.whole.collected = tx.whole.entries[:entries], collected
		if pe := (*pq.Error)(nil); errors.As(c.err, &pe) && (pe.Code == lockNotAvailable || pe.Code == deadlockDetected) {
			c.alone, c.err = true, nil
		}
	}
	_, err := tx.Exec(script)
	return err
}

// SQLSTATEs, https://www.postgresql.org/docs/current/errcodes-appendix.html
const (
	deadlockDetected = "40P01"
	lockNotAvailable = "55P03"
)
