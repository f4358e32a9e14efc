# Type make for a list of targets. Upgrade modules one by one, by name, never all at
# once: one of them is available only at its exact version.
SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZRUNS ?= 100000
DURATION ?= 10m
PACKAGES ?= ./...
COMPOSE  ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

GO_FILES  = $(shell git ls-files -- '*.go')
LDFLAGS   = -s -w -X main.version=$(VERSION)
TEST      = go test -timeout 10m
INTEROP   = cmd/grantd/testdata/interop

# Under CI a skipped test fails the run.
ifeq ($(CI),true)
NOSKIP    = -json | go run ./.ci/noskip/main.go
endif

# Packages whose tests name requirements, such as 6749-5.2-03.
TRACED    = $(addprefix ./,$(sort $(dir $(shell git grep -lE '"[^"]*\b([0-9]{4}|PW)-[0-9A-Z][0-9A-Za-z.-]*-[0-9]{2}\b' -- '*_test.go' ':!.ci'))))
# The flags are those of make test in CI, so that Go takes the results from its cache.
TRACE     = mkdir -p bin; $(TEST) -json $(TRACED) | tee bin/trace.json | go run ./.ci/noskip/main.go

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build bin/grantd, one static program
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/grantd ./cmd/grantd

.PHONY: run
run: ## Start a demo server on http://127.0.0.1:8080; it needs no other server
	go run ./cmd/grantd dev

.PHONY: test
test: ## Run all tests (they start their own Redis servers: see deps)
	$(TEST) $(PACKAGES) $(NOSKIP)
	@.ci/missing

.PHONY: interop
interop: $(INTEROP)/node_modules/.package-lock.json ## Run other people's OAuth clients against grantd (see deps)
	$(TEST) -count 1 -tags interop -run '^TestInterop$$|^TestFormWithoutAClient$$|^TestEndToEnd$$/^embedded$$' ./cmd/grantd $(NOSKIP)

.PHONY: race
race: ## Run all tests under the race detector (needs a C compiler)
	$(TEST) -race $(PACKAGES) $(NOSKIP)
	@.ci/missing

.PHONY: cover
cover: ## Run all tests and print the coverage of each function
	@mkdir -p bin
	$(TEST) -coverpkg=./... -coverprofile=bin/cover.out $(PACKAGES)
	go tool cover -func=bin/cover.out

.PHONY: fuzz
fuzz: ## Run every fuzz target; they share FUZZRUNS (100000) executions
	.ci/fuzz $(FUZZRUNS)

.PHONY: bench
bench: build ## Measure grantd, bare handlers and stock go-oauth2, and write bench/README.md and its chart
	go -C bench run . -grantd '$(CURDIR)/bin/grantd' -write README.md

.PHONY: bench-revoke
bench-revoke: build ## Measure revocations among a million live grants, and write bench/REVOKE.md
	go -C bench run . revoke -grantd '$(CURDIR)/bin/grantd' -write REVOKE.md

.PHONY: bench-scale
bench-scale: build ## Measure the same calls with few and with up to ten million grants, and write bench/SCALE.md
	go -C bench run . scale -grantd '$(CURDIR)/bin/grantd' -write SCALE.md

.PHONY: faults
faults: ## Kill, stop and fill Redis, nodes and disks under load, and write bench/FAULTS.md
	go test -count 1 -timeout 30m ./internal/faults -long -write '$(CURDIR)/bench/FAULTS.md'

.PHONY: soak
soak: ## Send requests of all kinds to both stores for DURATION (10m), and look for leaks
	SOAK=$(DURATION) go test -count 1 -timeout 0 -v -run '^TestSoak$$' ./cmd/grantd

.PHONY: lint
lint: bin/golangci-lint ## Check the code, the import law (.golangci.yml) and the list of tracked files
	@# golangci-lint drops all findings in paths that begin with the text of GOCACHE: /tmp/go-src, if that is /tmp/go.
	@case '$(CURDIR)' in "$$(go env GOCACHE)"*) echo 'lint: GOCACHE must not be the beginning of $(CURDIR)'; exit 1;; esac
	.ci/tree
	bin/golangci-lint run ./... ./.ci/conformance ./.ci/noskip
	cd bench && ../bin/golangci-lint run

.PHONY: law
law: bin/golangci-lint ## Show that the linter finds every breach of the import law
	.ci/law

.PHONY: vuln
vuln: bin/govulncheck ## Look for known vulnerabilities (asks vuln.go.dev)
	bin/govulncheck ./...

.PHONY: conformance
conformance: ## Write the pages that trace requirements to tests (.ci/conformance)
	$(TRACE)
	go run ./.ci/conformance <bin/trace.json

.PHONY: verify
verify: ## Check go.mod, go.sum, formatting, go vet, and that tests trace the requirements
	go mod tidy -diff
	go mod verify
	@test -z "$$(gofmt -l $(GO_FILES))" || { echo 'gofmt would change:'; gofmt -l $(GO_FILES); exit 1; }
	go vet -tags interop ./... ./.ci/conformance ./.ci/noskip
	go -C bench vet ./...
	go -C bench test ./...
	go test ./.ci/conformance
	$(TRACE)
	go run ./.ci/conformance -check <bin/trace.json

.PHONY: up
up: ## Start Redis, the authorization server (8080) and the resource server (8081)
	VERSION=$(VERSION) $(COMPOSE) up --build --detach

.PHONY: down
down: ## Stop the services that up started; the volumes stay
	$(COMPOSE) down

.PHONY: image
image: build ## Build the last stage of the Dockerfile with buildah and check it
	.ci/image

.PHONY: deps
deps: ## Install the missing Debian packages that tests and images need
	.ci/deps

# The tools are built anew only when .ci/tools/go.mod pins other versions.
bin/golangci-lint bin/govulncheck &: .ci/tools/go.mod .ci/tools/go.sum
	GOBIN=$(CURDIR)/bin go -C .ci/tools install tool
	@touch bin/golangci-lint bin/govulncheck

# npm ci installs exactly the packages of package-lock.json.
$(INTEROP)/node_modules/.package-lock.json: $(INTEROP)/package.json $(INTEROP)/package-lock.json
	@command -v npm >/dev/null || { echo 'interop: npm is missing: make deps'; exit 1; }
	npm ci --prefix $(INTEROP)
	@touch $@
