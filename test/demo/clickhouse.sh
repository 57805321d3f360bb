#!/bin/bash
# ClickHouse for `make demo SINK=clickhouse`: a real engine behind its native protocol
# (test/clickhouse). Verbs, as of every script here:
#   install      fetch and build what it needs; may take a minute
#   serve DIR    run it over DIR until a signal comes
#   ready        exit 0 once it answers
#   sink         its part of the aggregator's sinks, as YAML
#   ask          ask it something about the flows it got, and show the answer
#   count        how many records it has
#   look         where a person can look
set -euo pipefail
cd "$(dirname "$0")/../.."
addr=127.0.0.1:19000
server=$PWD/bin/demo-clickhouse
lib=$PWD/test/.cache/clickhouse/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
question="SELECT src_workload AS client, ifNull(dst_workload, dst_name) AS server, dst_port AS port, outcome, uniqExact(conn_id) AS connections, sum(bytes_delta + ifNull(reverse_bytes_delta, 0)) AS bytes
FROM weir.weir_flows WHERE outcome NOT IN ('ok', 'unknown') GROUP BY ALL ORDER BY connections DESC LIMIT 8"

case ${1:?verb} in
install)
	bash test/deps.sh
	(cd test/clickhouse && CGO_ENABLED=0 "$(sh ../go.sh)" build -o "$server" .)
	;;
serve) exec "$server" -lib "$lib" -path "$2" -listen "$addr" ;;
ready) "$server" -listen "$addr" -ask "SELECT 1" >/dev/null 2>&1 ;;
sink)
	cat <<-EOF
		name: clickhouse
		kind: clickhouse
		spool: {maxBytes: 67108864, batchAge: 1s}
		clickhouse: {hosts: ["$addr"]}
	EOF
	;;
ask)
	printf '%s\n\n' "$question"
	"$server" -listen "$addr" -ask "$question"
	;;
count) "$server" -listen "$addr" -ask "SELECT count() FROM weir.weir_flows" | tail -n 1 ;;
look)
	cat <<-EOF
		$server -listen $addr -ask 'SELECT * FROM weir.weir_flows_by_minute LIMIT 5'
		any client of ClickHouse's native protocol at $addr (user default, no password), database weir
		the tables: docs/sinks/clickhouse.md; dashboards over them: docs/dashboards.md
	EOF
	;;
*) exit 2 ;;
esac
