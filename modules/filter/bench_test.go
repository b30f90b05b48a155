package filter_test

import (
	"encoding/json"
	"testing"

	"rowcall/modules/filter"
)

var hot = []byte(`{"project_id":1000,"title":{"$contains":"BB"}}`)

// BenchmarkHotPath is what each list costs once its statement is cached. Its measure on any machine is the ratio to
// BenchmarkUnmarshalMap in the same run.
func BenchmarkHotPath(b *testing.B) {
	b.ReportAllocs()
	shape, args := make([]byte, 0, 64), make([]any, 0, 8)
	for b.Loop() {
		f, err := filter.Parse(hot, schema, "params.filters")
		if err != nil {
			b.Fatal(err)
		}
		shape, args = f.Shape(shape[:0]), f.Args(args[:0], false, 0)
	}
}

func BenchmarkUnmarshalMap(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var m map[string]any
		if err := json.Unmarshal(hot, &m); err != nil {
			b.Fatal(err)
		}
	}
}
