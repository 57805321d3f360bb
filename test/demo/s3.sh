#!/bin/bash
# S3 for `make demo SINK=s3`: SeaweedFS as the endpoint, and ClickHouse's engine
# (test/clickhouse) to ask what lies in the bucket. For the verbs see clickhouse.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
port=19333
url=http://127.0.0.1:$port
addr=127.0.0.1:19001
key=WEIRDEMOKEY000000001 secret=weir-demo-secret-of-this-machine
server=$PWD/bin/demo-clickhouse
lib=$PWD/test/.cache/clickhouse/node_modules/@chdb/lib-linux-x64-gnu/libchdb.so
objects="s3('$url/flows/weir/dt=*/hour=*/*.parquet', '$key', '$secret')"
question="SELECT dt, hour, outcome, count() AS records, uniqExact(conn_id) AS connections, sum(bytes_delta) AS bytes
FROM $objects GROUP BY ALL ORDER BY records DESC LIMIT 10 SETTINGS use_hive_partitioning = 1"

case ${1:?verb} in
install)
	bash test/deps.sh
	(umask 077 && printf %s "$key" >bin/demo-s3-key && printf %s "$secret" >bin/demo-s3-secret)
	(cd test/clickhouse && CGO_ENABLED=0 "$(sh ../go.sh)" build -o "$server" .)
	;;
serve)
	dir=$2
	mkdir -p "$dir/weed" "$dir/clickhouse"
	printf '{"identities":[{"name":"weir","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin","Read","List","Tagging","Write"]}]}' \
		"$key" "$secret" >"$dir/s3.json"
	"$server" -lib "$lib" -path "$dir/clickhouse" -listen "$addr" &
	engine=$!
	test/.cache/s3/weed -logtostderr=true server -dir "$dir/weed" -ip 127.0.0.1 -ip.bind 127.0.0.1 -master.port $((port + 1)) \
		-master.port.grpc $((port + 2)) -master.volumeSizeLimitMB 64 -master.telemetry=false -volume.port $((port + 3)) \
		-volume.port.grpc $((port + 4)) -volume.max 0 -volume.preStopSeconds 0 -filer -filer.port $((port + 5)) -filer.port.grpc $((port + 6)) \
		-s3 -s3.port "$port" -s3.config "$dir/s3.json" -s3.port.grpc $((port + 7)) -s3.port.iceberg 0 -s3.port.lance 0 &
	trap 'kill "$engine" $! 2>/dev/null; exit 0' TERM INT
	wait
	;;
ready)
	curl -sf -m 5 --aws-sigv4 aws:amz:us-east-1:s3 --user "$key:$secret" -X PUT "$url/flows" >/dev/null ||
		curl -sf -m 5 --aws-sigv4 aws:amz:us-east-1:s3 --user "$key:$secret" "$url/flows" >/dev/null
	"$server" -listen "$addr" -ask "SELECT 1" >/dev/null 2>&1
	;;
sink)
	cat <<-EOF
		name: s3
		kind: s3
		spool: {maxBytes: 67108864, batchAge: 1s}
		s3: {endpoint: "$url", bucket: flows, pathStyle: true, interval: 3s, accessKeyFile: "$PWD/bin/demo-s3-key", secretKeyFile: "$PWD/bin/demo-s3-secret"}
	EOF
	;;
ask)
	printf '%s\n\n' "${question//$secret/...}"
	"$server" -listen "$addr" -ask "$question"
	;;
count) "$server" -listen "$addr" -ask "SELECT count() FROM $objects" | tail -n 1 ;;
look)
	cat <<-EOF
		$server -listen $addr -ask "SELECT _path, count() FROM $objects GROUP BY 1"
		any S3 client at $url, bucket flows, path style; the keys stand in $(basename "$0")
		the objects: docs/sinks/s3.md
	EOF
	;;
*) exit 2 ;;
esac
