#!/bin/bash
# Elasticsearch for `make demo SINK=elasticsearch`: a real server out of Maven Central's
# jars (test/search). The verbs are those of every script here; see clickhouse.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
port=19200
url=http://127.0.0.1:$port
asked=weir-flows/_search
question='{"size": 0, "query": {"bool": {"must_not": {"terms": {"outcome": ["ok", "unknown"]}}}},
 "aggs": {"client": {"terms": {"field": "src.workload"}, "aggs": {"port": {"terms": {"field": "dst.port"}, "aggs": {"outcome": {"terms": {"field": "outcome"}, "aggs": {"connections": {"cardinality": {"field": "conn_id"}}}}}}}}}}'
search() { curl -sSf -H 'Content-Type: application/json' "$url/$1" -d "$2"; }

case ${1:?verb} in
install) command -v node >/dev/null && bash test/search/run.sh install es8 || bash test/deps.sh ;;
serve) exec bash test/search/run.sh es8 "$2" "http.port=$port" ;;
ready) curl -sf "$url/_cluster/health?wait_for_status=yellow&timeout=5s" >/dev/null ;;
sink)
	cat <<-EOF
		name: elasticsearch
		kind: elasticsearch
		spool: {maxBytes: 67108864, batchAge: 1s}
		elasticsearch: {hosts: ["$url"], replicas: 0}
	EOF
	;;
ask)
	printf 'POST %s\n%s\n\n' "$asked" "$question"
	curl -sSf -X POST "$url/weir-flows/_refresh" >/dev/null
	# One line a bucket: client, port, outcome, connections.
	search "$asked?filter_path=aggregations.client.buckets.key,aggregations.**.port.buckets.key,aggregations.**.outcome.buckets.key,aggregations.**.connections.value" "$question" |
		node -e '
			const a = JSON.parse(require("fs").readFileSync(0, "utf8")).aggregations ?? { client: { buckets: [] } };
			for (const c of a.client.buckets) for (const p of c.port?.buckets ?? []) for (const o of p.outcome?.buckets ?? []) // empty ones are left out
				console.log([c.key.padEnd(28), String(p.key).padEnd(6), o.key.padEnd(12), o.connections.value].join(" "));'
	;;
count)
	curl -sSf -X POST "$url/weir-flows/_refresh" >/dev/null
	curl -sSf "$url/weir-flows/_count?filter_path=count" | tr -cd 0-9
	;;
look)
	cat <<-EOF
		curl '$url/weir-flows/_search?pretty&size=1&sort=@timestamp:desc'
		the documents: docs/sinks/elasticsearch.md; dashboards for Kibana over them: docs/dashboards.md
	EOF
	;;
*) exit 2 ;;
esac
