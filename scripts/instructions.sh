#!/usr/bin/env bash
# Counts the instructions of the worker's pure parts under callgrind, and compares them with those
# of benches/instructions/counts.txt: more than five in a hundred more is a failure that names the
# part.
#
#   scripts/instructions.sh            compare
#   scripts/instructions.sh --accept   write the counts down instead
#
# The crate itself is compiled for speed and in one piece, for the compiler cuts it into pieces by
# the folder's name and inlines within them; what it depends on is compiled as for tests, and so not
# twice.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/lib.sh
. scripts/lib.sh

# An incremental build is cut into pieces, too.
export CARGO_INCREMENTAL=0
counts=benches/instructions/counts.txt
bench=(cargo bench --locked --all-features --profile dev --bench instructions
    --config profile.dev.package.claimgate.opt-level=3
    --config profile.dev.package.claimgate.codegen-units=1)

command -v valgrind >/dev/null || die "valgrind is not installed"
program=$("${bench[@]}" -- --path)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"$program" | while read -r name times; do
    valgrind --tool=callgrind --callgrind-out-file=/dev/null --collect-atstart=no \
        --toggle-collect='*instructions*counted*' "$program" "$name" 2>"$folder/said" ||
        die "$name: $(tail -n 1 "$folder/said")"
    total=$(awk '/Collected/ { print $NF }' "$folder/said")
    echo "$name $((total / times))"
done >"$folder/counts"

if [ "${1:-}" = --accept ]; then
    cp "$folder/counts" "$counts"
    exit
fi
awk '
    NR == FNR { before[$1] = $2; next }
    !($1 in before) { printf "%-24s %9d  new: scripts/instructions.sh --accept\n", $1, $2; failed = 1; next }
    {
        change = ($2 / before[$1] - 1) * 100
        verdict = change > 5 ? "more than 5 % up" : ""
        if (verdict) failed = 1
        printf "%-24s %9d %9d %+6.1f %% %s\n", $1, before[$1], $2, change, verdict
    }
    END { exit failed }
' "$counts" "$folder/counts"
