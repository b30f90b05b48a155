package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"rowcall/modules/rpcclient"
	"rowcall/modules/textcrdt"
)

// What the workload of much text has.
const (
	pasted      = 1 << 20
	oldDocument = 10 << 20 // bytes of history
	pushAtMost  = 128 << 10
	opens       = 50
)

// paste measures how long a large paste takes until another editor has it, and oldDocuments how long a document with a long history takes to open.
func (b *bench) paste(ctx context.Context, rounds int) error {
	var pastes, opened, loads []float64
	var size, stored int
	for range rounds {
		c := b.client()
		id, err := b.newDocument(ctx, c)
		if err != nil {
			return err
		}
		other, err := b.sitDown(ctx, c, id, 1)
		if err != nil {
			return err
		}
		w := &writer{client: c, document: id}
		start := time.Now()
		got := make(chan error, 1)
		go func() { got <- other.await(ctx, pasted) }()
		if err := w.write(ctx, pasted); err != nil {
			return err
		}
		if err := <-got; err != nil {
			return err
		}
		pastes = append(pastes, time.Since(start).Seconds()*1000)
		_ = other.conn.CloseNow()

		for n := pasted; n < oldDocument; n += pasted { // what is written is deleted again, so that the history is longer than the text
			if err := errors.Join(w.write(ctx, pasted), w.erase(ctx, pasted)); err != nil {
				return err
			}
		}
		time.Sleep(2 * time.Second) // for the snapshot
		for range opens {
			start := time.Now()
			o, err := openDocument(ctx, c, id)
			if err != nil {
				return err
			}
			opened = append(opened, time.Since(start).Seconds()*1000)
			start = time.Now()
			if o.Data.Snapshot == nil {
				return errors.New("there is no snapshot")
			}
			raw, err := base64.StdEncoding.DecodeString(*o.Data.Snapshot)
			if err != nil {
				return err
			}
			doc, err := textcrdt.Load(0, 0, raw)
			if err != nil {
				return err
			}
			loads = append(loads, time.Since(start).Seconds()*1000)
			size, stored = doc.Len(), len(raw)
		}
	}
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms until another editor has 1 MiB\tms to open 10 MiB of history: median\thighest\tand to load it\tcharacters\tbytes of the snapshot\t")
	fmt.Fprintf(t, "%.0f\t%.1f\t%.1f\t%.1f\t%d\t%d\t\n", median(pastes), median(opened), slices.Max(opened), median(loads), size, stored)
	return t.Flush()
}

// await reads until so many characters have come.
func (t *typist) await(ctx context.Context, n int) error {
	for n > 0 {
		_, frame, err := t.conn.Read(ctx)
		if err != nil {
			return err
		}
		var note struct{ Params struct{ Operations []byte } } // encoding/json does not mind the case
		if err := json.Unmarshal(frame, &note); err != nil {
			return err
		}
		if note.Params.Operations == nil {
			continue
		}
		ops, err := textcrdt.DecodeOps(note.Params.Operations)
		if err != nil {
			return err
		}
		for _, op := range ops {
			n -= op.N
		}
	}
	return nil
}

// writer writes and erases much at the end of a document that is its own.
type writer struct {
	client   *rpcclient.Client
	document string
	doc      *textcrdt.Doc
	site     textcrdt.Site
}

func (w *writer) write(ctx context.Context, n int) error {
	if w.doc == nil {
		o, err := openDocument(ctx, w.client, w.document)
		if err != nil {
			return err
		}
		w.site, w.doc = o.Data.Site, textcrdt.New(o.Data.Site, o.Data.Session)
	}
	text := strings.Repeat(documentText, n/len(documentText)+1)[:n]
	for len(text) > 0 {
		part := text[:min(len(text), pushAtMost)]
		ops, err := w.doc.Insert(w.doc.Len(), part)
		if err != nil {
			return err
		}
		if err := w.push(ctx, ops); err != nil {
			return err
		}
		text = text[len(part):]
	}
	return nil
}

func (w *writer) erase(ctx context.Context, n int) error {
	ops, err := w.doc.Delete(w.doc.Len()-n, n)
	if err != nil {
		return err
	}
	return w.push(ctx, ops)
}

func (w *writer) push(ctx context.Context, ops []textcrdt.Op) error {
	return w.client.Call(ctx, "push_document_operations", map[string]any{"id": w.document, "site": w.site, "operations": textcrdt.AppendOps(nil, ops)}, nil)
}
