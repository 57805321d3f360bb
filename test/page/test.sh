#!/bin/bash
# The page: its lint and unit tests, and that the committed build is what the source builds.
set -euo pipefail
cd "$(dirname "$0")/../../dashboards/web"
. ../../test/page/node.sh
npm ci --silent
npm run --silent lint
npm run --silent test
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
npx vite build --logLevel warn --outDir "$fresh/dist"
diff -r "$fresh/dist" dist || { echo "dashboards/web/dist is not what the source builds: npm ci && npm run build there, and commit" >&2; exit 1; }
npx openapi-typescript ../../aggregator/api/openapi.json -o "$fresh/api.gen.ts" >/dev/null
diff "$fresh/api.gen.ts" src/api.gen.ts || { echo "dashboards/web/src/api.gen.ts is not of this openapi.json: npm run types there, and commit" >&2; exit 1; }
