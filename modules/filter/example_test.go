package filter_test

import (
	"fmt"

	"github.com/doug-martin/goqu/v9"

	"rowcall/modules/apperr"
	"rowcall/modules/filter"
)

func Example() {
	tasks := filter.NewSchema(
		filter.Field{Name: "id", Column: "id", Type: filter.Int},
		filter.Field{Name: "title", Column: "title", Type: filter.String},
	)
	f, err := filter.Parse([]byte(`{"title": {"$notContains": "100%"}, "id": {"$in": [3, 4]}}`), tasks, "params.filters")
	if err != nil {
		panic(err)
	}
	order, err := filter.ParseOrder([]byte(`"!title"`), tasks, "params.list_options.order_bys")
	if err != nil {
		panic(err)
	}
	text, _, err := goqu.Dialect("postgres").From("task").Prepared(true).
		Select("id").Where(f.Where()).Order(order.Expressions()...).ToSQL()
	if err != nil {
		panic(err)
	}
	fmt.Println(text)
	fmt.Println(f.Args(nil))

	_, err = filter.Parse([]byte(`[{"title": {"$contans": "BB"}}]`), tasks, "params.filters")
	issue := apperr.From(err).Issues()[0]
	fmt.Println(issue.Path, issue.Reason)
	// Output:
	// SELECT "id" FROM "task" WHERE (("title" LIKE $1::text) IS NOT TRUE AND "id" = ANY($2::bigint[])) ORDER BY "title" DESC, "id" ASC
	// [%100\%% [3 4]]
	// params.filters[0].title.$contans is not an operator of a string; did you mean $contains?
}
