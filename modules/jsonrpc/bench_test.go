package jsonrpc_test

import (
	"context"
	stdjson "encoding/json"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"rowcall/modules/jsonrpc"
)

// row is like an entity: what lists are made of.
type row struct {
	byID
	Version   int64          `json:"version"`
	CID       int64          `json:"cid"`
	CTime     time.Time      `json:"ctime"`
	MID       int64          `json:"mid"`
	MTime     time.Time      `json:"mtime"`
	ProjectID int64          `json:"project_id"`
	Title     string         `json:"title"`
	Done      bool           `json:"done"`
	Due       *time.Time     `json:"due"`
	Meta      jsontext.Value `json:"meta"`
}

type page struct {
	Data       []row   `json:"data"`
	NextCursor *string `json:"next_cursor"`
}

func rows(n int) page {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	p := page{Data: make([]row, n)}
	for i := range p.Data {
		p.Data[i] = row{byID{int64(1000 + i)}, 1, 2000, at, 2000, at, 1000, "task BB 12", i%2 == 0, &at, jsontext.Value(`{"color":"red"}`)}
	}
	return p
}

// BenchmarkServe decodes, dispatches and encodes. Its measure on any machine is the ratio to BenchmarkPlain, which does
// the same decoding and encoding with encoding/json, and no checks, in the same run.
func BenchmarkServe(b *testing.B) {
	m := jsonrpc.New(jsonrpc.Options{Timeout: time.Minute})
	type listParams struct {
		Filters     jsontext.Value `json:"filters,omitzero"`
		ListOptions *struct {
			Limit    *int64         `json:"limit,omitzero"`
			OrderBys jsontext.Value `json:"order_bys,omitzero"`
		} `json:"list_options,omitzero"`
	}
	one, many := rows(1), rows(20)
	jsonrpc.Handle(m, "get_task", func(context.Context, byID) (page, error) { return one, nil })
	jsonrpc.Handle(m, "list_tasks", func(context.Context, listParams) (page, error) { return many, nil })
	for _, c := range benchmarked {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if reply := m.Serve(b.Context(), requestID, []byte(c.body)); reply.Calls[0].Kind != "" {
					b.Fatalf("%s", reply.Body)
				}
			}
		})
	}
}

var benchmarked = []struct {
	name, body string
	rows       int
}{
	{"get", `{"jsonrpc":"2.0","id":1,"method":"get_task","params":{"id":1000}}`, 1},
	{"list", `{"jsonrpc":"2.0","id":1,"method":"list_tasks","params":{"filters":{"project_id":1000,"title":{"$contains":"BB"}},"list_options":{"limit":20,"order_bys":"!title"}}}`, 20},
}

func BenchmarkPlain(b *testing.B) {
	type request struct {
		JSONRPC string             `json:"jsonrpc"`
		ID      stdjson.RawMessage `json:"id"`
		Method  string             `json:"method"`
		Params  struct {
			ID          int64              `json:"id"`
			Filters     stdjson.RawMessage `json:"filters"`
			ListOptions struct {
				Limit    int64              `json:"limit"`
				OrderBys stdjson.RawMessage `json:"order_bys"`
			} `json:"list_options"`
		} `json:"params"`
	}
	type response struct {
		JSONRPC string             `json:"jsonrpc"`
		ID      stdjson.RawMessage `json:"id"`
		Result  page               `json:"result"`
	}
	for _, c := range benchmarked {
		result := rows(c.rows)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				var r request
				if err := stdjson.Unmarshal([]byte(c.body), &r); err != nil {
					b.Fatal(err)
				}
				if _, err := stdjson.Marshal(response{"2.0", r.ID, result}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
