#!/bin/bash
# A real Elasticsearch or OpenSearch for tests, out of Maven Central's jars, without
# security and ILM, which those jars lack. Nothing of it is shipped.
#   run.sh es8|opensearch DIR [setting=value ...]
# Prints "URL http://127.0.0.1:PORT" when it answers (a free port; http.port=N for a fixed
# one) and stays until it is killed. DIR holds data, config and logs/server.log; start again
# on it and the data are there.
#   run.sh install es8|opensearch   only fetches and compiles, into test/.cache/search
# JAVA_HOME is looked at first (17 to 20 for es8, 17 or newer for opensearch).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
if [ "$1" = install ]; then flavour=$2 dir=; else flavour=$1 dir=$2; fi
shift 2

jdk() { # the first JDK whose version is in [$1, $2]
	local home j v
	home=$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")
	for j in ${JAVA_HOME:+"$JAVA_HOME"} "$home" "$(dirname "$home")"/*; do
		[ -x "$j/bin/javac" ] || continue
		v=$("$j/bin/javac" -version 2>&1 | sed -E 's/^javac ([0-9]+).*/\1/')
		if [ "$v" -ge "$1" ] && [ "$v" -le "$2" ]; then echo "$j"; return; fi
	done
	echo "no JDK of version $1 to $2: run 'make deps'" >&2
	return 1
}
case $flavour in
es8) java=$(jdk 17 20) ;; # from 21 on it looks for zstd in a file that is not published
opensearch) java=$(jdk 17 99) ;;
*) echo "es8 or opensearch, not $flavour" >&2; exit 2 ;;
esac
src=$here/$flavour
store=$(readlink -f "$here/../.cache" || echo "$here/../.cache")/search
repo=$store/m2
cache=$store/$flavour-$(cat "$0" "$src"/* | sha256sum | cut -c1-12)

install() { # once per pom and launcher; class path and modules point into the repository
	local t resolve
	mkdir -p "$store"
	t=$(mktemp -d "$cache.XXXXXX")
	resolve=(mvn -B -q "-Dmaven.repo.local=$repo" -f "$src/pom.xml" dependency:build-classpath "-Dmdep.outputFile=$t/all")
	"${resolve[@]}" -o >/dev/null 2>&1 || "${resolve[@]}" >&2
	tr : '\n' <"$t/all" >"$t/jars"
	mkdir -p "$t/modules" "$t/classes"
	if [ "$flavour" = es8 ]; then # the HTTP layer is a module with its own class loader, and so is GET /
		local m=$t/modules/transport-netty4 v
		mkdir -p "$m" "$t/modules/rest-root" "$t/rest-root"
		grep -E '/io/netty/|/transport-netty4/' "$t/jars" | while read -r j; do ln -s "$j" "$m/"; done
		grep -vE '/io/netty/|/transport-netty4/' "$t/jars" >"$t/server"
		mv "$t/server" "$t/jars"
		unzip -p "$m"/transport-netty4-*.jar META-INF/es-plugins/transport-netty4/plugin-descriptor.properties | grep -v '^modulename=' >"$m/plugin-descriptor.properties"
		v=$(sed -n 's/^elasticsearch.version=//p' "$m/plugin-descriptor.properties")
		"$java/bin/javac" -d "$t/rest-root" -cp "$(paste -sd: "$t/jars")" "$src/RootPlugin.java"
		"$java/bin/jar" cf "$t/modules/rest-root/rest-root.jar" -C "$t/rest-root" .
		printf '%s\n' name=rest-root description=root version="$v" elasticsearch.version="$v" java.version=17 classname=lab.RootPlugin >"$t/modules/rest-root/plugin-descriptor.properties"
	fi
	"$java/bin/javac" -d "$t/classes" -cp "$(paste -sd: "$t/jars")" "$src/Launcher.java"
	"$java/bin/jar" cf "$t/launcher.jar" -C "$t/classes" .
	mv -T "$t" "$cache" 2>/dev/null || rm -rf "$t" # another run was first
}
[ -d "$cache" ] && xargs ls <"$cache/jars" >/dev/null 2>&1 || { rm -rf "$cache"; install; }
[ -n "$dir" ] || exit 0

mkdir -p "$dir"/{config,logs,tmp}
dir=$(cd "$dir" && pwd)
cp "$here/log4j2.properties" "$dir/config/"
touch "$dir/config/elasticsearch.yml" "$dir/config/opensearch.yml"
ln -sfn "$cache/modules" "$dir/modules"
rm -f "$dir/logs/http.ports"
set -- cluster.name=weir-test node.name=n1 discovery.type=single-node node.portsfile=true \
	http.host=127.0.0.1 transport.host=127.0.0.1 http.port=0 transport.port=0 \
	cluster.routing.allocation.disk.threshold_enabled=false "$@"
# G1 by name: SerialGC, which the JVM picks on a small machine, trips the circuit breaker
# under bulk load. C1 only: half the CPU to start and for the first 100,000 documents; what
# loads the server for minutes sets WEIR_SEARCH_JAVA.
# Not a background job: the one that is killed is the server.
(
	until url=http://$(head -n 1 "$dir/logs/http.ports" 2>/dev/null) && curl -sf "$url/_cluster/health?wait_for_status=yellow&timeout=30s" >/dev/null; do
		kill -0 $$ 2>/dev/null || exit 1
		sleep 0.1
	done
	echo "URL $url"
) &
exec "$java/bin/java" -XX:+UseG1GC ${WEIR_SEARCH_JAVA:--Xms512m -Xmx512m -XX:TieredStopAtLevel=1} -Djava.io.tmpdir="$dir/tmp" -Dlog4j2.disable.jmx=true \
	-Dlog4j.shutdownHookEnabled=false -cp "$cache/launcher.jar:$(paste -sd: "$cache/jars")" \
	Launcher "$dir" "$@" >"$dir/logs/server.log" 2>&1
