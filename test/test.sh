#!/bin/bash
# make test: everything, and a thing that is missing fails (WEIR_REQUIRE=1).
set -euo pipefail
cd "$(dirname "$0")/.."
. test/part.sh
trap parts EXIT
go=$(sh test/go.sh)
PATH=$(dirname "$go"):$PATH:/usr/sbin:/sbin
export PATH WEIR_REQUIRE=1

part "packages" bash test/deps.sh
part "go build" "$go" build ./...
part "go test" "$go" test -timeout 40m $("$go" list ./... | grep -v /weir/test/)
# arm/v7 has 32 bits, which 386 shows on amd64: sizes of int, alignment of 64-bit atomics.
[ "$("$go" env GOARCH)" != amd64 ] || part "go test, 32 bits" env GOARCH=386 CGO_ENABLED=0 "$go" test -short \
	./api/... ./aggregator/correlate ./aggregator/store ./aggregator/store/column ./aggregator/store/segment ./exporter/track ./internal/ledger ./sinks/spool
# These run binaries that they build themselves, which the test cache does not see.
part "go test ./test" "$go" test -count=1 -timeout 40m ./test/...
part "demo" bash test/demo-test.sh
part "page" bash test/page/test.sh
# Modules of their own keep heavy test dependencies out of Weir's go.mod.
for mod in $(git ls-files 'test/*go.mod' 'test/**/go.mod' | sort -u); do
	dir=$(dirname "$mod")
	# What has no tests is built, with flags of its own, by the tests that use it.
	[ -n "$(git ls-files "$dir/*_test.go")" ] || continue
	if [ -x "$dir/test.sh" ]; then
		part "$dir" "$dir/test.sh"
	else
		part "$dir" "$go" -C "$dir" test -timeout 40m ./...
	fi
done
