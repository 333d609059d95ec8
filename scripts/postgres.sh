#!/usr/bin/env bash
# A private PostgreSQL for the tests: its data, log and port live in one folder, and nothing of a PostgreSQL
# that the machine runs already is touched.
#
#   scripts/postgres.sh start DIR     make it if need be, start it, wait until it answers, print `env`
#   scripts/postgres.sh stop DIR      orderly; data and port stay
#   scripts/postgres.sh kill DIR      as a crash would: no checkpoint, the next start recovers
#   scripts/postgres.sh restart DIR   stop, then start on the same port
#   scripts/postgres.sh env DIR       CLAIMGATE_TEST_POSTGRES_URL=…
#   scripts/postgres.sh remove DIR    stop it and delete DIR
#
# CLAIMGATE_POSTGRES_FSYNC=on, at the first start, makes it wait for the disk: for benchmarks.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { die "usage: scripts/postgres.sh start|stop|kill|restart|env|remove DIR"; }
[ $# -eq 2 ] || usage
command=$1
dir=$(absolute "$2")

# PostgreSQL refuses to run as root, so root lends it another user; anybody else runs it as himself.
find_user() {
    user=
    if [ "$(id -u)" -eq 0 ]; then
        user=postgres
        id -u "$user" >/dev/null 2>&1 || user=nobody
        id -u "$user" >/dev/null 2>&1 || die "PostgreSQL does not run as root, and there is no user postgres or nobody"
    fi
}

# The root folder is one that every user may stand in; the caller's may not be.
as_user() {
    (
        cd /
        if [ -z "$user" ]; then
            "$@"
        elif command -v setpriv >/dev/null; then
            setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups -- "$@"
        elif command -v runuser >/dev/null; then
            runuser -u "$user" -- "$@"
        else
            su -s /bin/sh "$user" -c 'exec "$@"' -- sh "$@"
        fi
    )
}

# DIR itself belongs to the caller; `home`, below it, to the user PostgreSQL runs as. Where that user cannot
# reach DIR (a checkout below /root), home is a temporary folder instead.
make_home() {
    local fallback
    mkdir -p "$dir" || die "cannot make the folder $dir"
    home=$dir/server
    mkdir -p "$home"
    if [ -n "$user" ]; then
        chown "$user" "$home"
        if ! as_user test -w "$home"; then
            rmdir "$home"
            fallback=$(mktemp -d "${TMPDIR:-/tmp}/claimgate-postgres.XXXXXX")
            chown "$user" "$fallback"
            as_user test -w "$fallback" ||
                die "the user $user, who has to run PostgreSQL for root, can reach neither $dir nor $fallback; set TMPDIR to a folder it can reach"
            home=$fallback
        fi
    fi
    chmod 700 "$home"
    printf '%s\n' "$home" >"$dir/home"
}

read_home() {
    [ -s "$dir/home" ] || die "no PostgreSQL was ever started in $dir; run scripts/postgres.sh start $dir"
    home=$(cat "$dir/home")
}

port() { cat "$dir/port"; }

set_port() {
    free_port >"$dir/port"
    # The last line of a key wins.
    printf 'port = %s\n' "$(port)" | as_user tee -a "$home/data/postgresql.conf" >/dev/null
}

make_cluster() {
    # --no-sync, and fsync off below: what a killed process had written, the kernel still has. Only a machine
    # that loses power would lose it. synchronous_commit stays on: without it a killed server forgets commits.
    as_user "$programs/initdb" --pgdata="$home/data" --username=claimgate --auth=trust --encoding=UTF8 \
        --locale=C --no-sync >"$dir/initdb.log" 2>&1 ||
        die "initdb failed in $home: $(tail -n 1 "$dir/initdb.log") (all of it is in $dir/initdb.log)"
    as_user tee -a "$home/data/postgresql.conf" >/dev/null <<CONF
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
fsync = ${CLAIMGATE_POSTGRES_FSYNC:-off}
full_page_writes = ${CLAIMGATE_POSTGRES_FSYNC:-off}
synchronous_commit = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
logging_collector = off
CONF
    as_user tee "$home/data/pg_hba.conf" >/dev/null <<'CONF'
host all all 127.0.0.1/32 trust
CONF
    set_port
}

# The log grows over restarts: only what is new can be about this start.
launch() {
    local seen=0
    [ ! -f "$home/log" ] || seen=$(wc -c <"$home/log")
    as_user "$programs/pg_ctl" start --pgdata="$home/data" --log="$home/log" --wait --timeout=60 --silent \
        </dev/null >/dev/null 2>&1 || {
        failure=$(tail -c "+$((seen + 1))" "$home/log" 2>/dev/null | tail -n 20)
        return 1
    }
}

running() { as_user "$programs/pg_ctl" status --pgdata="$home/data" >/dev/null 2>&1; }

start() {
    local fresh='' tries
    if [ -s "$dir/home" ]; then read_home; else make_home; fi
    # The port is written last: without it, an earlier start was interrupted half-way.
    if [ ! -s "$dir/port" ]; then
        rm -rf "$home/data"
        make_cluster
        fresh=yes
    fi
    if ! running; then
        for tries in {1..5}; do
            if launch; then
                break
            elif [ -n "$fresh" ] && [ "$tries" -lt 5 ] && [[ $failure == *"Address already in use"* ]]; then
                set_port
            elif [ "$tries" -lt 5 ] && [[ $failure == *"shared memory block"*"still in use"* ]]; then
                sleep 1 # Somebody killed the server; its children are on their way out.
            else
                printf '%s\n' "$failure" >&2
                die "PostgreSQL did not start on 127.0.0.1:$(port); the last lines of $home/log are above"
            fi
        done
    fi
    if [ ! -e "$dir/ready" ]; then
        "$programs/createdb" --host=127.0.0.1 --port="$(port)" --username=claimgate claimgate ||
            die "could not create the database claimgate on 127.0.0.1:$(port)"
        : >"$dir/ready"
    fi
    environment
}

stop() {
    running || return 0
    # Neither mode used here waits for connected clients to leave.
    as_user "$programs/pg_ctl" stop --pgdata="$home/data" --mode="$1" --wait --timeout=60 --silent >/dev/null ||
        die "PostgreSQL in $home did not stop within 60 s; its process is $(as_user head -n 1 "$home/data/postmaster.pid")"
}

environment() {
    [ -s "$dir/port" ] || die "no PostgreSQL was ever started in $dir; run scripts/postgres.sh start $dir"
    printf 'CLAIMGATE_TEST_POSTGRES_URL=postgres://claimgate@127.0.0.1:%s/claimgate\n' "$(port)"
}

remove() {
    [ -d "$dir" ] || return 0
    if [ -s "$dir/home" ]; then
        read_home
        stop immediate
        rm -rf "$home"
    fi
    rm -rf "$dir"
}

case $command in
    env) environment ;;
    start | stop | kill | restart | remove)
        programs=$(postgres_programs) ||
            die "no PostgreSQL server programs in /usr/lib/postgresql/*/bin or PATH; run scripts/setup.sh demo"
        find_user
        case $command in
            start) start ;;
            stop)
                read_home
                stop fast
                ;;
            kill)
                read_home
                stop immediate
                ;;
            restart)
                read_home
                stop fast
                start
                ;;
            remove) remove ;;
        esac
        ;;
    *) usage ;;
esac
