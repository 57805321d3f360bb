#!/bin/bash
# make fuzz: each fuzz target for FUZZTIME, one after the other; a crasher is left in testdata/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
go=${GO:-$(sh test/go.sh)}
found=0
for dir in $(git grep -l '^func Fuzz' -- '*_test.go' | xargs -r -n1 dirname | sort -u); do
	for f in $(grep -hoE '^func Fuzz[A-Za-z0-9_]*' "$dir"/*_test.go | sed 's/func //' | sort -u); do
		found=$((found + 1))
		echo "== $dir $f"
		"$go" test "./$dir" -run '^$' -fuzz "^$f\$" -fuzztime "${FUZZTIME:-30s}" -fuzzminimizetime 100x
	done
done
echo "$found fuzz targets, ${FUZZTIME:-30s} each, no crasher"
