#!/bin/bash
# DuckDB reads the history's files, and both answer the same. -mod=mod: this module takes
# over what Weir's go.mod requires, whichever that is today.
set -euo pipefail
cd "$(dirname "$0")"
go test -mod=mod -timeout 40m ./...
