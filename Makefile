# Every target works from a clean clone; `make help` tells what they do.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

GO = $(shell sh test/go.sh)
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS = -s -w -X main.version=$(VERSION)
BINARIES = $(notdir $(wildcard cmd/*))

DEMO_FOR ?=
SINK ?=
FUZZTIME ?= 30s
ITEM ?=

export GOTOOLCHAIN = local

.PHONY: help
help: ## tell what the targets do
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | while IFS=$$'\t' read -r t d; do printf '  make %-12s %s\n' "$$t" "$$d"; done

.PHONY: build
build: ## build every binary, static, into bin/
	@mkdir -p bin
	@for b in $(BINARIES); do echo "build bin/$$b"; CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/$$b ./cmd/$$b; done

.PHONY: demo
demo: ## three nodes, real traffic, live flows (root; DEMO_FOR=90s ends by itself and checks all; SINK=clickhouse, elasticsearch, kafka or s3 feeds one too)
	@VERSION='$(VERSION)' DEMO_FOR='$(DEMO_FOR)' SINK='$(SINK)' bash test/demo.sh run

.PHONY: demo-down
demo-down: ## remove whatever a crashed demo left
	@VERSION='$(VERSION)' bash test/demo.sh down

.PHONY: test
test: ## everything: installs what it needs (root, apt), fails where something is missing
	@bash test/test.sh

.PHONY: test-fast
test-fast: ## the tests that need no root and nothing installed
	$(GO) test -short ./...

.PHONY: lint
lint: ## builds for other systems, go vet, and golangci-lint with gofumpt, pinned
	@bash test/lint.sh

.PHONY: bench
bench: ## ours beside the anchor's on the same input (ITEM=ipfix-decode for one, ITEM=growth for how cost grows)
	@PATH="$(dir $(GO)):$$PATH" $(GO) run ./internal/bench $(if $(ITEM),-item '$(ITEM)')

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (30s)
	@GO='$(GO)' FUZZTIME='$(FUZZTIME)' bash test/fuzz.sh

.PHONY: generate
generate: ## write the generated code, docs and manifests again
	$(GO) generate ./...

.PHONY: images
images: ## OCI image archives for amd64, arm64 and arm/v7 into bin/images/, no engine needed
	@PATH="$(dir $(GO)):$$PATH" $(GO) run ./internal/ociimage -version '$(VERSION)' -out bin/images

.PHONY: deps
deps: ## install the Debian packages that the tests use (root)
	@bash test/deps.sh

.PHONY: clean
clean: ## remove what was built and cached here
	rm -rf bin test/.cache
