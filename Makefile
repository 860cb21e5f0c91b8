# Everything a person does with Tandem; `make help` lists it. Needs Go; Linux.

GO      ?= go
VERSION := $(shell scripts/version)
COMMIT  := $(shell scripts/version commit)
export VERSION COMMIT

LDFLAGS  := -s -w -X tandem/internal/buildinfo.Version=$(VERSION) -X tandem/internal/buildinfo.Commit=$(COMMIT)
BUILD    := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/
# PID 1 is rather small than fast: its memory is its executable (docs/adr/0060). The same in Dockerfile.
SMALL    := -gcflags 'tandem/...=-l' -ldflags '-funcalign=8 $(LDFLAGS)'
# How long make soak takes; in make check the same test takes a minute.
soak: SOAK ?= 30m
# How many troubles make chaos makes, with 25 messages each way for each; in make check there are six.
chaos: CHAOS ?= 200
# How long make siege attacks, a quarter for each database and each way to come.
siege: SIEGE ?= 10m
# How many messages make bench-big has, in turn.
bench-big: BIG ?= 1000,30000,1000000
# Their tests start processes and watch the clock. With the race detector, which wants the processors itself, two
# packages are enough at a time. Without it they mostly wait.
TEST     := scripts/test -timeout 40m

.DEFAULT_GOAL := help
.PHONY: help demo run test check steady soak chaos siege bench bench-big bench-init image build fmt setup clean

help: ## what can be done here
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## the whole main job on this machine: init, web, bot and a local Telegram; Ctrl-C ends it
	@$(BUILD) ./cmd/simulator ./cmd/demo
	@exec bin/demo

run: build ## the same with real Telegram: TELEGRAM_BOT_TOKEN=... make run
	@$(BUILD) ./cmd/demo
	@exec bin/demo -real

test: ## every test that this machine can run; says what it skipped and why
	@$(TEST) -p 3 -parallel 4

check: ## formatting, vet, staticcheck and the tests with the race detector: what CI runs
	@unformatted=$$(gofmt -l cmd internal test) && [ -z "$$unformatted" ] || \
		{ echo "not formatted (make fmt): $$unformatted" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -C test/kubernetes ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	cd test/kubernetes && $(GO) tool -modfile=../../tools/go.mod staticcheck ./...
	@$(TEST) -p 2 -race -shuffle=on
	@SIEGE=20s $(GO) test -count=1 -v -timeout 20m -run '^TestSiege$$' ./test

steady: ## each package 10 times quiet and 10 times with busy cores; goes on where it was (PKG=./internal/web RUNS=3)
	@scripts/steady

soak: ## half an hour of random abuse of init (SOAK=5m make soak: five minutes); nothing may leak
	@SOAK=$(SOAK) $(GO) test -count=1 -v -timeout 0 -run '^TestSoak$$' ./cmd/init

chaos: ## three hosts in trouble, 200 times (CHAOS=20 make chaos: 20); each message once, no answer twice (as root)
	@CHAOS=$(CHAOS) $(GO) test -race -count=1 -v -timeout 0 -run '^TestThreeHostsInTrouble$$' ./test

siege: ## ten minutes of attack (SIEGE=1m make siege: one); a well-behaved client beside it must not notice
	@SIEGE=$(SIEGE) $(GO) test -count=1 -v -timeout 0 -run '^TestSiege$$' ./test

bench: build ## how fast and how large it is beside the least that would do, and 1, 2 and 4 webs, in Markdown
	@$(GO) run ./test/bench -bin bin

bench-big: build ## what list, answer and searches cost at 1,000, 30,000 and a million messages (BIG=1000,30000: two)
	@$(GO) run ./test/bench/big -bin bin -sizes $(BIG) -svg docs/benchmarks-big.svg

bench-init: build ## init beside tini, s6, runit and four others, in Markdown (as root; sudo scripts/setup bench)
	@$(GO) run ./test/bench/init -bin bin

image: ## the container image tandem:dev
	@scripts/image

build: ## bin/init, bin/web and bin/bot: static, stripped, with version and commit inside
	@$(BUILD) ./cmd/web ./cmd/bot
	@$(BUILD) $(SMALL) ./cmd/init

fmt: ## formats the Go files
	@gofmt -w cmd internal test

setup: ## what the tests can use beside Go, from Debian's packages (as root)
	@scripts/setup

clean: ## removes bin/; the state of demo and run in var/ stays
	@rm -rf bin
