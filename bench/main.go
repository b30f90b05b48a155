// Command bench measures Rowcall beside two things that do the same work on the same machine in the same run: pgbench with
// the bare statements, and a hand-written handler with net/http and pgx that has neither authentication nor tenancy. Only
// the ratios mean anything; machines differ and are noisy.
//
// Each round runs every contender once. A ratio is the median of the rounds' ratios, because a machine that is slow in one
// round is slow for all. The servers are processes of their
// own; the load comes from this one, over 16 connections.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 2 { // this program again, as a server
		switch args[0] {
		case "rowcall":
			return serveRowcall(ctx, args[1])
		case "baseline":
			return serveBaseline(ctx, args[1])
		}
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 9, "how often each contender runs")
	each := flags.Duration("for", 2*time.Second, "how long each run takes")
	only := flags.String("only", "", "run this workload only: text, list_tasks, create_task, log, include, fields, page, batch, group_<clients>_<tenants>, live, idle, storm, writers, typing_<typists>_<documents> or paste")
	profile := flags.String("profile", "", "write a CPU profile of Rowcall's server to this file")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *only == "" || *only == "text" {
		err := textWorkload(*rounds)
		if *only == "" && errors.Is(err, fs.ErrNotExist) { // the others need no traces
			fmt.Println("text is left out:", err)
			err = nil
		}
		if err != nil || *only == "text" {
			return err
		}
	}
	b, err := setUp(ctx, *profile)
	if err != nil {
		return err
	}
	defer b.tearDown()
	for _, w := range workloads {
		if *only != "" && *only != w.name {
			continue
		}
		measure := func() error { return b.compare(ctx, w, *rounds, *each) }
		if w.print != nil {
			measure = func() error {
				fmt.Printf("\n%s\n", w.what)
				return w.print(b, ctx, min(*rounds, 2))
			}
		}
		if err := measure(); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return nil
}

// contender is one way to do a workload. run returns how many were done in a second.
type contender struct {
	name string
	run  func(ctx context.Context, d time.Duration) (float64, error)
}

// compare runs the contenders of a workload in turns, and prints the medians and their ratios.
func (b *bench) compare(ctx context.Context, w workload, rounds int, each time.Duration) error {
	contenders, err := w.ways(b)
	if err != nil {
		return err
	}
	results := make([][]float64, len(contenders))
	for round := range rounds {
		for i := range contenders {
			i := (i + round) % len(contenders) // whoever comes first does not always come first
			rate, err := contenders[i].run(ctx, each)
			if err != nil {
				return fmt.Errorf("%s: %w", contenders[i].name, err)
			}
			results[i] = append(results[i], rate)
		}
	}
	fmt.Printf("\n%s\n", w.what)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tper second\tlowest\thighest\tthe first is\t")
	for i, c := range contenders {
		ratio := "-"
		if i > 0 {
			ratios := make([]float64, rounds)
			for round := range ratios {
				ratios[round] = results[0][round] / results[i][round]
			}
			ratio = fmt.Sprintf("%.2f of it", median(ratios))
		}
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%s\t\n", c.name, median(results[i]), slices.Min(results[i]), slices.Max(results[i]), ratio)
	}
	return t.Flush()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
