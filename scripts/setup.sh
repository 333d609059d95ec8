#!/usr/bin/env bash
# Installs what a Debian machine with Rust, git and make still lacks; says and does nothing where
# all is there.
#
#   scripts/setup.sh build   compilers and headers for the C library below the Kafka client
#   scripts/setup.sh lint    the same and shellcheck
#   scripts/setup.sh instructions  the same as build and valgrind
#   scripts/setup.sh demo    those of build and a PostgreSQL server
#   scripts/setup.sh services  and what runs an Apache Kafka broker; with a Docker engine that is
#                            Docker, unless CLAIMGATE_KAFKA=jars
#   scripts/setup.sh test    and Chromium, where the distribution has it as a package
#   scripts/setup.sh examples  and what builds examples/: a Java compiler, Maven, Python's venv
#
# It installs as root or with a sudo that asks no password. Elsewhere it prints the command to run,
# and fails.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

profile=${1:-build}
case $profile in
    build | lint | instructions | demo | services | test | examples) ;;
    *) die "usage: scripts/setup.sh build|lint|instructions|demo|services|test|examples" ;;
esac

has() { command -v "$1" >/dev/null; }

# Prints the packages that are missing.
missing() {
    { has cc && has c++ && has make; } || echo build-essential
    has pkg-config || echo pkg-config
    pkg-config --exists openssl 2>/dev/null || echo libssl-dev
    pkg-config --exists zlib 2>/dev/null || echo zlib1g-dev
    [ "$profile" != build ] || return 0
    if [ "$profile" = lint ]; then
        has shellcheck || echo shellcheck
        return 0
    fi
    if [ "$profile" = instructions ]; then
        has valgrind || echo valgrind
        return 0
    fi

    [ -n "${CLAIMGATE_TEST_POSTGRES_URL:-}" ] || postgres_programs >/dev/null || echo postgresql
    [ "$profile" != demo ] || return 0

    [ "$profile" != test ] || browser_package

    if [ "$profile" = examples ]; then
        has mvn || echo maven
        has javac || java_package jdk
        python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
    fi

    # Docker brings its own broker, and so does whoever names one; without either it comes from
    # jars.
    [ -z "${KAFKA_BOOTSTRAP_SERVERS:-}" ] || return 0
    [ "${CLAIMGATE_KAFKA:-auto}" = jars ] || ! docker_answers || return 0
    [ "$(java_version)" -ge 17 ] || java_package jre
    has mvn || echo maven
}

# The status page is tested in it: ten seconds, 124 MB to load, 414 MB on the disk. Where there is
# none, these tests are left out, and say so.
browser_package() {
    ! has chromium && ! has chromium-browser && ! has google-chrome && ! has chrome || return 0
    ! apt-cache policy chromium 2>/dev/null | grep -q 'Candidate: [0-9]' || echo chromium
}

# Kafka needs Java 17, which is not the default of every release that has it; newer ones have only
# newer.
java_package() {
    if apt-cache show "openjdk-17-$1-headless" >/dev/null 2>&1; then
        echo "openjdk-17-$1-headless"
    else
        echo "default-$1-headless"
    fi
}

# Debian's server package starts a database of its own on port 5432. Nobody here asked for that one:
# for this installation it is told not to, and whatever is installed later is not affected.
without_default_cluster() {
    local folder=/etc/postgresql-common/createcluster.d code=0
    [[ " ${packages[*]} " == *" postgresql "* ]] || {
        "$@"
        return
    }
    "${sudo[@]}" mkdir -p "$folder"
    echo 'create_main_cluster = false' | "${sudo[@]}" tee "$folder/claimgate-setup.conf" >/dev/null
    "$@" || code=$?
    "${sudo[@]}" rm -f "$folder/claimgate-setup.conf"
    "${sudo[@]}" rmdir --ignore-fail-on-non-empty "$folder"
    return "$code"
}

install() {
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        install --yes -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null
}

has cargo || die "no cargo in PATH; install Rust with rustup first"
mapfile -t packages < <(missing)
[ ${#packages[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    sudo=(sudo -n)
    has sudo && sudo -n true 2>/dev/null || sudo=(no)
fi
if ! has apt-get || [ "${sudo[0]:-}" = no ]; then
    die "this needs packages that are missing here; as root," \
        "run: apt-get install --no-install-recommends ${packages[*]}"
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
"${sudo[@]}" apt-get -o DPkg::Lock::Timeout=300 update -qq >"$log" 2>&1 </dev/null ||
    say "apt-get update failed ($(tail -n 1 "$log")); trying with the lists that are here"
# Now that the lists are new, which Java there is may have another answer.
mapfile -t packages < <(missing)
say "installing ${packages[*]}"
without_default_cluster install "${packages[@]}" || {
    tail -n 5 "$log" >&2
    die "apt-get could not install ${packages[*]}; its last lines are above"
}
mapfile -t packages < <(missing)
[ ${#packages[@]} -eq 0 ] || die "apt-get installed its packages," \
    "and yet these are not in use: ${packages[*]}; is another version earlier in PATH?"
