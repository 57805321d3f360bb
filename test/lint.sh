#!/bin/bash
# make lint: builds for other systems, go vet, then golangci-lint (its formatters included), pinned and built from source.
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
# weirctl is built for what people have on their desks, all of it for what nodes are.
cross() {
	local system
	for system in darwin/arm64 windows/amd64 linux/arm64 linux/arm; do
		echo "$system"
		GOOS=${system%/*} GOARCH=${system#*/} GOARM=7 CGO_ENABLED=0 "$go" build -o "$out/" $(case $system in linux/*) echo ./cmd/... ;; *) echo ./cmd/weirctl ;; esac)
	done
}
out=$(mktemp -d)
trap 'rm -rf "$out"; parts' EXIT
part "build for other systems" cross
part "go vet" "$go" vet ./...
part "golangci-lint" "$lint" run --allow-parallel-runners ./...
