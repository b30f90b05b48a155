package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

func drawOrder(t *rapid.T) []string {
	sortable := []string{"n", "f", "b", "s", "t", "u", "id", "boss.n", "boss.b", "boss.boss.s", "card.name", "boss.card.owner_id", "card.thing.t"}
	order := rapid.SliceOfNDistinct(rapid.SampledFrom(sortable), 0, 3, rapid.ID).Draw(t, "order")
	for i := range order {
		if rapid.Bool().Draw(t, "descending") {
			order[i] = "!" + order[i]
		}
	}
	return order
}

// All pages together are the list, each row once and in order, and only the last of them has no cursor.
func TestPagesAreTheList(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		v := w.draw(rt)
		order, f := drawOrder(rt), any(map[string]any{})
		ranked := rapid.IntRange(0, 3).Draw(rt, "ranked") == 0
		switch {
		case ranked:
			order, f = nil, map[string]any{"$search": "red or blue or -green"}
		case rapid.Bool().Draw(rt, "filtered"):
			f = drawFilter(rt, "thing")
		}
		if len(order) == 0 && !ranked {
			order = []string{"id"}
		}
		o := store.ListOptions{Filter: parsed(rt, string(encode(f))), Order: ordered(rt, things.Schema(), order), Limit: new(int64(5000))}
		all, err := things.List(v.tx, o)
		if err != nil || all.NextCursor != nil {
			rt.Fatalf("%v, or a cursor after all rows", err)
		}
		want := idsOf(all.Rows)
		if !ranked {
			chosen := slices.DeleteFunc(slices.Clone(v.meaning.rows["thing"]), func(r *record) bool { return !v.meaning.chooses("thing", r, f) })
			if sorted := v.meaning.sorted(order, chosen); !slices.Equal(want, sorted) {
				rt.Fatalf("%v %s: %v, want %v", order, encode(f), want, sorted)
			}
		}
		size := rapid.Int64Range(3, 60).Draw(rt, "size")
		o.Limit = &size
		sel := must[*filter.Selection](t)(filter.ParseSelection([]byte(`["label"]`), nil, things.Schema(), ""))
		for _, read := range []func() ([]int64, *string, error){
			func() ([]int64, *string, error) {
				p, err := things.List(v.tx, o)
				return idsOf(p.Rows), p.NextCursor, err
			},
			func() ([]int64, *string, error) {
				p, err := things.Select(v.tx, o, sel)
				return recordIDs(p.Rows), p.NextCursor, err
			},
		} {
			o.Cursor = ""
			var got []int64
			for pages := 1; ; pages++ {
				rows, next, err := read()
				if err != nil {
					rt.Fatalf("%v %s: %v", order, encode(f), err)
				}
				if len(rows) == 0 && pages > 1 || int64(len(rows)) > size || next != nil && int64(len(rows)) < size {
					rt.Fatalf("page %d has %d rows", pages, len(rows))
				}
				if got = append(got, rows...); next == nil {
					break
				}
				o.Cursor = *next
			}
			if !slices.Equal(got, want) && len(want)+len(got) > 0 {
				rt.Fatalf("%v %s by %d: %v, want %v", order, encode(f), size, got, want)
			}
		}
	})
}

func recordIDs(records []store.Record) []int64 {
	var ids []int64
	for _, r := range records {
		ids = append(ids, r.Row.Interface().(thing).ID)
	}
	return ids
}

func ordered(t rapid.TB, s *filter.Schema, names []string) *filter.Order {
	t.Helper()
	o, err := filter.ParseOrder(encode(names), s, "order_bys")
	if err != nil {
		t.Fatalf("%v: %v", names, err)
	}
	return o
}

// Whatever happens to other rows between the pages, a row that stays as it is comes exactly once.
func TestPagesWhileRowsChange(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	drawn, labels := rapid.Custom(drawThing), 0
	draw := func(rt *rapid.T) thing {
		row := drawn.Draw(rt, "row")
		labels++
		row.Label = fmt.Sprint(labels)
		return row
	}
	var bosses []*int64
	for i := range 5 {
		row := drawn.Example(i)
		row.Label = fmt.Sprint("boss ", i)
		bosses = append(bosses, new(must[thing](t)(things.Create(tx, row)).ID))
	}
	bosses = append(bosses, nil)
	rapid.Check(t, func(rt *rapid.T) {
		if _, err := things.DeleteMatching(tx, parsed(rt, `{"label":{"$notStartsWith":"boss"}}`)); err != nil {
			rt.Fatal(err)
		}
		var stay, change []int64
		for range rapid.IntRange(1, 30).Draw(rt, "rows") {
			row := draw(rt)
			row.Boss = rapid.SampledFrom(bosses).Draw(rt, "boss")
			made, err := things.Create(tx, row)
			if err != nil {
				rt.Fatal(err)
			}
			if rapid.Bool().Draw(rt, "stays") {
				stay = append(stay, made.ID)
			} else {
				change = append(change, made.ID)
			}
		}
		order := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"n", "!b", "!s", "!boss.n", "boss.s"}), 0, 2, rapid.ID).Draw(rt, "order")
		o := store.ListOptions{Order: ordered(rt, things.Schema(), order), Limit: new(rapid.Int64Range(1, 8).Draw(rt, "size"))}
		seen := map[int64]int{}
		for {
			page, err := things.List(tx, o)
			if err != nil {
				rt.Fatal(err)
			}
			for _, id := range idsOf(page.Rows) {
				seen[id]++
			}
			if page.NextCursor == nil {
				break
			}
			o.Cursor = *page.NextCursor
			row := draw(rt)
			switch what := rapid.IntRange(0, 3).Draw(rt, "what"); {
			case what == 0:
				_, err = things.Create(tx, row)
			case what == 1 && len(change) > 0:
				_, err = things.Delete(tx, change[0], store.Version{})
				change = change[1:]
			case len(change) > 0:
				set := store.Set{"n": orNil(row.N), "b": orNil(row.B), "s": orNil(row.S)}
				_, err = things.Update(tx, rapid.SampledFrom(change).Draw(rt, "changed"), set, store.Version{})
			}
			if err != nil {
				rt.Fatal(err)
			}
			if len(seen) > 200 {
				rt.Fatal("the pages do not end")
			}
		}
		for _, id := range stay {
			if seen[id] != 1 {
				rt.Fatalf("%v: the row %d came %d times", order, id, seen[id])
			}
		}
	})
}

func orNil[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func TestCursorsAreRefusedUnlessTheyAreTheLists(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	by := func(tenant uuid.UUID, user int64, role auth.Role) *store.Tx {
		ctx := as(t.Context(), tenant, user, role)
		auth.RequestFrom(ctx).Now = func() time.Time { return now }
		return must[*store.Tx](t)(db.Session(ctx))
	}
	tx := by(tenantA, 7, auth.Member)
	for i := range 3 {
		must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint(i), S: new("é\"\\ \n")}))
		must[card](t)(cards.Create(tx, card{OwnerID: 7, Name: fmt.Sprint(i)}))
	}
	list := func(tx *store.Tx, filters, order, cursor string) error {
		o := store.ListOptions{Limit: new(int64(1)), Cursor: cursor}
		o.Filter = parsed(t, filters)
		o.Order = must[*filter.Order](t)(filter.ParseOrder(jsontext.Value(order), things.Schema(), ""))
		return second(things.List(tx, o))
	}
	const filters, order = `{"n":null,"j.a":null,"label":{"$in":["0","1","2"]}}`, `["s","!t"]`
	page := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{
		Limit: new(int64(1)), Filter: parsed(t, filters), Order: ordered(t, things.Schema(), []string{"s", "!t"}),
	}))
	cursor := *page.NextCursor
	refused := func(what string, err error) {
		t.Helper()
		e := apperr.From(err)
		if e == nil || e.Kind != apperr.InvalidParams || e.Issues()[0].Path != "cursor" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := list(tx, filters, order, cursor); err != nil {
		t.Fatal(err)
	}
	refused("another user", list(by(tenantA, 8, auth.Member), filters, order, cursor))
	refused("another role", list(by(tenantA, 7, auth.Admin), filters, order, cursor))
	refused("another tenant", list(by(tenantB, 7, auth.Member), filters, order, cursor))
	refused("another filter", list(tx, `{"j.a":null,"label":{"$in":["0","1","2"]}}`, order, cursor))
	refused("another operator", list(tx, `{"n":null,"j.a":null,"label":{"$notIn":["0","1","2"]}}`, order, cursor))
	refused("another value", list(tx, `{"n":null,"j.a":null,"label":{"$in":["0","1","3"]}}`, order, cursor))
	refused("values cut otherwise", list(tx, `{"n":null,"j.a":null,"label":{"$in":["0","1 2"]}}`, order, cursor))
	refused("another path", list(tx, `{"n":null,"j.b":null,"label":{"$in":["0","1","2"]}}`, order, cursor))
	refused("another order", list(tx, filters, `["s","t"]`, cursor))
	refused("no order", list(tx, filters, `null`, cursor))
	refused("another entity", second(cards.List(tx, store.ListOptions{Cursor: cursor})))
	for i := range len(cursor) {
		for _, flipped := range []byte{cursor[i] ^ 1, cursor[i] ^ 32, 'A', '_', 0, 0xff, '='} {
			if flipped != cursor[i] {
				refused(fmt.Sprintf("byte %d as %q", i, flipped), list(tx, filters, order, cursor[:i]+string([]byte{flipped})+cursor[i+1:]))
			}
		}
		refused("truncated", list(tx, filters, order, cursor[:max(i, 1)]))
		refused("truncated at its beginning", list(tx, filters, order, cursor[max(i, 1):]))
	}
	for _, more := range []string{"A", "=", "\n", "\r\n", " ", "\x00", "AAAA", cursor} {
		refused(fmt.Sprintf("extended by %q", more), list(tx, filters, order, cursor+more))
		refused(fmt.Sprintf("extended by %q before it", more), list(tx, filters, order, more+cursor))
	}
	refused("long", list(tx, filters, order, strings.Repeat("A", 1<<20)))
	now = now.Add(store.CursorTTL - time.Second)
	if err := list(by(tenantA, 7, auth.Member), filters, order, cursor); err != nil {
		t.Error("refused too early: ", err)
	}
	now = now.Add(time.Second)
	refused("expired", list(by(tenantA, 7, auth.Member), filters, order, cursor))
	wantIssue(t, apperr.InvalidParams, "offset", second(things.List(tx, store.ListOptions{Cursor: cursor, Offset: 1})))
}

// FuzzCursor holds for any text: it opens only if it was made.
func FuzzCursor(f *testing.F) {
	db := newDB(f)
	tx := session(f, db, tenantA)
	for i := range 3 {
		must[thing](f)(things.Create(tx, thing{Label: fmt.Sprint(i)}))
	}
	made := map[string]bool{}
	o := store.ListOptions{Limit: new(int64(1))}
	for range 2 {
		page := must[store.Page[thing]](f)(things.List(tx, o))
		made[*page.NextCursor] = true
		f.Add(*page.NextCursor)
		o.Cursor = *page.NextCursor
	}
	f.Add("")
	f.Add("W10")
	f.Fuzz(func(t *testing.T, cursor string) {
		o := store.ListOptions{Limit: new(int64(1)), Cursor: cursor}
		if _, err := things.List(tx, o); err != nil {
			wantIssue(t, apperr.InvalidParams, "cursor", err)
		} else if cursor != "" && !made[cursor] {
			t.Fatalf("%q is opened", cursor)
		}
	})
}

// The members of a JSON object have no order, so a cursor does not mind in which one they come.
func TestCursorsGoWithTheSameFilterInAnyOrder(t *testing.T) {
	t.Parallel()
	tx := session(t, newDB(t), tenantA)
	for _, label := range []string{"a", "b", "c"} {
		must[thing](t)(things.Create(tx, thing{Label: label, N: new(int64(1)), S: new("x")}))
	}
	page := func(raw, cursor string) (store.Page[thing], error) {
		f := must[*filter.Filter](t)(filter.Parse([]byte(raw), things.Schema(), ""))
		return things.List(tx, store.ListOptions{Filter: f, Limit: new(int64(1)), Cursor: cursor})
	}
	first := must[store.Page[thing]](t)(page(`{"n":1,"s":{"$gte":"a","$lt":"z"},"$or":[{"b":null},{"n":2}],"boss_id":null}`, ""))
	for raw, opens := range map[string]bool{
		`{"boss_id":null,"$or":[{"n":2},{"b":null}],"s":{"$lt":"z","$gte":"a"},"n":1}`: true,
		`{"boss_id":null,"$or":[{"n":2},{"b":null}],"s":{"$lt":"a","$gte":"z"},"n":1}`: false,
		`{"boss_id":null,"$or":[{"n":1},{"b":null}],"s":{"$lt":"z","$gte":"a"},"n":2}`: false,
		`{"n":1,"s":{"$gte":"a","$lt":"z"},"$or":[{"b":null,"n":2}],"boss_id":null}`:   false,
	} {
		if _, err := page(raw, *first.NextCursor); (err == nil) != opens {
			t.Errorf("%s: %v", raw, err)
		}
	}
}
