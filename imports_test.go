// Package rowcall_test holds the rules for what may import what.
package rowcall_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rule says who may import a package, and why nobody else may. Paths stand for themselves and all below them.
type rule struct {
	imported string
	by       []string
	reason   string
}

var rules = []rule{
	{"rowcall/web/rowcall", nil, "it is a program"},
	{"rowcall/web", []string{"rowcall/web"}, "imports run one way, and nothing below web knows HTTP"},
	{"rowcall/rpc", []string{"rowcall/web", "rowcall/rpc"}, "imports run one way"},
	{"rowcall/model", []string{"rowcall/web", "rowcall/rpc", "rowcall/model"}, "nothing in modules knows an entity of the application"},
	{"rowcall/sqlscripts", []string{"rowcall/web/rowcall", "rowcall/rpc/rpctest", "rowcall/web/webtest"}, "only the program applies migrations, and the tests"},
	{"rowcall/modules/jsonrpc", []string{"rowcall/web", "rowcall/rpc", "rowcall/modules/jsonrpc"}, "nothing below rpc knows JSON-RPC"},
	{"rowcall/modules/pgdev", []string{"rowcall/web/rowcall", "rowcall/modules/store/storetest"}, "a private cluster is for development and tests"},
	{"rowcall/modules/textcrdt/trace", nil, "it is for tests and benchmarks"},
	{"rowcall/modules/store/storetest", []string{"rowcall/rpc/rpctest", "rowcall/web/webtest"}, "it is for tests"},
	{"rowcall/rpc/rpctest", nil, "it is for tests"},
	{"rowcall/web/webtest", nil, "it is for tests"},
	{"rowcall/modules/jsonrpc/jsonrpctest", nil, "it is for tests"},
	{"rowcall/modules/generate", []string{"rowcall/web/rowcall"}, "clients are made by the program"},
	{"rowcall/clients", []string{"rowcall/web/rowcall", "rowcall/examples"}, "a client is for programs, not for the server"},
	{"net/http", []string{"rowcall/web", "rowcall/modules/rpcclient", "rowcall/examples"}, "nothing below web knows HTTP"},
	{"github.com/gin-gonic/gin", []string{"rowcall/web"}, "the router could be replaced in a day"},
	{"github.com/coder/websocket", []string{"rowcall/web"}, "frames are the edge's"},
	{"github.com/lib/pq", []string{"rowcall/modules/store", "rowcall/modules/pgdev", "rowcall/modules/bus"}, "the driver could be replaced in a day; a node listens by it"},
	{"github.com/jmoiron/sqlx", []string{"rowcall/modules/store"}, "the driver could be replaced in a day"},
	{"github.com/doug-martin/goqu", []string{"rowcall/modules/store", "rowcall/modules/filter", "rowcall/model"},
		"it is no longer maintained and must be replaceable"},
	{"github.com/golang-jwt/jwt", []string{"rowcall/modules/auth"}, "tokens are made and checked in one place"},
	{"github.com/prometheus", []string{"rowcall/web/telemetry", "rowcall/modules/limit", "rowcall/modules/changelog"}, "what is counted is shown in one place; a module that counts is a collector"},
	{"go.opentelemetry.io", []string{"rowcall/web/telemetry"}, "spans are made in one place, from what jsonrpc and store tell their observers"},
	{"net/http/pprof", []string{"rowcall/web/telemetry"}, "profiles are for the admin listener"},
	{"github.com/pressly/goose", []string{"rowcall/modules/store"}, "migrations run in one place"},
	{"encoding/json", []string{"rowcall/modules/pgdev"}, "it takes the last of duplicate keys, and keys in any case; github.com/go-json-experiment/json does not"},
	{"unsafe", nil, "nothing here needs it"},
}

// tags are of the build whose imports are looked at.
var tags string

func TestImports(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-tags", tags, "-f", `{{.ImportPath}}: {{join .Imports " "}}`, "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		importer, imports, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for _, imported := range strings.Fields(imports) {
			for _, r := range rules {
				if !under(imported, r.imported) {
					continue
				}
				seen[r.imported] = true
				if !slices.ContainsFunc(r.by, func(allowed string) bool { return under(importer, allowed) }) {
					t.Errorf("%s may not import %s: %s", importer, imported, r.reason)
				}
			}
		}
	}
	for _, r := range rules {
		if len(r.by) > 0 && !seen[r.imported] {
			t.Errorf("nothing imports %s any more: take its rule away", r.imported)
		}
	}
}

func under(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}
