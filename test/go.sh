#!/bin/sh
# Prints the path of a go command that is new enough for this module.
#
# In order: the go on PATH, the one that an earlier run kept in test/.cache/go,
# and else Debian's or Ubuntu's golang-go fetches the module golang.org/toolchain
# (checked against the Go checksum database) into test/.cache/go. Debian 12's Go
# 1.19 knows no GOTOOLCHAIN but can download that module like any other, so the
# script unpacks it itself instead of leaving it to the go command.
set -eu
want=1.26.8
top=$(cd "$(dirname "$0")/.." && pwd)
own=$top/test/.cache/go

enough() { # PATH-OF-GO: is it 1.26 or later?
	v=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
	v=${v#go1.}
	v=${v%%[!0-9]*}
	[ -n "$v" ] && [ "$v" -ge 26 ]
}

for go in "$(command -v go || true)" /usr/local/go/bin/go "$own/bin/go"; do
	if [ -n "$go" ] && [ -x "$go" ] && enough "$go"; then
		echo "$go"
		exit 0
	fi
done

if ! command -v go >/dev/null; then
	if [ "$(id -u)" != 0 ]; then
		echo "go 1.26 or later is needed: install it from https://go.dev/dl, or run this once as root" >&2
		exit 1
	fi
	echo "test/go.sh: no go here: installing golang-go with apt" >&2
	{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends golang-go ca-certificates; } >&2
fi
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
armv7l) arch=armv6l ;;
*) echo "test/go.sh: no Go toolchain is published for $(uname -m)" >&2 && exit 1 ;;
esac
mod=golang.org/toolchain@v0.0.1-go$want.linux-$arch
echo "test/go.sh: $(go version | cut -d' ' -f3) is too old: fetching go$want ($mod)" >&2
mkdir -p "$top/test/.cache"
path=$top/test/.cache/gopath
(cd "$top/test/.cache" && GOTOOLCHAIN=local GO111MODULE=on GOFLAGS=-modcacherw GOPATH=$path GOMODCACHE=$path/pkg/mod go mod download "$mod" >&2)
rm -rf "$own"
mv "$path/pkg/mod/$mod" "$own"
rm -rf "$path"
# A module's zip keeps no modes and no go.mod of nested modules.
chmod +x "$own"/bin/* "$own"/pkg/tool/*/*
find "$own" -name _go.mod | while read -r f; do mv "$f" "${f%_go.mod}go.mod"; done
enough "$own/bin/go" || { echo "test/go.sh: $own/bin/go does not run" >&2 && exit 1; }
echo "$own/bin/go"
