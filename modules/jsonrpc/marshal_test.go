package jsonrpc

import (
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

type benchRow struct {
	ID    int64          `json:"id"`
	CTime time.Time      `json:"ctime"`
	MTime time.Time      `json:"mtime"`
	Title string         `json:"title"`
	Done  bool           `json:"done"`
	Due   *time.Time     `json:"due"`
	Meta  jsontext.Value `json:"meta"`
}

// BenchmarkMarshal is a list of 20 rows; its measure is the ratio of ours to the library's in the same run.
func BenchmarkMarshal(b *testing.B) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)
	rows := make([]benchRow, 20)
	for i := range rows {
		rows[i] = benchRow{int64(1000 + i), at, at, "task BB 12", i%2 == 0, &at, jsontext.Value(`{"color":"red"}`)}
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Marshal(&rows); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(&rows, byLibrary); err != nil {
				b.Fatal(err)
			}
		}
	})
}
