# shellcheck shell=bash
# What the service scripts share. Sourced, never run.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

die() {
    say "$*"
    exit 1
}

# The one absolute name of a folder that may not exist yet: a service is recognised by it, so two
# ways of writing it must not make two services.
absolute() {
    realpath -m -- "$1" 2>/dev/null || case $1 in
        /*) printf '%s\n' "${1%/}" ;;
        *) printf '%s/%s\n' "$PWD" "${1%/}" ;;
    esac
}

# Whether something listens on a loopback port. The subshell closes the connection again.
listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A loopback port on which nobody listens. It lies below the ports that Linux gives to outgoing
# connections (32768 and up), so that a service which is restarted finds its port still free.
# Somebody else may take it between this look and the use: callers try again with another one.
free_port() {
    local port
    for _ in {1..50}; do
        port=$((15000 + RANDOM % 17000))
        if ! listening "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    die "found no free port between 15000 and 32000 on 127.0.0.1"
}

# Runs a command for at most so many seconds; without the `timeout` program of GNU, for as long as it
# takes. Another one, such as busybox's, knows no --foreground, and would not run the command at all.
within() {
    if timeout --foreground 5 true 2>/dev/null; then
        timeout --foreground "$@"
    else
        shift
        "$@"
    fi
}

# What a process was started as, empty where there is none. Small Debian images have no `ps`.
command_line() {
    if [ -d /proc/self ]; then
        tr '\0' ' ' <"/proc/$1/cmdline"
    else
        ps -ww -p "$1" -o args=
    fi 2>/dev/null || true
}

# The major version of the java in PATH, 0 where there is none or it does not run.
java_version() {
    local found
    found=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -n 1) || true
    printf '%s\n' "${found:-0}"
}

# Whether a Docker engine answers; the client alone is of no use.
docker_answers() { command -v docker >/dev/null && within 10 docker info >/dev/null 2>&1; }

# The folder with the newest PostgreSQL server's programs; Debian keeps them out of PATH, one folder
# a version.
postgres_programs() {
    local initdb
    initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
    [ -x "$initdb" ] || initdb=$(command -v initdb) || return 1
    dirname "$(readlink -f "$initdb")"
}

# Where `cargo_tool` installs: nothing outside of the build folder changes.
tools=${CARGO_TARGET_DIR:-target}/tools

# Installs a program of this version by cargo, once. It is built without optimisation and debug
# information: compiling it is what takes time here, not running it.
cargo_tool() {
    local name=$1 version=$2
    shift 2
    CARGO_PROFILE_DEV_DEBUG=false within 900 cargo install --quiet --debug --locked \
        --root "$tools" --target-dir "$tools/build" "$name@$version" "$@" ||
        die "$name $version could not be installed within 15 minutes"
}

# Whether a checker is there. Continuous integration installs it (`cargo_tool`) or fails; elsewhere
# a checker that is missing is only told.
checker() {
    local program=$1 package=$2 version=$3
    PATH=$tools/bin:$PATH
    ! command -v "$program" >/dev/null || return 0
    if [ "${CI:-}" = true ]; then
        cargo_tool "$package" "$version"
    else
        say "$program is not installed, and what it checks is not checked: cargo install $package --locked"
        return 1
    fi
}
