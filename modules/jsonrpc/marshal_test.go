package jsonrpc

import (
	"bytes"
	"math"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// What Marshal has appenders for, and what it leaves to the library, in one type and beside each other.
type (
	base struct {
		ID      int64     `json:"id"`
		CTime   time.Time `json:"ctime"`
		Ignored int       `json:"-"`
		hidden  int
	}
	variety struct {
		base
		Uint     uint8             `json:"uint"`
		Float    float64           `json:"float"`
		Float32  float32           `json:"float32"`
		Text     string            `json:"text"`
		Named    named             `json:"named,omitempty"`
		MTime    *time.Time        `json:"mtime"`
		Zero     time.Time         `json:"zero,omitzero"`
		PZero    *time.Time        `json:"pzero,omitzero"`
		OddZero  oddZero           `json:"odd_zero,omitzero"`
		Raw      jsontext.Value    `json:"raw"`
		RawZero  jsontext.Value    `json:"raw_zero,omitzero"`
		UUID     uuid.UUID         `json:"uuid"`
		PUUID    *uuid.UUID        `json:"puuid"`
		Addr     netip.Addr        `json:"addr"`
		Bytes    []byte            `json:"bytes"`
		Ints     []int             `json:"ints,omitzero"`
		Times    []time.Time       `json:"times"`
		Strings  []*string         `json:"strings,omitempty"`
		Map      map[string]inner  `json:"map"`
		ByTime   map[time.Time]int `json:"by_time"`
		Any      any               `json:"any"`
		Inner    inner             `json:"inner,omitempty"`
		Empty    struct{}          `json:"empty"`
		Array    [2]time.Time      `json:"array"`
		Tree     *tree             `json:"tree,omitzero"`
		Untagged bool
	}
	named   string
	oddZero int
	inner   struct {
		A int  `json:"a,omitzero"`
		B *int `json:"b,omitempty"`
	}
	tree struct {
		At       time.Time `json:"at"`
		Children []tree    `json:"children"`
	}
)

func (z *oddZero) IsZero() bool { return *z == 1 }

func drawVariety(t *rapid.T) variety {
	at := rapid.Custom(func(t *rapid.T) time.Time {
		zone := time.FixedZone("", rapid.IntRange(-14, 14).Draw(t, "zone")*3600)
		return time.Unix(rapid.Int64Range(-62000000000, 250000000000).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone)
	})
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[a-z"\\<&\x00-\x1f\x7f é]*`))
	raw := rapid.SampledFrom([]jsontext.Value{nil, jsontext.Value("null"), jsontext.Value(` { "b" : [1 , 2e0], "a":"\u0041" } `), jsontext.Value(`""`)})
	number := rapid.IntRange(-1, 1)
	in := rapid.Custom(func(t *rapid.T) inner {
		return inner{number.Draw(t, "a"), rapid.Ptr(number, true).Draw(t, "b")}
	})
	v := variety{
		base: base{ID: rapid.Int64().Draw(t, "id"), CTime: at.Draw(t, "ctime"), Ignored: 1, hidden: 1},
		Uint: rapid.Uint8().Draw(t, "uint"), Float: rapid.Float64().Draw(t, "float"), Float32: rapid.Float32().Draw(t, "float32"),
		Text: text.Draw(t, "text"), Named: named(text.Draw(t, "named")), MTime: rapid.Ptr(at, true).Draw(t, "mtime"),
		Raw: raw.Draw(t, "raw"), RawZero: raw.Draw(t, "raw_zero"), UUID: uuid.UUID{1, 2, rapid.Byte().Draw(t, "uuid")},
		Bytes: rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"), Ints: rapid.SliceOf(number).Draw(t, "ints"), Times: rapid.SliceOf(at).Draw(t, "times"),
		Strings: rapid.SliceOf(rapid.Ptr(text, true)).Draw(t, "strings"), Map: rapid.MapOf(text, in).Draw(t, "map"),
		ByTime: map[time.Time]int{at.Draw(t, "key"): 1}, Inner: in.Draw(t, "inner"), Untagged: rapid.Bool().Draw(t, "untagged"),
		Any: rapid.SampledFrom([]any{nil, 1, "x", map[string]any{"b": time.Unix(0, 0), "a": []any{1.5}}, []int(nil)}).Draw(t, "any"),
	}
	v.OddZero = oddZero(number.Draw(t, "odd_zero"))
	if rapid.Bool().Draw(t, "zeros") {
		zero := time.Time{}.In(time.FixedZone("", 3600))
		v.Zero, v.PZero = zero, &zero
	}
	if rapid.Bool().Draw(t, "pointers") {
		v.PUUID, v.Zero, v.Addr = &v.UUID, at.Draw(t, "zero"), netip.IPv6Unspecified()
		v.Tree = &tree{at.Draw(t, "at"), []tree{{Children: []tree{{}}}, {}}}
	}
	return v
}

// TestMarshalIsTheLibrarys: the appenders write what the library does, byte for byte.
func TestMarshalIsTheLibrarys(t *testing.T) {
	if _, ok := (planning{}).members(nil, reflect.TypeFor[variety](), nil); !ok {
		t.Fatal("the library would be compared with itself")
	}
	rapid.Check(t, func(t *rapid.T) {
		v := drawVariety(t)
		for _, v := range []any{&v, v, []variety{v, v}, map[string]variety{"x": v}, []*variety{nil, &v}} {
			got, gotErr := Marshal(v)
			want, wantErr := json.Marshal(v, byLibrary)
			if (gotErr != nil) != (wantErr != nil) || gotErr == nil && !bytes.Equal(got, want) {
				t.Fatalf("got  %s %v\nwant %s %v", got, gotErr, want, wantErr)
			}
		}
	})
}

func TestMarshal(t *testing.T) {
	at := time.Date(2026, 1, 2, 5, 4, 5, 999, time.FixedZone("", 2*3600))
	type cyclic struct {
		Self *cyclic `json:"self"`
	}
	endless := &cyclic{}
	endless.Self = endless
	for _, c := range []struct {
		v    any
		want string // "": an error
	}{
		{nil, `null`},
		{(*int)(nil), `null`},
		{at, `"2026-01-02T03:04:05.000000Z"`},
		{&at, `"2026-01-02T03:04:05.000000Z"`},
		{at.Add(-time.Microsecond), `"2026-01-02T03:04:04.999999Z"`},
		{[]time.Time(nil), `[]`},
		{map[string]int{"b": 1, "a": 2}, `{"a":2,"b":1}`},
		{map[string]int(nil), `{}`},
		{struct{}{}, `{}`},
		{"<a & b>\u2028", "\"<a & b>\u2028\""},
		{struct{ hidden int }{1}, ``},
		{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), ``},
		{[]any{time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}, ``},
		{"\xff", ``},
		{math.Inf(1), ``},
		{jsontext.Value(`{"a":1,"a":2}`), ``},
		{jsontext.Value(``), ``},
		{time.Second, ``},
		{func() {}, ``},
		{endless, ``},
	} {
		got, err := Marshal(c.v)
		if string(got) != c.want || (err != nil) != (c.want == "") {
			t.Errorf("%T: %s %v, want %s", c.v, got, err, c.want)
		}
	}
}

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
