package store_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"rowcall/modules/auth"
	"rowcall/modules/filter"
	"rowcall/modules/store"
)

// leaf is an entity with UUIDs for ids and references, that can be searched.
type leaf struct {
	store.Base[uuid.UUID]
	Name   string         `db:"name"   json:"name"      write:"create,update"`
	Parent *uuid.UUID     `db:"parent" json:"parent_id" write:"create" ref:"leaf" many:"kids"`
	J      jsontext.Value `db:"j"      json:"j"         write:"create,update" index:"gin"`
}

var leaves = store.NewRepo[leaf]("leaf", store.Access{Read: auth.Member, Write: auth.Member}, store.Search(), store.Unique("parent_id", "name"))

func TestRowsWithUUIDs(t *testing.T) {
	t.Parallel()
	db := newDB(t)
	db.Exec(t, `CREATE TABLE leaf (
		tenant_id uuid NOT NULL, id uuid NOT NULL, name text COLLATE "C" NOT NULL, parent uuid, j jsonb,
		version bigint NOT NULL, cid bigint NOT NULL, ctime timestamptz NOT NULL, mid bigint NOT NULL, mtime timestamptz NOT NULL,
		PRIMARY KEY (tenant_id, id), UNIQUE NULLS NOT DISTINCT (tenant_id, parent, name), FOREIGN KEY (tenant_id, parent) REFERENCES leaf (tenant_id, id));
		CALL tenant_table('leaf');
		CALL search_index('leaf', 'simple', 'name');
		CALL json_index('leaf', 'j')`)
	tx := session(t, db, tenantA)
	var made []leaf
	for i := range 10 {
		l := leaf{Name: fmt.Sprint("leaf", i), J: jsontext.Value(fmt.Sprintf(`{"n":%d}`, i))}
		if i > 0 {
			l.Parent = &made[(i-1)/3].ID
		}
		made = append(made, must[leaf](t)(leaves.Create(tx, l)))
	}
	s := leaves.Schema()
	names := func(o store.ListOptions, filters string) (out []string) {
		t.Helper()
		o.Filter = must[*filter.Filter](t)(filter.Parse([]byte(filters), s, ""))
		for {
			page := must[store.Page[leaf]](t)(leaves.List(tx, o))
			for _, l := range page.Rows {
				out = append(out, l.Name[len("leaf"):])
			}
			if page.NextCursor == nil {
				return out
			}
			o.Cursor = *page.NextCursor
		}
	}
	order := func(raw string) *filter.Order { return must[*filter.Order](t)(filter.ParseOrder([]byte(raw), s, "")) }
	for _, c := range []struct {
		o       store.ListOptions
		filters string
		want    string
	}{
		{store.ListOptions{Limit: new(int64(3))}, `{}`, "[0 1 2 3 4 5 6 7 8 9]"},
		{store.ListOptions{Limit: new(int64(4)), Order: order(`"!id"`)}, `{}`, "[9 8 7 6 5 4 3 2 1 0]"},
		{store.ListOptions{Limit: new(int64(2)), Order: order(`["!parent_id","!parent.name","name"]`)}, `{}`, "[0 7 8 9 4 5 6 1 2 3]"},
		{store.ListOptions{}, `{"parent.parent.name":"leaf0"}`, "[4 5 6 7 8 9]"},
		{store.ListOptions{}, `{"kids":{"$some":{"j.n":8}}}`, "[2]"},
		{store.ListOptions{}, `{"kids":{"$none":{}}}`, "[3 4 5 6 7 8 9]"},
		{store.ListOptions{}, `{"j.n":7}`, "[7]"},
		{store.ListOptions{Limit: new(int64(1))}, `{"$search":"leaf3 or leaf5"}`, "[3 5]"},
		{store.ListOptions{}, `{"parent":null}`, "[0]"},
		{store.ListOptions{}, fmt.Sprintf(`{"parent_id":%q}`, made[2].ID), "[7 8 9]"},
		{store.ListOptions{}, fmt.Sprintf(`{"id":{"$in":[%q,%q]}}`, made[2].ID, made[1].ID), "[1 2]"},
	} {
		if got := fmt.Sprint(names(c.o, c.filters)); got != c.want {
			t.Errorf("%s: %s, want %s", c.filters, got, c.want)
		}
	}

	sel := must[*filter.Selection](t)(filter.ParseSelection([]byte(`["name"]`), []byte(`{"parent":{"fields":["name"]},"kids":{"limit":2,"order_bys":"!name","fields":["id"]}}`), s, ""))
	record := must[store.Record](t)(leaves.GetSelected(tx, made[1].ID, sel))
	if one := record.Refs[0].One; one == nil || one.Row.Interface().(leaf).ID != made[0].ID {
		t.Errorf("the parent: %+v", one)
	}
	if kids := record.Refs[1].Rows; len(kids) != 2 || kids[0].Row.Interface().(leaf).ID != made[6].ID {
		t.Errorf("the kids: %+v", kids)
	}

	a := must[*filter.Aggregation](t)(filter.ParseAggregation(filter.AggregationParams{
		GroupBy: []byte(`["parent_id"]`), Aggregates: []byte(`{"n":"count","ids":{"count_distinct":"id"}}`),
		Having: fmt.Appendf(nil, `{"parent_id":{"$in":[%q,null]}}`, made[1].ID),
	}, s, ""))
	if g := must[store.Groups](t)(leaves.Aggregate(tx, a, nil)); len(g.Rows) != 2 || g.Rows[0][0] != made[1].ID || fmt.Sprint(g.Rows[0][1:]) != "[3 3]" || g.Rows[1][0] != nil {
		t.Errorf("groups: %v", g)
	}

	f := must[*filter.Filter](t)(filter.Parse([]byte(`{"parent.name":"leaf2"}`), s, ""))
	rows := must[[]leaf](t)(leaves.UpdateAll(tx, f, store.Set{"j": jsontext.Value(`{"n":0}`)}))
	if len(rows) != 3 || !slices.IsSortedFunc(rows, func(a, b leaf) int { return slices.Compare(a.ID[:], b.ID[:]) }) {
		t.Errorf("updated %v", rows)
	}
	again := must[leaf](t)(leaves.Upsert(tx, store.Set{"parent_id": made[0].ID, "name": "leaf1", "j": jsontext.Value(`{}`)}, []string{"name", "parent_id"}))
	if again.ID != made[1].ID || again.Version != 2 || string(again.J) != "{}" {
		t.Errorf("upserted %+v", again)
	}
	if gone := must[[]leaf](t)(leaves.DeleteMatching(tx, must[*filter.Filter](t)(filter.Parse([]byte(`{"kids":{"$none":{}}}`), s, "")))); len(gone) != 7 {
		t.Errorf("deleted %d", len(gone))
	}
}
