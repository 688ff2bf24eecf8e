#!/bin/sh
# Runs what the README tells people to type: every `make` target it names must exist, and its etcdctl, flotilla and curl
# lines must work while `make demo` runs. Stops the demo as Ctrl-C would and looks whether anything was left behind.
set -eu

cd "$(dirname "$0")/../.."
target=${CARGO_TARGET_DIR:-$HOME/.cache/flotilla-target}
PATH="$(sh tests/setup/peers.sh):$target/release:$PATH"
export PATH ETCDCTL_API=3
work=$(mktemp -d)
demo=

finish() {
    status=$?
    trap - EXIT
    [ -z "$demo" ] || kill -s KILL -- "-$demo" 2>/dev/null || true
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

# Lines of fenced sh and console blocks, without prompts and comments.
awk '/^```(sh|console|shell|bash)/ { inside = 1; next } /^```/ { inside = 0 } inside' README.md |
    sed -e 's/^[$] //' -e 's/[[:space:]]*#.*$//' -e '/^[[:space:]]*$/d' >"$work/lines"

grep -E '^make ' "$work/lines" | while read -r _ goal rest; do
    echo "make -n $goal $rest"
    # shellcheck disable=SC2086  # the rest is a list of words
    make -n "$goal" $rest >/dev/null
done
for goal in demo test; do
    grep -q "^make $goal" "$work/lines" || { echo "readme: README.md does not tell people to type make $goal" >&2; exit 1; }
done

setsid make --no-print-directory demo >"$work/demo" 2>&1 </dev/null &
demo=$!
waited=0
until grep -q 'Ctrl-C' "$work/demo"; do
    kill -0 "$demo" 2>/dev/null || { cat "$work/demo" >&2; echo "readme: make demo ended" >&2; exit 1; }
    [ "$waited" -lt 120 ] || { cat "$work/demo" >&2; echo "readme: make demo is not ready after two minutes" >&2; exit 1; }
    waited=$((waited + 1))
    sleep 1
done

# What the demo offers to try, and what the README shows. The README names the usual ports; where one of them is taken,
# the demo has chosen another.
clients=$(sed -n 's/^ *clients  *\([^ ]*\).*/\1/p' "$work/demo")
first=$(echo "$clients" | cut -d, -f1)
second=$(echo "$clients" | cut -d, -f2)
sed -i -e "s/127\.0\.0\.1:2379\b/$first/g" -e "s/127\.0\.0\.1:22379\b/$second/g" "$work/lines"
{
    sed -n -e 's/^ *try  *//' -e 's/^ *\(etcdctl .*\)/\1/p' -e 's/^ *\(flotilla bench .*\)/\1/p' "$work/demo"
    grep -E '^(etcdctl|flotilla (bench|config|ctl)|curl) ' "$work/lines" || true
} >"$work/commands"
[ "$(wc -l <"$work/commands")" -ge 3 ] || { cat "$work/demo" >&2; echo "readme: fewer than three commands to try" >&2; exit 1; }
while read -r command; do
    echo "\$ $command"
    sh -c "$command" </dev/null >"$work/output" 2>&1 || { cat "$work/output" >&2; echo "readme: it failed: $command" >&2; exit 1; }
    tail -n 3 "$work/output"
done <"$work/commands"

data=$(sed -n 's/.*data in \([^ ]*\).*/\1/p' "$work/demo" | head -n 1)
kill -s INT -- "-$demo"
waited=0
while kill -s 0 -- "-$demo" 2>/dev/null; do
    [ "$waited" -lt 30 ] || { echo "readme: the demo does not end on Ctrl-C" >&2; exit 1; }
    waited=$((waited + 1))
    sleep 1
done
demo=
[ -n "$data" ] && [ ! -e "$data" ] || { echo "readme: the demo left its data in '$data'" >&2; exit 1; }
echo "the README's commands work"
