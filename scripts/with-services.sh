#!/usr/bin/env bash
# shellcheck disable=SC2317 # functions that only a trap calls look unreachable to it
# Runs a command beside a private PostgreSQL and a private Apache Kafka, and stops both when it
# ends.
#
#   scripts/with-services.sh CMD [ARGS…]
#   scripts/with-services.sh --clean      only stops what killed runs left behind; every run does that first
#
# CMD sees, and its exit code is this script's:
#   CLAIMGATE_TEST_POSTGRES_URL   postgres://claimgate@127.0.0.1:PORT/claimgate
#   KAFKA_BOOTSTRAP_SERVERS       127.0.0.1:PORT
#   CLAIMGATE_TEST_SERVICES       a folder DIR: `scripts/kafka.sh restart DIR/kafka` and `scripts/postgres.sh kill
#                                 DIR/postgres` act on what runs here
# Either of the first two, when it is set already, is used as it is; then DIR has no such
# sub-folder. What cannot be had is left unset, CMD runs all the same, and the last lines say what
# it could not test. With CI=true that is a failure.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -gt 0 ] || die "usage: scripts/with-services.sh CMD [ARGS…]"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$here/../target/services"
root=$(absolute "$here/../target/services")
export CLAIMGATE_TEST_SERVICES=$root/$$

remove() {
    [ ! -d "$1" ] || {
        "$here/kafka.sh" remove "$1/kafka"
        "$here/postgres.sh" remove "$1/postgres"
        rm -rf "$1"
    }
}

# A run that was killed could not clean up. Folders are named by the process that made them.
for left in "$root"/*/; do
    left=${left%/}
    owner=${left##*/}
    [[ $owner =~ ^[0-9]+$ ]] || continue
    if [ "$owner" = $$ ] || [[ $(command_line "$owner") != *with-services* ]]; then
        say "removing what an earlier run left in $left"
        remove "$left" || true
    fi
done
[ "$*" != --clean ] || exit 0

missing=()
finish() {
    local code=$? line
    trap '' INT TERM HUP # Once is enough: the services must not outlive this.
    remove "$CLAIMGATE_TEST_SERVICES" || code=1
    if [ ${#missing[@]} -gt 0 ]; then
        printf '\n' >&2
        for line in "${missing[@]}"; do say "NOT TESTED: $line"; done
        if [ "${CI:-}" = true ]; then
            say "CI=true, so what was not tested is a failure"
            [ "$code" -ne 0 ] || code=1
        fi
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

mkdir -p "$CLAIMGATE_TEST_SERVICES"

# provide SCRIPT VARIABLE WHAT: starts a service and exports the variable that its script prints.
provide() {
    local said=$CLAIMGATE_TEST_SERVICES/$1.said line
    if [ -n "${!2:-}" ]; then
        say "using $2 as it is set"
    # What the script prints goes to `line`, by way of fd 4; what it says, to the terminal and to a
    # copy.
    elif line=$({ "$here/$1.sh" start "$CLAIMGATE_TEST_SERVICES/$1" 2>&1 >&4 4>&- | tee "$said" >&2; } 4>&1); then
        export "${line?}"
    else
        unset "$2"
        missing+=("what needs $3, for there is none: $(tail -n 1 "$said")")
    fi
}
provide postgres CLAIMGATE_TEST_POSTGRES_URL PostgreSQL
provide kafka KAFKA_BOOTSTRAP_SERVERS "Apache Kafka"

# CMD runs in the background, for a shell that waits for a foreground command hears no signal until
# that ends. It keeps the terminal: the shell would take its input away, and make it deaf to Ctrl-C.
(
    trap - INT QUIT
    # It is for the server alone: a worker would take it for a mistyped setting.
    unset CLAIMGATE_POSTGRES_FSYNC
    exec "$@"
) <&0 &
child=$!

signalled=
forward() {
    signalled=yes
    kill "-$1" "$child" 2>/dev/null || true
}
# Ctrl-C in a terminal reaches CMD without help.
if [ -t 0 ]; then trap '' INT; else trap 'forward INT' INT; fi
trap 'forward TERM' TERM
trap 'forward HUP' HUP

# A signal ends `wait` before CMD has ended: then wait again, for CMD's own exit code. Where CMD
# ended in the same moment, bash has lost that code and says -1; the signal's is left.
code=0
while true; do
    signalled=
    before=$code
    wait "$child" && code=0 || code=$?
    [ "$code" -ge 0 ] || code=$before
    [ -n "$signalled" ] || break
done
exit "$code"
