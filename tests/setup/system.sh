#!/bin/sh
# Installs what a bare Debian with Rust lacks for building Flotilla, and is silent when nothing is missing.
# Called by the Makefile: `system.sh demo` for building the binary, `system.sh test` for the tests as well.
# As root it installs, with a sudo that asks no password it installs, otherwise it says what to install.
set -eu

# RocksDB is C++ (g++) and its bindings are generated while building (libclang); registries speak TLS (ca-certificates).
need="g++ make libclang-dev ca-certificates"
# Only the tests: the Rust etcd client that drives us compiles its own protobuf files.
[ "${1:-demo}" != test ] || need="$need protobuf-compiler libprotobuf-dev"

if ! command -v cargo >/dev/null 2>&1; then
    echo "setup: cargo is not in PATH; install Rust 1.95 or newer (rustup.rs), open a new shell and run make again" >&2
    exit 1
fi
version=$(rustc --version | cut -d' ' -f2)
minor=$(echo "$version" | cut -d. -f2)
if [ "$(echo "$version" | cut -d. -f1)" = 1 ] && [ "$minor" -lt 95 ]; then
    echo "setup: rustc $version is too old; Flotilla needs 1.95 or newer (rustup update stable)" >&2
    exit 1
fi

if ! command -v dpkg-query >/dev/null 2>&1; then
    # Not a Debian: we can only look for the tools themselves.
    for tool in g++ make clang; do
        command -v "$tool" >/dev/null 2>&1 || echo "setup: no $tool found; on this system install g++, make, libclang and protoc by hand" >&2
    done
    exit 0
fi

missing=
for package in $need; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    sudo=sudo
else
    echo "setup: these packages are missing:$missing" >&2
    echo "setup: install them as root, then run make again:  apt-get update && apt-get install -y$missing" >&2
    exit 1
fi
echo "setup: installing$missing" >&2
$sudo apt-get update -q >/dev/null
# shellcheck disable=SC2086  # both are lists of words
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing >/dev/null
