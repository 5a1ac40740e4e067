# Everything that is done with this tree more than once. The work is in scripts/, so that it can be read and run alone.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# ARGS goes to the program behind demo, run and bench: make demo ARGS="-keep".
ARGS ?=
# FUZZTIME is how long verify fuzzes each target.
FUZZTIME ?= 3s

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## record two calls end to end on this machine and leave the MP4s in ./demo
	@scripts/demo.sh $(ARGS)

.PHONY: test
test: ## the whole proof: missing tools, generated code, vet, all tests with the race detector, real servers and browser, the SDK
	@scripts/test.sh full

.PHONY: test-fast
test-fast: ## the cores only, without race detector: under a minute
	@scripts/test.sh fast

.PHONY: test-long
test-long: ## all that test does, then the long runs (DUALREC_LONG=1): hours of media, soak, load
	@scripts/test.sh long

.PHONY: build
build: ## compile ./bin/dualrec
	@go build -o bin/dualrec .

.PHONY: run
run: build ## compile and serve with the defaults (ARGS="--dev --listen 127.0.0.1:8080")
	@exec ./bin/dualrec serve $(ARGS)

.PHONY: bench
bench: ## Go benchmarks as a table, then the end-to-end bench
	@scripts/bench.sh $(ARGS)

.PHONY: verify
verify: ## vet, linters, generated code, known vulnerabilities, a short run of every fuzz target
	@FUZZTIME=$(FUZZTIME) scripts/verify.sh

.PHONY: generate
generate: ## write the generated code anew: ent first, then GraphQL
	@scripts/generate.sh

.PHONY: clean
clean: ## remove what building and the demo leave in the tree (never ./data)
	@rm -rf bin demo integration/browser/node_modules web/node_modules sdk/mediasoup/{node_modules,dist,build}
