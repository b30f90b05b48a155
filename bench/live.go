package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// What the workloads of live push have.
const (
	subscribers     = 500
	writesPerSecond = 50
	liveFor         = 3 * time.Second
	idlers          = 10_000
	idleFor         = 3 * time.Second
	stormers        = 2_000
	behind          = 1_000
)

// lived is what a run with subscribers has come to.
type lived struct {
	delivered int
	cpu       time.Duration
	heap, rss int64           // bytes more, by the subscribers
	took      []time.Duration // from the server's knowledge of the commit to the subscriber
}

// live measures deliveries beside the same writes with one subscriber, so that the writes' own cost can be told.
func (b *bench) live(ctx context.Context, rounds int) error {
	type way struct {
		name      string
		n         int
		websocket bool
		all       lived
		each      []float64 // us of CPU per delivery, of each round
		beyond    []float64 // and without the writes'
	}
	ways := []*way{{name: "one subscriber", n: 1}, {name: "SSE", n: subscribers}, {name: "WebSocket", n: subscribers, websocket: true}}
	for range rounds {
		var writes lived
		for _, w := range ways {
			r, err := b.liveOnce(ctx, w.n, w.websocket)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.all.took = append(w.all.took, r.took...)
			w.all.heap, w.all.rss = w.all.heap+r.heap, w.all.rss+r.rss
			w.each = append(w.each, perDelivery(r.cpu, r.delivered))
			if w.n == 1 {
				writes = r
			} else {
				w.beyond = append(w.beyond, perDelivery(r.cpu-writes.cpu, r.delivered-writes.delivered))
			}
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tms after the commit: median\tp99\thighest\tus of CPU per delivery\tand without the writes'\tkB each: heap and stacks\tresident\t")
	for _, w := range ways {
		slices.Sort(w.all.took)
		at := func(q float64) float64 { return w.all.took[int(q*float64(len(w.all.took)-1))].Seconds() * 1000 }
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%.1f\t", w.name, at(0.5), at(0.99), at(1), median(w.each))
		if w.n == 1 {
			fmt.Fprintf(t, "-\t-\t-\t\n")
			continue
		}
		kB := func(sum int64) float64 { return float64(sum) / float64(rounds*w.n) / 1000 }
		fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t\n", median(w.beyond), kB(w.all.heap), kB(w.all.rss))
	}
	return t.Flush()
}

func perDelivery(cpu time.Duration, n int) float64 { return cpu.Seconds() * 1e6 / float64(n) }

func (b *bench) liveOnce(ctx context.Context, n int, websocket bool) (r lived, err error) {
	before, err := b.rowcall.state(ctx, "/memory")
	if err != nil {
		return r, err
	}
	c, err := newCrowd(b.rowcall.says["address"])
	if err != nil {
		return r, err
	}
	defer c.close()
	if err := c.joinAll(ctx, n, b.token, websocket); err != nil {
		return r, err
	}
	open, err := b.rowcall.state(ctx, "/memory")
	if err != nil {
		return r, err
	}
	r.heap, r.rss = open.Heap-before.Heap, open.Resident-before.Resident
	from, err := b.rowcall.state(ctx, "/")
	if err != nil {
		return r, err
	}
	writes := int(writesPerSecond * liveFor.Seconds())
	written := make(chan error, 1)
	go func() { written <- b.writeEvenly(ctx, writes) }()
	err = c.read(ctx, func() bool { return len(c.received) == n*writes })
	if err := errors.Join(<-written, err); err != nil {
		return r, err
	}
	to, err := b.rowcall.state(ctx, "/")
	if err != nil {
		return r, err
	}
	r.cpu, r.delivered = to.CPU-from.CPU, len(c.received)
	slices.SortFunc(to.Commits, func(a, b commit) int { return int(a.Position - b.Position) })
	for _, d := range c.received {
		i, _ := slices.BinarySearchFunc(to.Commits, d.position, func(c commit, position int64) int { return int(c.Position - position) })
		if i == len(to.Commits) {
			return r, fmt.Errorf("nothing is known of the commit of position %d", d.position)
		}
		r.took = append(r.took, time.Duration(d.at-to.Commits[i].At))
	}
	return r, nil
}

// writeEvenly creates tasks, writesPerSecond, over a few connections, so that one that takes long does not delay the next.
func (b *bench) writeEvenly(ctx context.Context, writes int) error {
	const connections = 4
	var wg sync.WaitGroup
	errs := make([]error, connections)
	start := time.Now()
	for k := range connections {
		wg.Go(func() {
			c, err := dial(ctx, b.rowcall.says["address"])
			if err != nil {
				errs[k] = err
				return
			}
			defer c.Close() //nolint:errcheck // nothing is lost
			for i := k; i < writes && errs[k] == nil; i += connections {
				time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / writesPerSecond)))
				errs[k] = c.call(b.token, fmt.Appendf(nil, `{"id":1,"method":"create_task","params":{"data":{"project_id":%d,"title":"a new task"}}}`, 2000+i%100))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// idle measures what subscribers take while nothing happens, on a server of their own.
func (b *bench) idle(ctx context.Context, _ int) error {
	s, err := startChild(ctx, "rowcall", b.url, "")
	if err != nil {
		return err
	}
	defer s.stop()
	n := min(idlers, mostSockets())
	if n < idlers {
		fmt.Printf("%d instead, for the limit of open files\n", n)
	}
	c, err := newCrowd(s.says["address"])
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.joinAll(ctx, 10, b.token, false); err != nil { // what only the first costs
		return err
	}
	before, err := s.state(ctx, "/memory")
	if err != nil {
		return err
	}
	start := time.Now()
	if err := c.joinAll(ctx, n-10, b.token, false); err != nil {
		return err
	}
	took := time.Since(start)
	peak, err := s.state(ctx, "/memory")
	if err != nil {
		return err
	}
	time.Sleep(time.Second)
	idle, err := s.state(ctx, "/")
	if err != nil {
		return err
	}
	time.Sleep(idleFor)
	after, err := s.state(ctx, "/")
	if err != nil {
		return err
	}
	each := func(bytes int64) float64 { return float64(bytes) / float64(n-10) / 1000 }
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "kB each: heap and stacks\tresident\tto open them all, s\tus of CPU to open each\tof a core while idle\t")
	fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%.0f\t%.1f %%\t\n", each(peak.Heap-before.Heap), each(peak.Resident-before.Resident), took.Seconds(),
		perDelivery(peak.CPU-before.CPU, n-10), 100*(after.CPU-idle.CPU).Seconds()/idleFor.Seconds())
	return t.Flush()
}

// storm measures how long it takes until all who come back at once are at the head.
func (b *bench) storm(ctx context.Context, rounds int) error {
	w, err := dial(ctx, b.rowcall.says["address"])
	if err != nil {
		return err
	}
	defer w.Close() //nolint:errcheck // nothing is lost
	rows := make([]map[string]any, behind/2)
	for i := range rows {
		rows[i] = map[string]any{"project_id": 2000 + i%100, "title": "a new task"}
	}
	create, err := json.Marshal(map[string]any{"id": 1, "method": "create_tasks", "params": map[string]any{"data": rows}})
	if err != nil {
		return err
	}
	var all, cpu []float64
	for range rounds {
		var head struct {
			Result struct{ Data struct{ Position int64 } }
		}
		if err := w.call(b.token, []byte(`{"id":1,"method":"sync_head"}`)); err != nil {
			return err
		}
		if err := json.Unmarshal(w.answer, &head); err != nil {
			return err
		}
		since := head.Result.Data.Position
		if err := errors.Join(w.call(b.token, create), w.call(b.token, create)); err != nil {
			return err
		}
		took, used, err := b.stormOnce(ctx, since)
		if err != nil {
			return err
		}
		all, cpu = append(all, took.Seconds()), append(cpu, perDelivery(used, stormers*behind))
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "s until all are current\tlowest\thighest\tus of CPU per delivery\t")
	fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%.2f\t\n", median(all), slices.Min(all), slices.Max(all), median(cpu))
	return t.Flush()
}

func (b *bench) stormOnce(ctx context.Context, since int64) (took, cpu time.Duration, err error) {
	c, err := newCrowd(b.rowcall.says["address"])
	if err != nil {
		return 0, 0, err
	}
	defer c.close()
	from, err := b.rowcall.state(ctx, "/")
	if err != nil {
		return 0, 0, err
	}
	start := time.Now()
	for range stormers {
		if err := c.join(b.token, since, false); err != nil {
			return 0, 0, err
		}
	}
	if err := c.read(ctx, func() bool { return len(c.received) == stormers*behind }); err != nil {
		return 0, 0, err
	}
	took = time.Since(start)
	to, err := b.rowcall.state(ctx, "/")
	return took, to.CPU - from.CPU, err
}

// writersWays are creates spread over tenants, with a subscriber in each of them on another node, and without. That node has cores of its own
// in real life; at the lowest priority it takes little of the writers', but for what the database does for it.
func writersWays(b *bench) ([]contender, error) {
	ctx := context.Background()
	if err := b.spreadTenants(ctx); err != nil {
		return nil, err
	}
	db, err := pgxpool.New(ctx, b.url)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	tokens := make([]string, spread)
	for i := range tokens {
		if tokens[i], err = newToken(ctx, db, tenantOf(i)); err != nil {
			return nil, err
		}
	}
	write := func(ctx context.Context, d time.Duration) (float64, error) {
		return load(ctx, b.rowcall.says["address"], func(r *rand.Rand) (string, []byte) {
			i := r.IntN(spread)
			return tokens[i], fmt.Appendf(nil, `{"id":1,"method":"create_task","params":{"data":{"project_id":%d,"title":"a new task"}}}`, b.projects[tenantOf(i)])
		}, d)
	}
	other, err := startChild(ctx, "rowcall", b.url, "", "nice", "-n", "19")
	if err != nil {
		return nil, err
	}
	b.others = append(b.others, other)
	return []contender{
		{"with subscribers on another", func(ctx context.Context, d time.Duration) (float64, error) {
			return b.writeFollowed(ctx, other, tokens, write, d)
		}},
		{"without", write},
	}, nil
}

// writeFollowed writes while one in each tenant follows what is written, and waits until they have it.
func (b *bench) writeFollowed(ctx context.Context, other *child, tokens []string, write func(context.Context, time.Duration) (float64, error), d time.Duration) (float64, error) {
	c, err := newCrowd(other.says["address"])
	if err != nil {
		return 0, err
	}
	defer c.close()
	for _, token := range tokens {
		if err := c.joinAll(ctx, 1, token, false); err != nil {
			return 0, err
		}
	}
	time.Sleep(100 * time.Millisecond) // by then it has said that it has subscribers
	read := make(chan error, 1)
	var written atomic.Int64 // how many there must be
	written.Store(math.MaxInt64)
	go func() { read <- c.read(ctx, func() bool { return int64(len(c.received)) >= written.Load() }) }()
	rate, err := write(ctx, d)
	written.Store(int64(rate * d.Seconds() * 0.99)) // the rate counts a little more time
	return rate, errors.Join(err, <-read)
}
