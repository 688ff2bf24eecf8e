#!/bin/sh
# Measures flotilla.profdata anew (`make profile`): a build that counts, under all loads of benches/compare.
set -eu
cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$HOME/.cache/flotilla-target}
here=$PWD/benches/profile
counting=$target/counting
tools=$(echo "$(rustc --print sysroot)"/lib/rustlib/*/bin/llvm-profdata)
[ -x "$tools" ] || { echo "llvm-profdata is missing: rustup component add llvm-tools" >&2; exit 1; }

# RocksDB has no part in this: the one that is compiled already will do.
rocks=$(find "$target/release/build" -name librocksdb.a -printf '%T@ %h\n' 2>/dev/null | sort -rn | head -1 | cut -d' ' -f2-)
if [ -n "$rocks" ]; then
    export ROCKSDB_LIB_DIR="$rocks" ROCKSDB_STATIC=1
fi
# Where the program leaves its counts is compiled in, so it is the same each time.
raw=$counting/raw
FLOTILLA_PROFILE=$raw cargo build --release --locked --workspace --exclude flotilla-raft --exclude flotilla-benches \
    --bin flotilla-compare --target-dir "$counting"
# What the compiler's own plugins counted is not ours.
rm -rf "$raw"

"$counting/release/flotilla-compare" --only flotilla --seconds 5 --rounds 1 \
    --cells get-1,get-64,scan-1,scan-64,put-1,put-64,mixed-64,txn-64

# Functions that were never called are left out: of those nothing is known, so nothing is held against them.
"$tools" merge --sparse -o "$here/flotilla.profdata" "$raw"
rm -rf "$raw"
ls -l "$here/flotilla.profdata"
