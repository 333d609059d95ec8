#!/usr/bin/env bash
# A private PostgreSQL for the tests: its data, log and port live in one folder, and nothing of a
# PostgreSQL that the machine runs already is touched.
#
#   scripts/postgres.sh start DIR     make it if need be, start it, wait until it answers, print `env`
#   scripts/postgres.sh stop DIR      orderly; data and port stay
#   scripts/postgres.sh kill DIR      as a crash would: no checkpoint, the next start recovers
#   scripts/postgres.sh restart DIR   stop, then start on the same port
#   scripts/postgres.sh promote DIR   a standby becomes a primary
#   scripts/postgres.sh synced DIR    whether a primary has a standby that has all it has (exit code 0)
#   scripts/postgres.sh env DIR       CLAIMGATE_TEST_POSTGRES_URL=…
#   scripts/postgres.sh remove DIR    stop it and delete DIR
#
# CLAIMGATE_POSTGRES_FSYNC=on, at the first start, makes it wait for the disk: for benchmarks.
# CLAIMGATE_POSTGRES_FOLLOWS=DIR, at the first start, makes it a standby of the server in that DIR,
# which from then on waits with each commit until the standby has it.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { die "usage: scripts/postgres.sh start|stop|kill|restart|promote|synced|env|remove DIR"; }
[ $# -eq 2 ] || usage
command=$1
dir=$(absolute "$2")

# PostgreSQL refuses to run as root, so root lends it another user; anybody else runs it as himself.
find_user() {
    user=
    if [ "$(id -u)" -eq 0 ]; then
        user=postgres
        id -u "$user" >/dev/null 2>&1 || user=nobody
        id -u "$user" >/dev/null 2>&1 || die "PostgreSQL does not run as root," \
            "and there is no user postgres or nobody"
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

# DIR itself belongs to the caller; `home`, below it, to the user PostgreSQL runs as. Where that
# user cannot reach DIR (a checkout below /root), home is a temporary folder instead.
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
                die "the user $user, who has to run PostgreSQL for root," \
                    "can reach neither $dir nor $fallback; set TMPDIR to a folder it can reach"
            home=$fallback
        fi
    fi
    chmod 700 "$home"
    printf '%s\n' "$home" >"$dir/home"
}

read_home() {
    [ -s "$dir/home" ] || die "no PostgreSQL was ever started in $dir;" \
        "run scripts/postgres.sh start $dir"
    home=$(cat "$dir/home")
}

port() { cat "$dir/port"; }

set_port() {
    free_port >"$dir/port"
    # The last line of a key wins.
    printf 'port = %s\n' "$(port)" | as_user tee -a "$home/data/postgresql.conf" >/dev/null
}

make_cluster() {
    # --no-sync, and fsync off below: what a killed process had written, the kernel still has. Only
    # a machine that loses power would lose it. synchronous_commit stays on: without it a killed
    # server forgets commits.
    as_user "$programs/initdb" --pgdata="$home/data" --username=claimgate --auth=trust --encoding=UTF8 \
        --locale=C --no-sync >"$dir/initdb.log" 2>&1 ||
        die "initdb failed in $home: $(tail -n 1 "$dir/initdb.log")" \
            "(all of it is in $dir/initdb.log)"
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
host replication all 127.0.0.1/32 trust
CONF
    set_port
}

# Asks a server on loopback; $1 is its port.
ask() { "$programs/psql" --host=127.0.0.1 --port="$1" --username=claimgate --dbname=postgres -qtAX -c "$2"; }

# A copy of another server, which follows it by a slot of its own.
make_standby() {
    local primary
    primary=$(cat "$1/port") || die "no PostgreSQL was ever started in $1, and $dir is to follow it"
    as_user "$programs/pg_basebackup" --host=127.0.0.1 --port="$primary" --username=claimgate --pgdata="$home/data" \
        --wal-method=stream --checkpoint=fast --create-slot --slot=standby --write-recovery-conf --no-sync \
        >"$dir/basebackup.log" 2>&1 ||
        die "pg_basebackup of the server in $1 failed: $(tail -n 1 "$dir/basebackup.log")" \
            "(all of it is in $dir/basebackup.log)"
    # Once it is promoted nobody follows it, and it has nobody to wait for.
    as_user sed -i '/^synchronous_standby_names/d' "$home/data/postgresql.auto.conf"
    set_port
    : >"$dir/ready"
}

# The primary waits for its standby from now on; so does this, until the standby has all that the
# primary has.
wait_for_standby() {
    local primary deadline=$((SECONDS + 60))
    primary=$(cat "$1/port")
    ask "$primary" "alter system set synchronous_standby_names = '*'" >/dev/null
    ask "$primary" 'select pg_reload_conf()' >/dev/null
    until synced "$primary"; do
        [ "$SECONDS" -lt "$deadline" ] || die "the standby in $dir does not catch up with the" \
            "server in $1 within 60 s"
        sleep 0.1
    done
}

# Whether the standby has on its disk what the primary has, and the primary waits for it.
synced() {
    local query="select exists (select from pg_stat_replication where sync_state = 'sync' and flush_lsn >= pg_current_wal_flush_lsn())"
    [ "$(ask "$1" "$query" 2>/dev/null)" = t ]
}

promote() {
    as_user "$programs/pg_ctl" promote --pgdata="$home/data" --wait --timeout=60 --silent >/dev/null ||
        die "PostgreSQL in $home could not be promoted within 60 s;" \
            "the last lines of $home/log say why"
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
        if [ -n "${CLAIMGATE_POSTGRES_FOLLOWS:-}" ]; then make_standby "$CLAIMGATE_POSTGRES_FOLLOWS"; else make_cluster; fi
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
                die "PostgreSQL did not start on 127.0.0.1:$(port);" \
                    "the last lines of $home/log are above"
            fi
        done
    fi
    if [ ! -e "$dir/ready" ]; then
        "$programs/createdb" --host=127.0.0.1 --port="$(port)" --username=claimgate claimgate ||
            die "could not create the database claimgate on 127.0.0.1:$(port)"
        : >"$dir/ready"
    fi
    [ -z "$fresh" ] || [ -z "${CLAIMGATE_POSTGRES_FOLLOWS:-}" ] || wait_for_standby "$CLAIMGATE_POSTGRES_FOLLOWS"
    environment
}

stop() {
    running || return 0
    # Neither mode used here waits for connected clients to leave.
    as_user "$programs/pg_ctl" stop --pgdata="$home/data" --mode="$1" --wait --timeout=60 --silent >/dev/null ||
        die "PostgreSQL in $home did not stop within 60 s;" \
            "its process is $(as_user head -n 1 "$home/data/postmaster.pid")"
}

environment() {
    [ -s "$dir/port" ] || die "no PostgreSQL was ever started in $dir;" \
        "run scripts/postgres.sh start $dir"
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
    start | stop | kill | restart | promote | synced | remove)
        programs=$(postgres_programs) ||
            die "no PostgreSQL server programs in /usr/lib/postgresql/*/bin or PATH;" \
                "run scripts/setup.sh demo"
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
            promote)
                read_home
                promote
                ;;
            synced) synced "$(port)" ;;
            remove) remove ;;
        esac
        ;;
    *) usage ;;
esac
