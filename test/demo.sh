#!/bin/bash
# make demo: builds the three binaries that the demo needs, with a line that says
# how long and what, and hands over to weirctl.
set -euo pipefail
cd "$(dirname "$0")/.."
verb=${1:-run}
if [ "$verb" = run ] && [ "$(id -u)" = 0 ]; then
	for tool in ip=iproute2 nft=nftables; do
		PATH=$PATH:/usr/sbin:/sbin command -v "${tool%=*}" >/dev/null && continue
		echo "installing ${tool#*=}"
		apt-get install -qq -y --no-install-recommends "${tool#*=}" >/dev/null 2>&1 ||
			{ apt-get update -qq && apt-get install -qq -y --no-install-recommends "${tool#*=}" >/dev/null; }
	done
fi
engine=
if [ "$verb" = run ] && [ -n "${SINK:-}" ]; then
	engine=test/demo/$SINK.sh
	if [ ! -f "$engine" ]; then
		echo "SINK=$SINK: there is no $engine; there are: $(basename -s .sh -a test/demo/*.sh | tr '\n' ' ')" >&2
		exit 1
	fi
	[ "$(id -u)" = 0 ] || { echo "SINK=$SINK needs root, as the demo's world does: run it with sudo" >&2; exit 1; }
	mkdir -p bin
	bash "$engine" install
fi
go=$(sh test/go.sh)
mkdir -p bin

# -v names each package as it is compiled: that is the "what" of the line.
log=$(mktemp)
CGO_ENABLED=0 "$go" build -v -trimpath -ldflags "-s -w -X main.version=${VERSION:-dev}" -o bin/ \
	./cmd/weir-agent ./cmd/weir-aggregator ./cmd/weirctl 2>"$log" &
build=$!
trap 'kill $build 2>/dev/null; rm -f "$log"' EXIT
shown=
while kill -0 $build 2>/dev/null; do
	line="[${SECONDS}s] building weir-agent, weir-aggregator, weirctl: $(wc -l <"$log") packages, $(tail -n 1 "$log")"
	if [ -t 1 ]; then
		printf '\r\033[K%.100s' "$line"
	elif [ $((SECONDS / 10)) != "$shown" ]; then
		echo "$line"
	fi
	shown=$((SECONDS / 10))
	sleep 0.3
done
[ -t 1 ] && printf '\r\033[K'
wait $build || { grep -vE "^[A-Za-z0-9._~/-]+\$" "$log" >&2; exit 1; }
echo "[${SECONDS}s] built bin/weir-agent, bin/weir-aggregator, bin/weirctl"
trap - EXIT
rm -f "$log"

if [ "$verb" = down ]; then
	exec bin/weirctl demo down
fi
exec bin/weirctl demo run ${DEMO_FOR:+--for "$DEMO_FOR"} ${engine:+--engine "$engine"}
