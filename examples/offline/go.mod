module rowcall/examples/offline

go 1.26.0

replace rowcall => ../..

require (
	filippo.io/age v1.3.2
	github.com/go-json-experiment/json v0.0.0-20260820222146-c27c302e5fc3
	github.com/google/uuid v1.6.0
	golang.org/x/crypto v0.58.0
	modernc.org/sqlite v1.61.1
	rowcall v0.0.0
)
