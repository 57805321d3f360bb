#!/bin/bash
# The demo as a person uses it: it proves itself, its page answers, Ctrl-C and a crash leave
# nothing, and without root it replays. Needs root; part of make test.
set -euo pipefail
cd "$(dirname "$0")/.."
fail() { echo "demo-test: $*" >&2 && exit 1; }

residue() {
	ip netns list 2>/dev/null | grep ^weir-demo- || true
	ls -d /run/weir-demo /sys/class/net/weir-demo0 2>/dev/null || true
	grep -lsz '^WEIR_DEMO=1$' /proc/[0-9]*/environ 2>/dev/null || true
}
[ -z "$(residue)" ] || fail "a demo is on this machine: make demo-down first"

echo "-- a verdict"
make demo DEMO_FOR=90s
[ -z "$(residue)" ] || fail "left behind: $(residue)"

echo "-- Ctrl-C"
log=$(mktemp)
bin/weirctl demo run >"$log" 2>&1 &
demo=$!
for _ in $(seq 100); do
	grep -q 'flows follow' "$log" && break
	sleep 0.1
done
sleep 10
lines=$(sed '1,/flows follow/d' "$log" | grep -c . || true)
[ "$lines" -ge 5 ] || fail "no flows within 10 s: $(cat "$log")"
kill -INT $demo
wait $demo || fail "Ctrl-C ends it with $?: $(tail -n 5 "$log")"
[ -z "$(residue)" ] || fail "Ctrl-C leaves $(residue)"

echo "-- its page: each question in at most three clicks"
bin/weirctl demo up >"$log" 2>&1 || fail "up: $(tail -n 5 "$log")"
bin/weirctl demo incident >"$log" 2>&1 || fail "incident: $(tail -n 5 "$log")"
(
	. test/page/node.sh
	cd test/page
	npm ci --silent --no-audit --no-fund
	node demo.mjs
) || fail "the page does not answer"
bin/weirctl demo down
[ -z "$(residue)" ] || fail "demo down leaves $(residue)"

echo "-- a crash"
bin/weirctl demo run >"$log" 2>&1 &
demo=$!
sleep 5
kill -KILL $demo
wait $demo 2>/dev/null || true
[ -n "$(residue)" ] || fail "kill -9 left nothing: was it up at all?"
bin/weirctl demo down
[ -z "$(residue)" ] || fail "demo down leaves $(residue)"

echo "-- without root"
tmp=$(mktemp -d)
cp bin/weirctl bin/weir-agent bin/weir-aggregator "$tmp"
chmod -R a+rX "$tmp"
setpriv --reuid=65534 --regid=65534 --clear-groups "$tmp/weirctl" demo run >"$log" 2>&1 || fail "the replay: $(tail -n 5 "$log")"
[ "$(grep -c 'need root' "$log")" = 1 ] || fail "one line should say what needs root: $(head -n 3 "$log")"
grep -q 'REFUSED' "$log" && grep -q 'difference: 0 records' "$log" || fail "the replay shows too little: $(tail -n 12 "$log")"
rm -rf "$tmp" "$log"
