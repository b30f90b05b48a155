package store_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// fieldsOf is the fields of an entity, as those see them who see all.
var fieldsOf = map[string][]string{
	"thing": {"id", "version", "cid", "ctime", "mid", "mtime", "label", "n", "f", "b", "s", "t", "u", "j", "owner", "boss_id", "card_id", "k", "w"},
	"card":  {"id", "version", "cid", "ctime", "mid", "mtime", "owner_id", "thing_id", "name", "suit", "secret"},
}

func visible(entity string, role auth.Role) []string {
	return slices.DeleteFunc(slices.Clone(fieldsOf[entity]), func(name string) bool { return name == "secret" && role < auth.Admin })
}

// drawSelection draws fields and include, and the options of a reference that leads to many rows.
func drawSelection(t *rapid.T, v *view, entity string, many bool, room int) map[string]any {
	sel := map[string]any{}
	if rapid.Bool().Draw(t, "fields") {
		sel["fields"] = rapid.SliceOfNDistinct(rapid.SampledFrom(visible(entity, v.tx.Actor.Role)), 0, 3, rapid.ID).Draw(t, "names")
	}
	if many {
		if rapid.Bool().Draw(t, "filtered") {
			sel["filters"] = drawGroup(t, entity, 2)
		}
		order := []string{"id"}
		if rapid.Bool().Draw(t, "ordered") {
			order = rapid.SampledFrom([][]string{{"!id"}, {"thing_id"}, {"!thing.n", "owner_id"}, {"name"}}).Draw(t, "order")
			if entity == "thing" {
				order = rapid.SampledFrom([][]string{{"!n"}, {"s", "!b"}, {"boss.f"}, {"!card.name"}}).Draw(t, "order of things")
			}
		}
		sel["order_bys"] = order
		if room > 0 || rapid.Bool().Draw(t, "limited") { // more rows than 500,000 are refused
			sel["limit"] = rapid.IntRange(0, 12).Draw(t, "limit")
		}
	}
	include := map[string]any{}
	for range rapid.IntRange(0, min(room, 2)).Draw(t, "references") {
		name := rapid.SampledFrom([]string{"boss", "team", "card", "cards"}).Draw(t, "reference")
		if entity == "card" {
			name = rapid.SampledFrom([]string{"thing", "things"}).Draw(t, "reference of a card")
		}
		rel := relations[entity][name]
		include[name] = drawSelection(t, v, rel.to, rel.many, room-1)
	}
	if len(include) > 0 {
		sel["include"] = include
	}
	return sel
}

// selected returns a row as a selection must show it.
func (m meaning) selected(r *record, sel map[string]any, role auth.Role) map[string]any {
	names, ok := sel["fields"].([]string)
	if !ok {
		names = visible(r.entity, role)
	}
	out := map[string]any{}
	for _, name := range names {
		out[name] = r.get(name)
	}
	include, _ := sel["include"].(map[string]any)
	for name, options := range include {
		rel, options := relations[r.entity][name], options.(map[string]any)
		if !rel.many {
			out[name] = nil
			if other := m.one(r, rel); other != nil {
				out[name] = m.selected(other, options, role)
			}
			continue
		}
		var chosen []*record
		for _, other := range m.follow(r, rel) {
			if f, ok := options["filters"]; !ok || m.chooses(rel.to, other, f) {
				chosen = append(chosen, other)
			}
		}
		limit, ok := options["limit"].(int)
		if !ok {
			limit = filter.DefaultIncludeLimit
		}
		rows := []any{}
		for _, id := range m.sorted(options["order_bys"].([]string), chosen) {
			i := slices.IndexFunc(chosen, func(r *record) bool { return r.id() == id })
			if rows = append(rows, m.selected(chosen[i], options, role)); len(rows) >= limit {
				break
			}
		}
		out[name] = rows[:min(limit, len(rows))]
	}
	return out
}

func references(sel map[string]any) int {
	n := 0
	include, _ := sel["include"].(map[string]any)
	for _, options := range include {
		n += 1 + references(options.(map[string]any))
	}
	return n
}

// shown returns a record as a client is answered it.
func shown(r *store.Record) map[string]any {
	values := recordsOf("", []any{r.Row.Interface()})[0].values
	out := map[string]any{}
	for _, name := range r.Fields.Names {
		out[name] = values[name]
	}
	for _, ref := range r.Refs {
		switch {
		case ref.Many:
			rows := []any{}
			for i := range ref.Rows {
				rows = append(rows, shown(&ref.Rows[i]))
			}
			out[ref.Name] = rows
		case ref.One == nil:
			out[ref.Name] = nil
		default:
			out[ref.Name] = shown(ref.One)
		}
	}
	return out
}

func parseSelection(t rapid.TB, s *filter.Schema, sel map[string]any) *filter.Selection {
	t.Helper()
	fields, include := encode(sel["fields"]), encode(sel["include"])
	parsed, err := filter.ParseSelection(fields, include, s, "")
	if err != nil {
		t.Fatalf("%s: %v", encode(sel), err)
	}
	return parsed
}

// A selection shows what it means, in one statement for the rows and a few for each reference.
func TestSelectionsShowWhatTheyMean(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		v := w.draw(rt)
		role := v.tx.Actor.Role
		sel, from := drawSelection(rt, v, "thing", false, 3), rapid.IntRange(0, 147).Draw(rt, "from")
		parsed := parseSelection(rt, things.Schema(), sel)
		stats := &auth.RequestFrom(v.tx.Context()).Stats
		before := stats.Statements
		page, err := things.Select(v.tx, store.ListOptions{Limit: new(int64(3)), Offset: int64(from)}, parsed)
		if err != nil {
			rt.Fatalf("%s: %v", encode(sel), err)
		}
		if n := stats.Statements - before; n > 1+5*references(sel) { // each may ask four indexes before
			rt.Fatalf("%s: %d statements", encode(sel), n)
		}
		for i, r := range v.meaning.rows["thing"][from : from+3] {
			if got, want := shown(&page.Rows[i]), v.meaning.selected(r, sel, role); !reflect.DeepEqual(got, want) {
				rt.Fatalf("as %s, %s shows\n%s, want\n%s", role, encode(sel), encode(got), encode(want))
			}
		}
		r := rapid.SampledFrom(v.meaning.rows["card"]).Draw(rt, "card")
		sel = drawSelection(rt, v, "card", false, 3)
		record, err := cards.GetSelected(v.tx, r.id(), parseSelection(rt, cards.Schema(), sel))
		if err != nil {
			rt.Fatalf("%s: %v", encode(sel), err)
		}
		if got, want := shown(&record), v.meaning.selected(r, sel, role); !reflect.DeepEqual(got, want) {
			rt.Fatalf("as %s, %s shows\n%s, want\n%s", role, encode(sel), encode(got), encode(want))
		}
	})
}

// What may not be read can neither be selected, nor asked for, nor sorted by, nor be summed up, from wherever.
func TestFieldsThatMayNotBeReadAreForbidden(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	member, admin := w.views[0].tx, w.views[1].tx
	try := func(what string, ask func(tx *store.Tx) error) {
		t.Helper()
		stats := &auth.RequestFrom(member.Context()).Stats
		before := stats.Statements
		if e := apperr.From(ask(member)); e == nil || e.Kind != apperr.Forbidden || !strings.Contains(e.Message, "admin") {
			t.Errorf("%s: a member is answered %v", what, e)
		}
		if stats.Statements != before {
			t.Errorf("%s: a statement was sent", what)
		}
		if err := ask(admin); err != nil {
			t.Errorf("%s: an admin is answered %v", what, err)
		}
	}
	for _, raw := range []string{
		`{"card.secret":1}`, `{"card":{"secret":{"$null":true}}}`, `{"cards":{"$some":{"secret":1}}}`, `{"cards":{"$none":{"$not":{"secret":1}}}}`,
		`{"$or":[{},{"boss.card.secret":{"$lt":1}}]}`, `{"boss":{"team":{"$every":{"card":{"secret":null}}}}}`, `{"card.thing.card.secret":{"$in":[]}}`,
	} {
		f := parsed(t, raw)
		try("list "+raw, func(tx *store.Tx) error { return second(things.List(tx, store.ListOptions{Filter: f})) })
		try("count "+raw, func(tx *store.Tx) error { return second(things.Count(tx, f)) })
		none := parsed(t, `{"id":-1,"$and":[`+raw+`]}`)
		try("update "+raw, func(tx *store.Tx) error { return second(things.UpdateAll(tx, none, store.Set{"n": nil})) })
		try("delete "+raw, func(tx *store.Tx) error { return second(things.DeleteMatching(tx, none)) })
		a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{Filters: []byte(raw), Aggregates: []byte(`{"n":"count"}`)}, things.Schema(), ""))
		try("aggregate "+raw, func(tx *store.Tx) error { return second(things.Aggregate(tx, a, nil)) })
	}
	for _, name := range []string{"card.secret", "!card.secret", "boss.card.secret"} {
		o := ordered(t, things.Schema(), []string{"n", name})
		try("order "+name, func(tx *store.Tx) error { return second(things.List(tx, store.ListOptions{Order: o})) })
	}
	for _, raw := range []string{
		`{"card":{"fields":["name","secret"]}}`, `{"cards":{"fields":["secret"]}}`, `{"cards":{"filters":{"secret":1}}}`, `{"cards":{"order_bys":"!secret"}}`,
		`{"boss":{"include":{"cards":{"include":{"thing":{"include":{"card":{"fields":["secret"]}}}}}}}}`, `{"team":{"filters":{"card.secret":1}}}`,
	} {
		sel := must[*filter.Selection](t)(filter.ParseSelection(nil, []byte(raw), things.Schema(), ""))
		try("include "+raw, func(tx *store.Tx) error {
			return second(things.Select(tx, store.ListOptions{Limit: new(int64(9))}, sel))
		})
		try("get with "+raw, func(tx *store.Tx) error {
			return second(things.GetSelected(tx, w.views[0].meaning.rows["thing"][0].id(), sel))
		})
	}
	for _, raw := range []string{`{"m":{"max":"card.secret"}}`, `{"m":{"count":"card.secret"}}`, `{"m":{"sum":"boss.card.secret"}}`} {
		a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{Aggregates: []byte(raw)}, things.Schema(), ""))
		try("aggregates "+raw, func(tx *store.Tx) error { return second(things.Aggregate(tx, a, nil)) })
	}
	a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{GroupBy: []byte(`["card.secret"]`)}, things.Schema(), ""))
	try("group_by", func(tx *store.Tx) error { return second(things.Aggregate(tx, a, nil)) })
	sel := must[*filter.Selection](t)(filter.ParseSelection([]byte(`["secret"]`), nil, cards.Schema(), ""))
	try("fields", func(tx *store.Tx) error { return second(cards.Select(tx, store.ListOptions{}, sel)) })
}

// What could bring too many rows is refused before a statement is sent, however few it would bring.
func TestLargeSelectionsAreRefused(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	id := must[thing](t)(things.Create(tx, thing{Label: "a"})).ID
	stats := &auth.RequestFrom(tx.Context()).Stats
	before := stats.Statements
	for _, c := range []struct {
		limit   int64
		include string
	}{
		{5000, `["team"]`},
		{501, `{"team":{"limit":1000}}`},
		{1, `{"team":{"limit":750,"include":{"team":{"limit":750}}}}`},
		{1, `{"team":{"limit":1000,"include":{"boss":{"include":{"team":{"limit":1000}}}}}}`},
		{1, `{"team":{"limit":1000,"include":{"team":{"limit":1000,"include":{"team":{"limit":1000,"include":{"team":{"limit":1000,"include":{"team":{"limit":1000}}}}}}}}}}`},
	} {
		sel := must[*filter.Selection](t)(filter.ParseSelection(nil, []byte(c.include), things.Schema(), ""))
		wantIssue(t, apperr.InvalidParams, "include", second(things.Select(tx, store.ListOptions{Limit: &c.limit}, sel)))
		if c.limit == 1 {
			wantIssue(t, apperr.InvalidParams, "include", second(things.GetSelected(tx, id, sel)))
		}
	}
	if stats.Statements != before {
		t.Errorf("%d statements were sent", stats.Statements-before)
	}
}

func TestSelectedRowOfAnother(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	admin := must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 8, auth.Admin)))
	theirs := must[card](t)(cards.Create(admin, card{OwnerID: 8, Name: "a"}))
	sel := must[*filter.Selection](t)(filter.ParseSelection([]byte(`[]`), nil, cards.Schema(), ""))
	for _, tx := range []*store.Tx{
		session(t, db, tenantA), session(t, db, tenantB), must[*store.Tx](t)(db.Session(as(t.Context(), tenantB, 8, auth.Owner))),
	} {
		wantKind(t, apperr.NotFound, second(cards.GetSelected(tx, theirs.ID, sel)))
	}
	if r := must[store.Record](t)(cards.GetSelected(admin, theirs.ID, sel)); len(shown(&r)) != 0 {
		t.Errorf("no fields show %v", shown(&r))
	}
	wantKind(t, apperr.Forbidden, second(cards.GetSelected(must[*store.Tx](t)(db.Session(as(t.Context(), tenantA, 8, auth.Nobody))), theirs.ID, sel)))
}
