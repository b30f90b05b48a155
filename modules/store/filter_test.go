package store_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"

	"rowcall/modules/apperr"
	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// The filters' laws, against a real Postgres: a filter finds the rows that meaning, a plain evaluation of the contract's
// words, finds; and a filter and its negation share the rows out between them.

func TestFiltersFindWhatTheyMean(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		v := w.draw(rt)
		entity := rapid.SampledFrom([]string{"thing", "card"}).Draw(rt, "entity")
		f := drawFilter(rt, entity)
		found := v.find(rt, entity, f)
		if want := v.meaning.find(entity, f); !slices.Equal(found, want) {
			rt.Fatalf("as %s, %s finds %v, but means %v", v.tx.Actor.Role, encode(f), v.show(entity, found), v.show(entity, want))
		}
		v.shareOut(rt, entity, found, v.find(rt, entity, map[string]any{"$not": map[string]any{"$or": groups(f)}}))
	})
}

// Of each operator and its negation, exactly one holds for each row: on a field, through references and on a path in JSON.
func TestEachOperatorAndItsNegation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	v := w.views[0]
	try := func(entity, name string, k kind, times int) {
		operators := operatorsAt(entity, name)
		for _, op := range operators {
			negation := negationOf(op)
			if negation != "" && !slices.Contains(operators, negation) {
				t.Errorf("%s: %s has no negation", name, op)
			}
			operands := rapid.Custom(func(rt *rapid.T) any { return drawOperand(rt, k, op) })
			for seed := range times {
				operand := operands.Example(seed)
				f := map[string]any{name: map[string]any{op: operand}}
				found := v.find(t, entity, f)
				if want := v.meaning.find(entity, f); !slices.Equal(found, want) {
					t.Errorf("%s finds %v, but means %v", encode(f), v.show(entity, found), v.show(entity, want))
				}
				if negation != "" {
					v.shareOut(t, entity, found, v.find(t, entity, map[string]any{name: map[string]any{negation: operand}}))
				}
			}
		}
	}
	for field, k := range kinds["thing"] {
		try("thing", field, k, 8)
		try("thing", "boss."+field, k, 2)
		try("card", "thing.boss."+field, k, 1)
	}
	for _, path := range []string{"j.a", "k.a", "j.b.0", "boss.k.a.b", "boss.j.1"} {
		try("thing", path, jsonPaths, 4)
	}
	try("thing", "card.name", texts, 2)
}

// An index must not be seen in what is found.
func TestIndexedJSONFindsTheSameRows(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	rapid.Check(t, func(rt *rapid.T) {
		path := drawPath(rt)
		condition := drawCondition(rt, jsonPaths)
		v := w.views[0]
		unindexed := v.find(rt, "thing", map[string]any{"j." + path: condition})
		if indexed := v.find(rt, "thing", map[string]any{"k." + path: condition}); !slices.Equal(indexed, unindexed) {
			rt.Fatalf("%s: %s: %v with the index, %v without", path, encode(condition), v.show("thing", indexed), v.show("thing", unindexed))
		}
	})
}

func TestSearchRanksTheBestMatchFirst(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	tx := session(t, db, tenantA)
	var ids []int64
	for i, words := range []string{"red green blue blue blue", "red", "green", "red red red", "blue"} {
		ids = append(ids, must[thing](t)(things.Create(tx, thing{Label: fmt.Sprint(i), W: &words})).ID)
		must[thing](t)(things.Create(session(t, db, tenantB), thing{Label: fmt.Sprint(i), W: &words}))
	}
	page := must[store.Page[thing]](t)(things.List(tx, store.ListOptions{Filter: parsed(t, `{"$search":"red"}`)}))
	if got := idsOf(page.Rows); !slices.Equal(got, []int64{ids[3], ids[0], ids[1]}) && !slices.Equal(got, []int64{ids[3], ids[1], ids[0]}) {
		t.Errorf("%v of %v", got, ids)
	}
	page = must[store.Page[thing]](t)(things.List(tx, store.ListOptions{
		Filter: parsed(t, `{"$search":"red"}`), Order: must[*filter.Order](t)(filter.ParseOrder([]byte(`"!id"`), things.Schema(), "")),
	}))
	if got := idsOf(page.Rows); !slices.Equal(got, []int64{ids[3], ids[1], ids[0]}) {
		t.Errorf("%v of %v", got, ids)
	}
}

func parsed(t rapid.TB, raw string) *filter.Filter {
	t.Helper()
	f, err := filter.Parse([]byte(raw), things.Schema(), "params.filters")
	if err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return f
}

func TestOrdersSortNullsLastAscendingAndFirstDescending(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, v := range w.views {
		for _, name := range []string{"n", "f", "b", "s", "t", "u", "boss.n", "boss.s", "boss.boss.t", "card.name", "card.thing.f", "boss.card.owner_id"} {
			for _, prefix := range []string{"", "!"} {
				order, err := filter.ParseOrder([]byte(`"`+prefix+name+`"`), things.Schema(), "")
				if err != nil {
					t.Fatal(err)
				}
				page, err := things.List(v.tx, store.ListOptions{Order: order})
				if err != nil {
					t.Fatal(err)
				}
				want := v.meaning.sorted([]string{prefix + name}, v.meaning.rows["thing"])
				if got := idsOf(page.Rows); !slices.Equal(got, want) {
					t.Errorf("as %s, %q: %v, want %v", v.tx.Actor.Role, prefix+name, got, want)
				}
			}
		}
	}
}

// key returns the value of a sort key.
func (m meaning) key(r *record, name string) any {
	for {
		first, rest, dotted := strings.Cut(name, ".")
		if !dotted || r == nil {
			return r.get(name)
		}
		if r = m.one(r, relations[r.entity][first]); r == nil {
			return nil
		}
		name = rest
	}
}

// sorted returns the ids of things in an order, whose last key is the id.
func (m meaning) sorted(order []string, rows []*record) []int64 {
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b *record) int {
		for _, name := range order {
			name, desc := strings.CutPrefix(name, "!")
			c := compareNullsLast(m.key(a, name), m.key(b, name))
			if desc {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return cmp.Compare(a.id(), b.id())
	})
	sorted := []int64{}
	for _, r := range rows {
		sorted = append(sorted, r.id())
	}
	return sorted
}

func compareNullsLast(a, b any) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return compare(a, b)
}

// world is rows that refer to each other, as two actors of their tenant see them, beside other rows of another tenant with the
// same ids.
type world struct{ views []*view }

type view struct {
	tx      *store.Tx
	meaning meaning
}

func newWorld(t *testing.T) *world {
	db := newDB(t)
	drawn, drawnCards := rapid.Custom(drawThing), rapid.Custom(drawCard)
	var made []thing
	for i := range 150 {
		r := drawn.Example(i)
		r.Label = fmt.Sprint(i)
		made = append(made, r)
	}
	admin, err := db.Session(as(t.Context(), tenantA, 8, auth.Admin))
	if err != nil {
		t.Fatal(err)
	}
	must[[]thing](t)(things.CreateAll(admin, made))
	var hands []card
	for i := range 60 {
		c := drawnCards.Example(i)
		c.Name = fmt.Sprint(c.Name, i)
		hands = append(hands, c)
	}
	must[[]card](t)(cards.CreateAll(admin, hands))
	// A third of the things has no boss; a boss may be one's own. Some cards that are referred to are not there.
	db.Exec(t, `
		UPDATE thing SET boss = (SELECT min(id) FROM thing) + (id * id * 7) % 40 WHERE id % 3 > 0;
		UPDATE thing SET card = (SELECT min(id) FROM card) + (id * 11) % 66 WHERE id % 5 > 1;
		UPDATE card SET thing = (SELECT min(id) FROM thing) + (id * 13) % 25 WHERE id % 4 > 0;
		INSERT INTO thing (tenant_id, id, label, n, f, b, s, t, u, j, owner, boss, card, k, w, seal, version, cid, ctime, mid, mtime)
		SELECT '`+tenantB.String()+`', coalesce(lag(id) OVER w, last_value(id) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)),
			label, n, f, b, s, t, u, j, owner, boss, card, k, w, seal, version, cid, ctime, mid, mtime
		FROM thing WINDOW w AS (ORDER BY id);
		INSERT INTO card (tenant_id, id, owner_id, thing, name, suit, secret, version, cid, ctime, mid, mtime)
		SELECT '`+tenantB.String()+`', id + 1, owner_id, thing, name, suit, secret, version, cid, ctime, mid, mtime FROM card`)
	member := session(t, db, tenantA)
	w := &world{}
	for _, tx := range []*store.Tx{member, admin} {
		m := meaning{t, db.Owner(t), map[string]string{}, map[string][]*record{}}
		m.rows["thing"] = recordsOf("thing", must[store.Page[thing]](t)(things.List(tx, store.ListOptions{})).Rows)
		m.rows["card"] = recordsOf("card", must[store.Page[card]](t)(cards.List(tx, store.ListOptions{})).Rows)
		w.views = append(w.views, &view{tx, m})
	}
	own, all := w.views[0].meaning.rows, w.views[1].meaning.rows
	if len(own["thing"]) != 150 || len(own["card"]) == 0 || len(own["card"]) >= 60 || len(all["card"]) != 60 {
		t.Fatalf("a world of %d things and %d of %d cards", len(own["thing"]), len(own["card"]), len(all["card"]))
	}
	return w
}

func (w *world) draw(t *rapid.T) *view { return w.views[rapid.IntRange(0, 1).Draw(t, "view")] }

// find returns the ids of the rows that the store finds, ascending.
func (v *view) find(t rapid.TB, entity string, f any) []int64 {
	schema := map[string]*filter.Schema{"thing": things.Schema(), "card": cards.Schema()}[entity]
	parsed, err := filter.Parse(encode(f), schema, "params.filters")
	if err != nil {
		t.Fatalf("%s: %v", encode(f), err)
	}
	o := store.ListOptions{Filter: parsed, Order: schema.ByID()}
	if entity == "card" {
		page, err := cards.List(v.tx, o)
		if err != nil {
			t.Fatalf("%s: %v", encode(f), err)
		}
		return idsOf(page.Rows)
	}
	page, err := things.List(v.tx, o)
	if err != nil {
		t.Fatalf("%s: %v", encode(f), err)
	}
	return idsOf(page.Rows)
}

func (v *view) shareOut(t rapid.TB, entity string, a, b []int64) {
	var all []int64
	for _, r := range v.meaning.rows[entity] {
		all = append(all, r.id())
	}
	if both := slices.Sorted(slices.Values(slices.Concat(a, b))); !slices.Equal(both, all) {
		t.Fatalf("%d and %d of %d rows: not each row once", len(a), len(b), len(all))
	}
}

// operatorsAt returns the operators of a field, as a mistake tells them.
func operatorsAt(entity, field string) []string {
	schema := map[string]*filter.Schema{"thing": things.Schema(), "card": cards.Schema()}[entity]
	_, err := filter.Parse(fmt.Appendf(nil, `{%q: {"$?": 0}}`, field), schema, "")
	return apperr.From(err).Issues()[0].Allowed
}

func (v *view) show(entity string, found []int64) []string {
	out := []string{}
	for _, r := range v.meaning.rows[entity] {
		if slices.Contains(found, r.id()) {
			row, _ := json.Marshal(r.values)
			out = append(out, string(row))
		}
	}
	return out
}

func idsOf[E interface{ id() int64 }](rows []E) []int64 {
	out := []int64{}
	for _, r := range rows {
		out = append(out, r.id())
	}
	return out
}

func (t thing) id() int64 { return t.ID }
func (c card) id() int64  { return c.ID }

func encode(f any) jsontext.Value {
	raw, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return raw
}

// groups returns a filter as the groups of which one must hold.
func groups(f any) []any {
	if list, ok := f.([]any); ok {
		return list
	}
	return []any{f}
}
