# Sourced: puts a Node.js that can build the page on PATH. Where the machine's is too old
# (Debian's may be), one of an exact version is fetched into test/.cache.
need=20.19.0
have=$(node --version 2>/dev/null | tr -d v || true)
if [ "$(printf '%s\n' "$need" "${have:-0}" | sort -V | head -n 1)" != "$need" ]; then
	version=22.20.0
	cache=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.cache/node
	arch=$(uname -m | sed 's/x86_64/x64/; s/aarch64/arm64/')
	if ! grep -qs "\"version\": \"$version\"" "$cache/node_modules/node-linux-$arch/package.json"; then
		mkdir -p "$cache"
		npm install --silent --ignore-scripts --no-audit --no-fund --prefix "$cache" "node-linux-$arch@$version"
	fi
	PATH=$cache/node_modules/node-linux-$arch/bin:$PATH
	export PATH
fi
