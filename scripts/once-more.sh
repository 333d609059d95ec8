#!/usr/bin/env bash
# After `make test` failed: runs up to three failed tests once more, by themselves, and says at the
# end which failed at first, and why.
#
#   scripts/once-more.sh LOG     LOG has what `make test` printed
#
# A busy machine fails a test now and then. A signal can end a test binary, for Kafka's client, a C
# library, runs in it: then the whole binary runs once more. Anything else that failed, such as the
# compiler or a documentation test, fails here, too.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -eq 1 ] || die "usage: scripts/once-more.sh LOG"
log=$1

# The reasons are repeated at the end, where a log that is cut short keeps them. A binary that a
# signal ended names no failed test: its last lines tell what ran.
reasons() {
    grep -B 20 -A 4 '^error: test failed' "$log" | cut -c 1-200 | tail -n 60 || true
    awk '/^---- .* ----$/ { failed = 1 } /^failures:$/ { failed = 0 } failed' "$log" |
        cut -c 1-400 | tail -n 100
}

# One line each: `test NAME`, `binary --test NAME`, or `other WHAT`.
failures() {
    awk '
        /^ +(Running|Doc-tests) / { named = 0 }
        /^test .* \.\.\. FAILED$/ {
            named = 1
            print (NF == 4 ? "test " $2 : "other " $0)
        }
        /^error: test failed, to rerun pass/ {
            if (open) print open
            open = named ? "" : "other " $0
            target = $0
            sub(/.*`-p [^ ]* /, "", target)
            sub(/`.*/, "", target)
        }
        /process didn.t exit successfully: .*\(signal: / { open = "binary " target }
        END { if (open) print open }
    ' "$log" | sort -u
}

found=$(failures)
mapfile -t tests < <(sed -n 's/^test //p' <<<"$found")
mapfile -t binaries < <(sed -n 's/^binary //p' <<<"$found")
mapfile -t others < <(sed -n 's/^other //p' <<<"$found")
count=$((${#tests[@]} + ${#binaries[@]}))
if [ ${#others[@]} -gt 0 ] || [ "$count" -eq 0 ] || [ "$count" -gt 3 ]; then
    echo "why tests failed:"
    reasons
    exit 1
fi
outcome="and passed by itself"
again=${log%.log}-again.log
[ ${#tests[@]} -eq 0 ] || make test ARGS="--tests -- --exact ${tests[*]}" 2>&1 | tee "$again" ||
    outcome="and failed again"
for test in "${tests[@]}"; do
    grep -q "^test $test \.\.\. ok$" "$again" || outcome="and failed again"
done
for binary in "${binaries[@]}"; do
    make test ARGS="$binary" || outcome="and failed again"
done
echo "failed at first, $outcome: ${tests[*]} ${binaries[*]}; why at first:"
reasons
[ "$outcome" != "and failed again" ]
