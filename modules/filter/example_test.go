package filter_test

import (
	"fmt"

	"github.com/doug-martin/goqu/v9"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

func Example() {
	tasks := filter.NewSchema(filter.Entity{Name: "task", Table: "task", Fields: []filter.Field{
		{Name: "id", Column: "id", Type: filter.Int},
		{Name: "title", Column: "title", Type: filter.String},
	}})
	f, err := filter.Parse([]byte(`{"title": {"$notContains": "100%"}, "id": {"$in": [3, 4]}}`), tasks, "params.filters")
	if err != nil {
		panic(err)
	}
	order, err := filter.ParseOrder([]byte(`"!title"`), tasks, "params.list_options.order_bys")
	if err != nil {
		panic(err)
	}
	text, _, err := goqu.Dialect("postgres").From(goqu.T("task").As(filter.Root)).Prepared(true).
		Select("id").Where(f.Where(false)).Order(order.Expressions(false)...).ToSQL()
	if err != nil {
		panic(err)
	}
	fmt.Println(text)
	fmt.Println(f.Args(nil, false, 0))

	_, err = filter.Parse([]byte(`[{"title": {"$contans": "BB"}}]`), tasks, "params.filters")
	issue := apperr.From(err).Issues()[0]
	fmt.Println(issue.Path, issue.Reason)
	// Output:
	// SELECT "id" FROM "task" AS "r0" WHERE (("r0"."title" LIKE $1::text) IS NOT TRUE AND "r0"."id" = ANY($2::bigint[])) ORDER BY "r0"."title" DESC, "r0"."id" ASC
	// [%100\%% [3 4]]
	// params.filters[0].title.$contans is not an operator of a string; did you mean $contains?
}
