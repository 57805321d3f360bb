#!/bin/bash
# The page: its lint (against types made from the API's document) and unit tests, that the
# committed build is what the source builds, and the page itself in a browser on a real aggregator.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
. ./node.sh
go=$(sh ../go.sh)
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT

cd ../../dashboards/web
npm ci --silent --no-audit --no-fund
npm run --silent lint
npm run --silent test
npx vite build --logLevel error --outDir "$fresh/dist" --emptyOutDir
diff -r "$fresh/dist" dist || { echo "dashboards/web/dist is not what the source builds: npm ci && npm run build there, and commit" >&2; exit 1; }
cd "$here"
npm ci --silent --no-audit --no-fund
for b in ./cmd/weir-aggregator ./test/page/feed ./test/page/day; do
	(cd ../.. && CGO_ENABLED=0 "$go" build -trimpath -o "$fresh/bin/" "$b")
done
WEIR_BIN=$fresh/bin node --test --test-concurrency=1 --test-reporter=spec ./*.test.mjs
