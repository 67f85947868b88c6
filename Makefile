# Targets for people and for CI. `make` alone lists them.
#
# Only `make check` needs more than Go and make: the race detector wants a C compiler (.ci/run installs one). Whatever
# is built, tested or shown otherwise is built without cgo.

MODULE  := github.com/seriatim/seriatim
VERSION ?= $(or $(shell git describe --tags --always --dirty 2>/dev/null),dev)
BREAK   ?=
FUZZTIME ?= 2000x

# The version is passed in, so nothing has to be asked of git while building: a tarball builds as well as a clone.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
LDFLAGS := -X $(MODULE)/internal/version.Version=$(VERSION)
GO      := CGO_ENABLED=0 go
BUILD   := $(GO) build -trimpath -ldflags '$(LDFLAGS)'
TOOL    := CGO_ENABLED=0 go tool -modfile=tools/go.mod

.DEFAULT_GOAL := help
.PHONY: help build demo test check check-format check-vet check-lint check-staticcheck check-race check-e2e check-fuzz \
	check-mutants check-deployments check-sim soak bench fmt lint clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)$$/\1\t\2/p' $(MAKEFILE_LIST) | \
		while IFS="$$(printf '\t')" read -r name what; do printf '  make %-8s %s\n' "$$name" "$$what"; done

build: ## build bin/workerd, bin/coordinator and bin/history-child
	$(BUILD) -o bin/workerd ./workerd
	$(BUILD) -o bin/coordinator ./coordinator
	$(BUILD) -o bin/history-child ./examples/history/child

# A workerd without a rule has a folder of its own and never lies where a good one is expected. Which rules there are:
# make demo BREAK=help
demo: build ## replay a real history as jobs and prove the order; BREAK=<rule> shows that the proof would notice
ifeq ($(BREAK),)
	$(GO) run ./examples/history/demo --bin bin
else
	mkdir -p bin/without-$(BREAK) && cp bin/coordinator bin/history-child bin/without-$(BREAK)
	$(GO) build -trimpath -ldflags '$(LDFLAGS) -X $(MODULE)/streams/lane.broken=$(BREAK)' -o bin/without-$(BREAK)/workerd ./workerd
	$(GO) run ./examples/history/demo --bin bin/without-$(BREAK) --break $(BREAK)
endif

# Most tests wait for processes, leases and elections, not for a processor: more packages at once than there are cores.
TESTS_AT_ONCE ?= 4

test: ## run the tests; needs Go and make only
	$(GO) test -p $(TESTS_AT_ONCE) -timeout 30m ./...

# The parts of check stand in the order in which they fail soonest. The end-to-end tests are among those of `test`, in a
# few rounds; FULL=1 adds them in the size that their names promise, which alone takes several minutes.
check: check-format check-vet lint check-staticcheck test check-race check-mutants check-deployments check-fuzz check-sim $(if $(FULL),check-e2e) ## run all that CI runs; FULL=1 adds the full end-to-end rounds
	@echo "check: all passed"

# In the tests that it runs, a tool that is missing is a failure.
check: export SERIATIM_TOOLS := 1

check-format:
	@bad=$$(gofmt -l . && $(TOOL) gofumpt -l .) || exit 1; \
	if [ -n "$$bad" ]; then echo "not formatted (make fmt does it):"; echo "$$bad" | sort -u; exit 1; fi

check-vet:
	$(GO) vet ./...

check-staticcheck:
	$(TOOL) staticcheck ./...

# What drives binaries builds them itself, and with the race detector when it runs with it: of those tests the ones in
# which most happens at once. Those of the guardian that are left out wait most of the time, for minutes with the detector.
check-race:
	CGO_ENABLED=1 go test -p $(TESTS_AT_ONCE) -race -timeout 30m -skip 'TestScenario(04|05|10|17)|TestStatuses$$' $$(go list ./... | grep -v -e /e2e -e /bench$$ -e /deployments$$) ./e2e/record ./e2e/fleet
	CGO_ENABLED=1 go test -race -timeout 30m -run 'TestHistory|TestHandOver' ./e2e

# Workers that were built without a rule, for real. `test` has one under chaos; the others are behind FULL=1 and in the
# simulator.
check-mutants:
	SERIATIM_MUTANTS=kill-at-end $(GO) test -timeout 20m -run TestMutants -v ./e2e

# The manifests are decoded with the API's own types, which are a module apart because they are heavy.
check-deployments:
	cd deployments/kubernetes/check && $(GO) vet ./... && $(GO) test ./...

check-e2e:
	SERIATIM_FULL=1 $(GO) test -timeout 40m ./e2e

# The fuzzer takes one target at a time; a package's program is built once. What it finds is written below testdata/fuzz.
check-fuzz:
	@set -e; bin=$$(mktemp -d); trap 'rm -rf "$$bin"' EXIT; \
	grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n 1 dirname | sort -u | while read -r dir; do \
		$(GO) test -c -fuzz . -o "$$bin/fuzz.test" "$$dir"; \
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$dir"/*_test.go | while read -r name; do \
			echo "fuzz $$dir $$name"; \
			(cd "$$dir" && "$$bin/fuzz.test" -test.run '^$$' -test.fuzz "^$$name\$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$$bin/cache"); \
		done; \
	done

# More seeds than `test` plays, and others.
check-sim:
	$(GO) test -timeout 20m ./streams/lane/sim -run TestSeeds -from 31 -seeds 40

soak: ## run the full rounds (long) and write a dated table to docs/proof/
	./.ci/soak

bench: ## measure, beside a plain work queue in the same run
	$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 30m ./bench

fmt: ## format all Go code
	$(TOOL) gofumpt -w .

lint: ## run the linters
	$(TOOL) golangci-lint run ./...

clean: ## remove what was built
	rm -rf bin .demo
