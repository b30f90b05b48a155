package store_test

import (
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// inGroup returns an aggregate's value for the rows of a group, as the contract's words have it.
func (m meaning) inGroup(rows []*record, function, field string) any {
	var values []any
	for _, r := range rows {
		if v := m.key(r, field); v != nil {
			values = append(values, v)
		}
	}
	switch function {
	case "count":
		return int64(len(values))
	case "count_distinct":
		slices.SortFunc(values, compare)
		return int64(len(slices.CompactFunc(values, func(a, b any) bool { return compare(a, b) == 0 })))
	}
	if len(values) == 0 {
		return nil
	}
	switch function {
	case "min":
		return slices.MinFunc(values, compare)
	case "max":
		return slices.MaxFunc(values, compare)
	}
	sum := new(big.Int)
	for _, v := range values {
		sum.Add(sum, big.NewInt(v.(int64)))
	}
	if function == "sum" {
		return jsontext.Value(sum.String())
	}
	avg, _ := new(big.Rat).SetFrac(sum, big.NewInt(int64(len(values)))).Float64()
	return avg
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case nil:
		return b == nil
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-12*math.Abs(a)
	case jsontext.Value:
		b, ok := b.(jsontext.Value)
		return ok && string(a) == string(b)
	}
	return b != nil && compare(a, b) == 0
}

func TestAggregatesAreWhatTheyMean(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		v := w.draw(rt)
		groupBy := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"n", "b", "s", "t", "f", "boss.n", "card.name", "boss.boss.b", "card.thing.t", "u"}), 0, 2, rapid.ID).Draw(rt, "group by")
		aggregates, functions := map[string]any{}, map[string][2]string{}
		for i := range rapid.IntRange(1, 3).Draw(rt, "aggregates") {
			function := rapid.SampledFrom([]string{"", "count", "count_distinct", "min", "max", "sum", "avg"}).Draw(rt, "function")
			fields := []string{"n", "boss.n", "id", "card.owner_id"}
			if function != "sum" && function != "avg" {
				fields = append(fields, "s", "t", "f", "boss.s", "card.name")
			}
			field, alias := rapid.SampledFrom(fields).Draw(rt, "field"), fmt.Sprint("a", i)
			if function == "" {
				function, field = "count", "id"
				aggregates[alias] = "count"
			} else {
				aggregates[alias] = map[string]any{function: field}
			}
			functions[alias] = [2]string{function, field}
		}
		f := drawFilter(rt, "thing")
		having := map[string]any{}
		switch k := functions["a0"][0]; {
		case rapid.Bool().Draw(rt, "all"):
		case k == "count" || k == "count_distinct":
			having["a0"] = map[string]any{rapid.SampledFrom([]string{"$gt", "$lte", "$not"}).Draw(rt, "operator"): int64(1)}
		default:
			having["a0"] = map[string]any{"$null": rapid.Bool().Draw(rt, "null")}
		}
		if len(groupBy) > 0 && rapid.Bool().Draw(rt, "having a group") {
			having[groupBy[0]] = nil
		}
		var order []string
		if functions["a0"][0] == "count" {
			order = rapid.SampledFrom([][]string{nil, {"!a0"}, {"a0"}}).Draw(rt, "order")
		}
		limit := rapid.Int64Range(0, 20).Draw(rt, "limit")

		a, err := filter.ParseAggregation(filter.AggregationParams{
			Filters: encode(f), GroupBy: encode(groupBy), Aggregates: encode(aggregates), Having: encode(having), OrderBys: encode(order),
		}, things.Schema(), "")
		if err != nil {
			rt.Fatal(err)
		}
		got, err := things.Aggregate(v.tx, a, &limit)
		if err != nil {
			rt.Fatal(err)
		}
		want := v.meaning.aggregate(f, groupBy, functions, having, order)
		if more := int64(len(want)) > limit; got.More != more {
			rt.Fatalf("more is %v of %d groups", got.More, len(want))
		}
		want = want[:min(int64(len(want)), limit)]
		same := len(got.Rows) == len(want)
		for i := range want {
			for j, name := range got.Names {
				same = same && sameValue(want[i][name], got.Rows[i][j])
			}
		}
		if !same {
			rt.Fatalf("group by %v, %s of %s having %s by %v: %v\n%v, want %v", groupBy, encode(aggregates), encode(f), encode(having), order, got.Names, got.Rows, want)
		}
	})
}

// aggregate returns the groups in their order.
func (m meaning) aggregate(f any, groupBy []string, functions map[string][2]string, having map[string]any, order []string) []map[string]any {
	var groups []map[string]any
	members := map[string][]*record{}
	if len(groupBy) == 0 {
		groups = append(groups, map[string]any{"key": ""})
	}
	for _, r := range m.rows["thing"] {
		if !m.chooses("thing", r, f) {
			continue
		}
		g, key := map[string]any{}, ""
		for _, name := range groupBy {
			if g[name] = m.key(r, name); g[name] == 0.0 {
				g[name] = 0.0 // which -0 is
			}
			key += fmt.Sprintf("%T %v|", g[name], g[name])
		}
		if g["key"] = key; members[key] == nil && len(groupBy) > 0 {
			groups = append(groups, g)
		}
		members[key] = append(members[key], r)
	}
	for _, g := range groups {
		for alias, f := range functions {
			g[alias] = m.inGroup(members[g["key"].(string)], f[0], f[1])
		}
	}
	groups = slices.DeleteFunc(groups, func(g map[string]any) bool {
		for name, condition := range having {
			if !m.value(g[name], condition, m.holds) {
				return true
			}
		}
		return false
	})
	slices.SortStableFunc(groups, func(a, b map[string]any) int {
		for _, name := range order {
			c := compareNullsLast(a["a0"], b["a0"])
			if name[0] == '!' {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		for _, name := range groupBy {
			if c := compareNullsLast(a[name], b[name]); c != 0 {
				return c
			}
		}
		return 0
	})
	return groups
}

// cut returns the beginning of the unit of time that an instant is in, where a zone is.
func cut(t time.Time, unit string, in *time.Location) time.Time {
	t = t.In(in)
	y, m, d := t.Date()
	switch unit {
	case "minute", "hour": // twice the same hour, when clocks are put back
		_, offset := t.Zone()
		shift := time.Duration(offset) * time.Second
		return t.Add(shift).Truncate(map[string]time.Duration{"minute": time.Minute, "hour": time.Hour}[unit]).Add(-shift)
	case "week":
		d -= (int(t.Weekday()) + 6) % 7
	case "month":
		d = 1
	case "quarter":
		m, d = m-(m-1)%3, 1
	case "year":
		m, d = 1, 1
	}
	return time.Date(y, m, d, 0, 0, 0, 0, in)
}

func TestBucketsOfTimeFollowTheClocksOfAZone(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	db.Exec(t, `INSERT INTO thing (tenant_id, label, t, owner, seal, version, cid, ctime, mid, mtime)
		SELECT '`+tenantA.String()+`', n, timestamptz '2024-12-25 00:00:00Z' + n * interval '7 hours 13 minutes 7.5 seconds', 1, '', 1, 1, now(), 1, now()
		FROM generate_series(1, 2000) AS n;
		INSERT INTO thing (tenant_id, label, t, owner, seal, version, cid, ctime, mid, mtime)
		SELECT '`+tenantA.String()+`', 'x' || n, at + n * interval '10 minutes', 1, '', 1, 1, now(), 1, now()
		FROM generate_series(-18, 18) AS n, unnest(ARRAY[timestamptz '2026-03-29 01:00Z', '2026-10-25 01:00Z', '2025-11-02 06:00Z']) WITH ORDINALITY AS a(at, o)
		WHERE o = 1;
		UPDATE thing SET t = NULL WHERE label = '7'`)
	rows := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Limit: new(int64(5000))})).Rows
	for _, zone := range []string{"UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Kiritimati"} {
		in := must[*time.Location](t)(time.LoadLocation(zone))
		for _, unit := range []string{"minute", "hour", "day", "week", "month", "quarter", "year"} {
			want, nulls := map[time.Time]int64{}, int64(0)
			for _, r := range rows {
				if r.T == nil {
					nulls++
				} else {
					want[cut(*r.T, unit, in).UTC()]++
				}
			}
			a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{
				GroupBy: fmt.Appendf(nil, `[{"x":{%q:"t","time_zone":%q}}]`, unit, zone), Aggregates: []byte(`{"n":"count"}`),
			}, things.Schema(), ""))
			got := must[store.Groups](t)(things.Aggregate(tx, a, new(int64(5000))))
			if len(got.Rows) != len(want)+1 || got.More || nulls == 0 || got.Rows[len(want)][0] != nil || got.Rows[len(want)][1] != nulls {
				t.Errorf("%s in %s: %d groups, want %d and one of nulls", unit, zone, len(got.Rows), len(want))
				continue
			}
			for _, row := range got.Rows[:len(want)] {
				if want[row[0].(time.Time)] != row[1] {
					t.Errorf("%s in %s: %v, want %d", unit, zone, row, want[row[0].(time.Time)])
					break
				}
			}
			if !slices.IsSortedFunc(got.Rows[:len(want)], func(a, b []any) int { return a[0].(time.Time).Compare(b[0].(time.Time)) }) {
				t.Errorf("%s in %s: not in order", unit, zone)
			}
		}
	}
}

func TestAggregatesOfNothingAndOfFloats(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	aggregate := func(groupBy, aggregates string) (store.Groups, error) {
		a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{GroupBy: []byte(groupBy), Aggregates: []byte(aggregates)}, things.Schema(), ""))
		return things.Aggregate(tx, a, nil)
	}
	const all = `{"a":"count","b":{"count":"n"},"c":{"sum":"n"},"d":{"sum":"f"},"e":{"avg":"f"},"f":{"min":"t"},"g":{"max":"s"},"h":{"count_distinct":"boss.u"}}`
	if g := must[store.Groups](t)(aggregate(``, all)); fmt.Sprint(g.Rows) != `[[0 0 <nil> <nil> <nil> <nil> <nil> 0]]` || g.More {
		t.Errorf("of nothing: %v", g)
	}
	if g := must[store.Groups](t)(aggregate(`["n"]`, all)); len(g.Rows) != 0 || g.Rows == nil {
		t.Errorf("groups of nothing: %v", g)
	}
	for i, f := range []float64{0.5, 1.25, -3} {
		must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint(i), F: &f}))
	}
	if g := must[store.Groups](t)(aggregate(``, `{"s":{"sum":"f"},"a":{"avg":"f"}}`)); g.Rows[0][0] != -1.25 || g.Rows[0][1].(float64) > -0.41 {
		t.Errorf("of floats: %v", g)
	}
	for _, label := range []string{"large", "larger"} {
		must[thing](t)(things.Create(tx, thing{Label: label, F: new(math.MaxFloat64)}))
	}
	if _, err := aggregate(``, `{"s":{"sum":"f"}}`); err == nil || cmp.Or(apperr.From(err).Kind, "") != apperr.ValidationFailed {
		t.Errorf("a sum that no float holds: %v", err)
	}
	for _, limit := range []int64{-1, 5001} {
		a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{Aggregates: []byte(all)}, things.Schema(), ""))
		wantIssue(t, apperr.InvalidParams, "limit", second(things.Aggregate(tx, a, &limit)))
		wantKind(t, apperr.Forbidden, second(things.Aggregate(must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 1, auth.Nobody))), a, nil)))
	}
}
