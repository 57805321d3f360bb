#!/bin/bash
# make lint: go vet, then golangci-lint (its formatters included), pinned and built from source.
set -euo pipefail
cd "$(dirname "$0")/.."
. test/part.sh
trap parts EXIT
version=v2.15.0
go=$(sh test/go.sh)
PATH=$(dirname "$go"):$PATH
export PATH
lint=$PWD/test/.cache/bin/golangci-lint-$version
if ! [ -x "$lint" ]; then
	mkdir -p "$(dirname "$lint")"
	part "build golangci-lint" env GOBIN="$PWD/test/.cache/bin/new" "$go" install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$version
	mv "$PWD/test/.cache/bin/new/golangci-lint" "$lint"
fi
part "go vet" "$go" vet ./...
part "golangci-lint" "$lint" run --allow-parallel-runners ./...
