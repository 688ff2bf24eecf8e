#!/bin/sh
# Fetches Debian's own etcd and etcdctl, with which tests and benchmarks compare Flotilla, into a cache folder.
# Needs no root: apt keeps its lists in the cache too, and nothing is installed. A peer that cannot be had is an error,
# never a skipped test. Prints the folder that holds the two programs.
set -eu

cache=${FLOTILLA_PEERS:-$HOME/.cache/flotilla-peers}
bin=$cache/root/usr/bin
if [ -x "$bin/etcd" ] && [ -x "$bin/etcdctl" ]; then
    echo "$bin"
    exit 0
fi

mkdir -p "$cache/lists/partial" "$cache/archives/partial" "$cache/debs"
apt() {
    # The user's own status file stays untouched; as root apt would otherwise drop to a user who cannot write here.
    apt-get -q -o Dir::State::Lists="$cache/lists" -o Dir::Cache="$cache/archives" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User="$(id -un)" "$@" >&2
}
fail() {
    echo "peers: $1; the tests compare with Debian's etcd and cannot run without it" >&2
    echo "peers: put etcd and etcdctl into $bin by hand, or set FLOTILLA_PEERS to a folder with root/usr/bin" >&2
    exit 1
}
apt update || fail "apt-get update failed"
cd "$cache/debs"
rm -f ./*.deb
apt download etcd-server etcd-client || fail "apt-get download etcd-server etcd-client failed"
for deb in ./*.deb; do
    dpkg-deb -x "$deb" "$cache/root"
done
"$bin/etcd" --version >&2
echo "$bin"
