#!/bin/bash
# Kafka for `make demo SINK=kafka`: a real broker, one node. For the verbs see clickhouse.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
port=19092
client="$PWD/bin/demo-kafka -broker 127.0.0.1:$port -topic weir.flows"

case ${1:?verb} in
install)
	bash test/deps.sh
	CGO_ENABLED=0 "$(sh test/go.sh)" build -o bin/demo-kafka ./test/kafka
	;;
serve)
	dir=$2
	export CLASSPATH="$PWD/test/.cache/kafka/libs/*"
	java=(java -Xms256m -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 "-Dlog4j2.configurationFile=$PWD/test/kafka/log4j2.properties")
	rm -rf "$dir/data"
	cat >"$dir/server.properties" <<-EOF
		process.roles=broker,controller
		node.id=1
		controller.quorum.voters=1@127.0.0.1:$((port + 1))
		controller.listener.names=CONTROLLER
		listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$((port + 1))
		advertised.listeners=PLAINTEXT://127.0.0.1:$port
		listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
		log.dirs=$dir/data
		offsets.topic.replication.factor=1
		transaction.state.log.replication.factor=1
		transaction.state.log.min.isr=1
		auto.create.topics.enable=false
	EOF
	"${java[@]}" kafka.tools.StorageTool format -t MkU3OEVBNTcwNTJENDM2Qk -c "$dir/server.properties" >"$dir/format.log"
	exec "${java[@]}" kafka.Kafka "$dir/server.properties"
	;;
ready) $client create >/dev/null 2>&1 ;;
sink)
	cat <<-EOF
		name: kafka
		kind: kafka
		spool: {maxBytes: 67108864, batchAge: 1s}
		kafka: {brokers: ["127.0.0.1:$port"], topic: weir.flows, format: json}
	EOF
	;;
ask)
	echo "messages of weir.flows that did not end well, by client, server, port and outcome:"
	echo
	$client ask
	;;
count) $client count ;;
look)
	cat <<-EOF
		$client follow | jq .
		any Kafka client at 127.0.0.1:$port, topic weir.flows, JSON, keyed by connection
		the messages: docs/sinks/kafka.md, api/flow/flow.proto
	EOF
	;;
*) exit 2 ;;
esac
