package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/coder/websocket"

	"rowcall/modules/rpcclient"
	"rowcall/modules/textcrdt"
)

// What those who type have.
const (
	typingFor    = 5 * time.Second
	documentText = "all work and no play makes jack a dull boy. "
)

// typist is an editor of a document who types behind their own last character, so that they need no replica.
type typist struct {
	document string
	site     textcrdt.Site
	conn     *websocket.Conn
	seq, sum uint32         // of the last character
	at       []atomic.Int64 // when each was typed, by seq, in Unix nanoseconds

	others atomic.Pointer[map[textcrdt.Site]*typist] // of the same document, by the time that somebody types
}

// typing is what typists have got of each other.
type typing struct {
	mu        sync.Mutex
	took      []time.Duration // from the key to another editor
	delivered atomic.Int64
	frames    atomic.Int64
}

func (b *bench) client() *rpcclient.Client {
	c := rpcclient.New("http://" + b.rowcall.says["address"])
	c.SetToken(b.token)
	return c
}

func (b *bench) newDocument(ctx context.Context, c *rpcclient.Client) (string, error) {
	var created struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	err := c.Call(ctx, "create_document", map[string]any{"data": map[string]any{"title": "bench"}}, &created)
	return created.Data.ID, err
}

type openedDocument struct {
	Data struct {
		Site     textcrdt.Site `json:"site"`
		Session  uint32        `json:"session"`
		Position int64         `json:"position"`
		Snapshot *string       `json:"snapshot"`
	} `json:"data"`
}

func openDocument(ctx context.Context, c *rpcclient.Client, id string) (o openedDocument, err error) {
	err = c.Call(ctx, "open_document", map[string]any{"id": id}, &o)
	return o, err
}

// sitDown opens a document and follows it.
func (b *bench) sitDown(ctx context.Context, c *rpcclient.Client, id string, keys int) (*typist, error) {
	o, err := openDocument(ctx, c, id)
	if err != nil {
		return nil, err
	}
	t := &typist{document: id, site: o.Data.Site, at: make([]atomic.Int64, keys+1)}
	header := map[string][]string{"Authorization": {"Bearer " + b.token}}
	t.conn, _, err = websocket.Dial(ctx, "ws://"+b.rowcall.says["address"]+"/api/rpc", &websocket.DialOptions{HTTPHeader: header}) //nolint:bodyclose // it is nil
	if err != nil {
		return nil, err
	}
	t.conn.SetReadLimit(64 << 20)
	follow := fmt.Appendf(nil, `{"id":"follow","method":"follow_document","params":{"id":%q,"since":%d}}`, id, o.Data.Position)
	if err := t.conn.Write(ctx, websocket.MessageText, follow); err != nil {
		return nil, err
	}
	_, answer, err := t.conn.Read(ctx)
	if err == nil && !bytes.Contains(answer, []byte(`"result"`)) {
		err = fmt.Errorf("follow_document: %.300s", answer)
	}
	return t, err
}

// press types one character.
func (t *typist) press(ctx context.Context) error {
	var ref textcrdt.ID
	if t.seq > 0 {
		ref = textcrdt.ID{Site: t.site, Seq: t.seq}
	}
	char := documentText[int(t.seq)%len(documentText)]
	t.seq++
	t.sum++
	op := textcrdt.AppendOps(nil, []textcrdt.Op{{ID: textcrdt.ID{Site: t.site, Seq: t.seq}, Sum: t.sum, N: 1, Ref: ref, Text: string(char)}})
	t.at[t.seq].Store(time.Now().UnixNano())
	return t.conn.Write(ctx, websocket.MessageText, fmt.Appendf(nil, `{"id":%d,"method":"push_document_operations","params":{"id":%q,"site":%d,"operations":%q}}`,
		t.seq, t.document, t.site, base64.StdEncoding.EncodeToString(op)))
}

var operationsOf = []byte(`"operations":"`)

// watch reads what the others of its document type, until the context ends. It is on from the beginning, as it answers pings, too.
func (t *typist) watch(ctx context.Context, into *typing) error {
	var took []time.Duration
	defer func() {
		into.mu.Lock()
		defer into.mu.Unlock()
		into.took = append(into.took, took...)
	}()
	for {
		_, frame, err := t.conn.Read(ctx)
		now := time.Now().UnixNano()
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case bytes.Contains(frame, []byte(`"document_closed"`)), bytes.Contains(frame, []byte(`"error"`)):
			return fmt.Errorf("typist %d got %.300s", t.site, frame)
		case bytes.Contains(frame[:min(len(frame), 80)], []byte(`"result"`)):
			continue
		}
		into.frames.Add(1)
		_, rest, ok := bytes.Cut(frame, operationsOf)
		if !ok {
			continue
		}
		encoded, _, _ := bytes.Cut(rest, []byte{'"'})
		raw, err := base64.StdEncoding.AppendDecode(nil, encoded)
		if err != nil {
			return err
		}
		ops, err := textcrdt.DecodeOps(raw)
		if err != nil {
			return err
		}
		for _, op := range ops {
			other := (*t.others.Load())[op.Site]
			if op.Site == t.site || other == nil {
				continue
			}
			for i := range op.N {
				took = append(took, time.Duration(now-other.at[int(op.Seq)+i].Load()))
				into.delivered.Add(1)
			}
		}
	}
}

// typeTogether lets each typist press their keys, evenly over the time, and waits until all others have got them.
func (b *bench) typeTogether(ctx context.Context, all []*typist, keys int, want int64, into *typing, ended <-chan error) error {
	start := time.Now()
	step := typingFor / time.Duration(keys*len(all))
	for i := range keys * len(all) {
		time.Sleep(time.Until(start.Add(time.Duration(i) * step)))
		if err := all[i%len(all)].press(ctx); err != nil {
			return err
		}
	}
	late := time.After(patience)
	for into.delivered.Load() < want {
		select {
		case err := <-ended:
			return errors.Join(err, errors.New("a typist's stream has ended"))
		case <-late:
			return fmt.Errorf("%d of %d characters have been delivered", into.delivered.Load(), want)
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// typingWorkload is so many documents with so many typists each.
func typingWorkload(documents, each int, rate float64) workload {
	return workload{
		name: fmt.Sprintf("typing_%d_%d", each, documents),
		what: fmt.Sprintf("%d typists in each of %d documents, %v keys a second each", each, documents, rate),
		print: func(b *bench, ctx context.Context, rounds int) error {
			var sum typed
			var cpu []float64
			for range rounds {
				r, err := b.typeOnce(ctx, documents, each, max(1, int(rate*typingFor.Seconds())))
				if err != nil {
					return err
				}
				sum.took, sum.delivered, sum.frames = append(sum.took, r.took...), sum.delivered+r.delivered, sum.frames+r.frames
				cpu = append(cpu, perDelivery(r.cpu, int(r.delivered)))
			}
			slices.Sort(sum.took)
			at := func(q float64) float64 { return sum.took[int(q*float64(len(sum.took)-1))].Seconds() * 1000 }
			t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
			fmt.Fprintln(t, "ms from a key to another editor: median\tp99\thighest\tus of CPU per delivery\tcharacters in a frame\t")
			fmt.Fprintf(t, "%.1f\t%.1f\t%.1f\t%.1f\t%.2f\t\n", at(0.5), at(0.99), at(1), median(cpu), float64(sum.delivered)/float64(max(1, sum.frames)))
			return t.Flush()
		},
	}
}

// typed is what a run of typists has come to.
type typed struct {
	took              []time.Duration
	cpu               time.Duration
	delivered, frames int64
}

func (b *bench) typeOnce(ctx context.Context, documents, each, keys int) (r typed, err error) {
	c := b.client()
	watching, stop := context.WithCancel(ctx)
	defer stop()
	var into typing
	var all []*typist
	ended := make(chan error, documents*each)
	defer func() {
		for _, t := range all {
			_ = t.conn.CloseNow()
		}
	}()
	for range documents {
		id, err := b.newDocument(ctx, c)
		if err != nil {
			return r, err
		}
		sites := map[textcrdt.Site]*typist{}
		for range each {
			t, err := b.sitDown(ctx, c, id, keys)
			if err != nil {
				return r, err
			}
			all, sites[t.site] = append(all, t), t
		}
		for _, t := range sites {
			t.others.Store(&sites)
			go func() { ended <- t.watch(watching, &into) }()
		}
	}
	from, err := b.rowcall.state(ctx, "/")
	if err != nil {
		return r, err
	}
	if err := b.typeTogether(ctx, all, keys, int64(len(all)*(each-1)*keys), &into, ended); err != nil {
		return r, err
	}
	to, err := b.rowcall.state(ctx, "/")
	if err != nil {
		return r, err
	}
	stop()
	for range all {
		err = errors.Join(err, <-ended)
	}
	return typed{into.took, to.CPU - from.CPU, into.delivered.Load(), into.frames.Load()}, err
}
