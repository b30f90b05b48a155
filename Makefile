# What can be done here. CI runs "make test check interop offline-test clients editor-test brokers".

GO            ?= go
GOLANGCI_LINT  = $(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME      ?= 5000x

.DEFAULT_GOAL := help
.PHONY: help run test check fmt lint build race fuzz interop offline-test clients brokers quick-dev offline editor editor-test bench golden generate recreate-db

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## serve on 127.0.0.1:8080, for development: a private Postgres, migrations, demo data
	@$(GO) build -o bin/rowcall ./web/rowcall
	@exec bin/rowcall dev

test: ## run the tests, on a private Postgres unless DATABASE_URL names one
	$(GO) test ./...

check: fmt lint build race fuzz ## all that must hold before a commit; CI runs it, and the tests of clients and examples

fmt:
	@files=$$(gofmt -l .); test -z "$$files" || { echo "gofmt these:"; echo "$$files"; exit 1; }

lint:
	$(GO) vet ./...
	$(GOLANGCI_LINT) run

build:
	$(GO) build ./...
	cd bench && $(GO) vet ./...

race:
	CGO_ENABLED=1 $(GO) test -race -shuffle=on ./...

# Each fuzz target for a while: a longer look is FUZZTIME=10m. The while is a number of runs, because Go 1.26 takes the end of a time for
# a failure now and then (https://go.dev/issue/75804). The files name the targets, as a test binary for each package takes long to link.
fuzz:
	@set -e; for dir in $$($(GO) list -f '{{.Dir}}' ./...); do \
		for target in $$(cat $$dir/*_test.go 2>/dev/null | sed -n 's/^func \(Fuzz[A-Za-z0-9]*\)(.*/\1/p'); do \
			echo "fuzz $$dir $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$dir; \
		done; \
	done

# Node is the one thing that these tests need beside Go.
interop: ## run clients that others wrote, from npm and Go modules, against the server; needs Node 20
	cd interop && npm ci --no-audit --no-fund --loglevel=error
	cd interop && $(GO) vet ./... && $(GO) test -count=1 ./...

# moto imitates SNS and SQS. These parts of it suffice; all of it is three times as large.
.data/moto/bin/moto_server:
	python3 -m venv .data/moto
	.data/moto/bin/pip install -q --disable-pip-version-check moto==5.1.22 flask==3.1.3 flask-cors==6.0.5

brokers: .data/moto/bin/moto_server ## test what -tags brokers adds; needs Python 3, and Debian's rabbitmq-server for RabbitMQ
	$(GO) vet -tags brokers ./modules/bus/... ./web/rowcall
	@test -x /usr/lib/rabbitmq/bin/rabbitmq-server || echo "RabbitMQ is not tested: install Debian's rabbitmq-server"
	MOTO_SERVER=$(CURDIR)/$< $(GO) test -tags brokers -count=1 . ./modules/bus/broker
	$(GO) test -tags brokers -count=1 -run 'TestBusURL|TestNodesByNATS' ./web/rowcall

quick-dev: ## run the quick_dev example against the server on 127.0.0.1:8080 (make run)
	@$(GO) run ./examples/quick_dev

offline: ## run the example of private notes against the server on 127.0.0.1:8080 (make run)
	@cd examples/offline && $(GO) run .

editor: ## serve the example of a text that several people edit, against the server on 127.0.0.1:8080 (make run); needs Node 20 and npm
	cd examples/editor && npm ci --no-audit --no-fund && npm run build && exec $(GO) run .

offline-test: ## test that example, which has a Go module of its own, against the server
	cd examples/offline && $(GO) vet ./... && $(GO) test -count=1 ./...

editor-test: ## test that page in Chromium, which is Debian's chromium, with the server; needs Node 20 and npm
	$(GO) build -o bin/rowcall ./web/rowcall
	cd clients/ts && npm ci --no-audit --no-fund && npm run build
	cd examples/editor && npm ci --no-audit --no-fund && npm run build && npm run check
	$(GO) build -o bin/editor ./examples/editor
	cd examples/editor && npm test

bench: ## requests per second beside pgbench and a hand-written handler, and text beside a gap buffer, as ratios
	cd bench && $(GO) run .

golden: ## write the golden files anew, after a wanted change
	$(GO) test ./rpc -run Golden -update

generate: ## write the generated parts of the clients anew, after a wanted change of the methods
	$(GO) run ./web/rowcall generate ts -o clients/ts/src
	$(GO) run ./web/rowcall generate go -o clients/go/api

clients: ## build the TypeScript client and test it against the server, and text that merges; needs Node 20 and npm
	$(GO) build -o bin/rowcall ./web/rowcall
	cd clients/ts && npm ci --no-audit --no-fund && npm run build && npm run check && npm test
	cd clients/textcrdt && npm ci --no-audit --no-fund && npm run build && npm test

recreate-db: ## drop the development database and make it anew, with the demo data
	@$(GO) run ./web/rowcall recreate-db
