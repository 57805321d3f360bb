#!/bin/bash
# Installs the Debian packages whose programs the tests use; quick when they are there.
set -euo pipefail
declare -A package=(
	[ip]=iproute2 [ss]=iproute2 [nsenter]=util-linux [nft]=nftables [conntrack]=conntrack [ping]=iputils-ping
	[nfcapd]=nfdump [nfacctd]=pmacct [softflowd]=softflowd [tshark]=tshark
	[ovs-vsctl]=openvswitch-switch [ovsdb-server]=openvswitch-switch
	[g++]=g++ [etcd]=etcd-server [openssl]=openssl [git]=git [promtool]=prometheus
)
missing=()
for tool in "${!package[@]}"; do
	PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
[ ${#missing[@]} = 0 ] && exit 0
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if [ "$(id -u)" != 0 ]; then
	echo "the tests need ${missing[*]}: run 'sudo make deps', or 'make test-fast', which needs nothing" >&2
	exit 1
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 # no package starts its service
apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1 ||
	{ apt-get update -qq && apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null; }
