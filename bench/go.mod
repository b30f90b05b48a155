module rowcall/bench

go 1.26.0

require (
	github.com/jackc/pgx/v5 v5.12.0
	rowcall v0.0.0
)

replace rowcall => ../
