#!/usr/bin/env bash
# Provokes every alert of deploy/prometheus/claimgate.rules.yml for real: a Prometheus with these
# rules, unchanged, and many workers at once, each with its own group, topics, database, simulator
# of the risk APIs and fault (scripts/alerts/faults.sh). Says of each alert whether it fired, and
# after how long.
#
#   scripts/with-services.sh scripts/provoke-alerts.sh [--hours N] [--keep] [FAULT…]
#   scripts/provoke-alerts.sh --list
#
# Without names: all faults whose alerts can fire within so many hours, 1.3 unless told. `healthy`,
# a worker without a fault, must fire none. The exit code is 1 where an alert did not fire, or did
# so more than a minute later than its rule promises, or where the healthy worker fired one.
# CLAIMGATE and CLAIMGATE_SIMULATOR name binaries that are there already; without them both are
# built. PROMETHEUS names that of Prometheus 2.55 or newer, unless it is in PATH.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."

# Scraping and rules have to take place every so many seconds, and a fault to take effect.
interval=5 slack=60
# The simulator's own.
secret_id=AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA secret_key=Gu5t9xGARNpq86cd98joQYCN3Cozk1qA
app_id=wx0000000000000001 app_secret=0123456789abcdef0123456789abcdef

all=()
declare -A alerts also what settings simulator partitions feed
fault() {
    all+=("$1")
    alerts[$1]=$2 also[$1]=$3 what[$1]=$4
}
# shellcheck source=scripts/alerts/faults.sh
. "$here/alerts/faults.sh"

hours=1.3 keep='' names=()
while [ $# -gt 0 ]; do
    case $1 in
        --hours) hours=${2:?} && shift ;;
        --keep) keep=yes ;;
        --list)
            for name in "${all[@]}"; do printf '%-14s %s: %s\n' "$name" "${alerts[$name]:-none}" "${what[$name]}"; done
            exit
            ;;
        *)
            [ -n "${what[$1]:-}" ] || die "there is no fault $1; --list says which there are"
            names+=("$1")
            ;;
    esac
    shift
done
duration=$(awk "BEGIN { print int($hours * 3600) }")
# An alert that the run is too short for is not waited for.
fits() { [ "$((${1#*:} + slack))" -le "$duration" ]; }
if [ ${#names[@]} -eq 0 ]; then
    for name in "${all[@]}"; do
        fitting=${alerts[$name]:+no}
        for alert in ${alerts[$name]}; do ! fits "$alert" || fitting=; done
        if [ -z "$fitting" ]; then names+=("$name"); else say "NOT PROVOKED: ${alerts[$name]}, it takes more than $hours h"; fi
    done
fi

: "${KAFKA_BOOTSTRAP_SERVERS:?} ${CLAIMGATE_TEST_POSTGRES_URL:?}"
# Without jq no alert would be seen, and the run would say so after its hours only.
for tool in cc curl jq psql python3 rev; do
    command -v "$tool" >/dev/null || die "no $tool in PATH"
done
prometheus=$(command -v "${PROMETHEUS:-prometheus}") ||
    die "no prometheus in PATH (github.com/prometheus/prometheus/releases); PROMETHEUS may name it"
target=$PWD/${CARGO_TARGET_DIR:-target}
[[ ${CARGO_TARGET_DIR:-} != /* ]] || target=$CARGO_TARGET_DIR
if [ -z "${CLAIMGATE:-}" ]; then cargo build --release --package claimgate; fi
if [ -z "${CLAIMGATE_SIMULATOR:-}" ]; then cargo build --release --package claimgate-simulator; fi
claimgate=$(absolute "${CLAIMGATE:-$target/release/claimgate}")
python=$target/alerts/bin/python
[ -x "$python" ] || python3 -m venv "$target/alerts"
"$python" -m pip install --quiet --requirement "$here/alerts/requirements.txt"

lab=$(mktemp -d "${TMPDIR:-/tmp}/claimgate-alerts.XXXXXX")
mkdir "$lab/bin"
ln -s "$claimgate" "$lab/bin/claimgate"
ln -s "$(absolute "${CLAIMGATE_SIMULATOR:-$target/release/claimgate-simulator}")" "$lab/bin/simulator"
cc -shared -fPIC -O2 -o "$lab/clock.so" "$here/alerts/clock.c" -ldl

# Whatever was started here names the folder in its command line.
finish() {
    local code=$? file pid jobs
    trap '' INT TERM HUP
    mapfile -t jobs < <(jobs -p)
    [ ${#jobs[@]} -eq 0 ] || kill "${jobs[@]}" 2>/dev/null || true
    disown -a
    for file in "$lab"/*.pid "$lab"/*/*.pid; do
        pid=$(cat "$file" 2>/dev/null) || continue
        [[ $(command_line "$pid") != *"$lab"* ]] || kill -KILL "$pid" 2>/dev/null || true
    done
    for file in "$lab"/*/kafka-1; do [ ! -d "$file" ] || "$here/kafka.sh" remove "$file" || true; done
    if [ "$code$keep" = 0 ]; then rm -rf "$lab"; else say "logs and Prometheus' data are in $lab"; fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- What faults are made of: about the worker `name`, whose folder is `dir` --------------------

# A process of the background is remembered by its file; the shell tells of its end no more.
started() { echo "$!" >"$1.pid" && disown "$!"; }

mark() { date +%s >"$dir/began"; }
kafka() { KAFKA_BOOTSTRAP_SERVERS=$(brokers) "$python" "$here/alerts/kafka.py" "$@"; }
brokers() { cat "$dir/kafka" 2>/dev/null || printf '%s\n' "$KAFKA_BOOTSTRAP_SERVERS"; }
database() { printf '%s\n' "${CLAIMGATE_TEST_POSTGRES_URL%/*}/$name"; }
sql() { psql -qtAX -c "$1" "$CLAIMGATE_TEST_POSTGRES_URL" >/dev/null; }
api() { curl -sfS -X PUT -d "{\"all\": $1}" "$(cat "$dir/url")/control/faults"; }

start_worker() {
    local program=${1:-claimgate} changes=() setting key
    for setting in ${settings[$name]:-}; do
        key=${setting%%=*}
        key=${key//./__}
        changes+=("CLAIMGATE__${key^^}=${setting#*=}")
    done
    # In its folder there is no config/.
    (cd "$dir" && exec env "${changes[@]}" "$lab/bin/$program" --config "$dir/worker.toml" run) \
        >>"$dir/$program.log" 2>&1 </dev/null &
    started "$dir/${program/claimgate/worker}"
}

stop_worker() {
    local pid
    pid=$(cat "$dir/worker.pid")
    kill "-$1" "$pid"
    while kill -0 "$pid" 2>/dev/null && [[ $(command_line "$pid") == *"$lab"* ]]; do sleep 0.2; done
}

# scrape PORT…: where Prometheus finds the worker, or several of one installation.
scrape() {
    local port
    { for port in "$@"; do printf -- '- targets: ["127.0.0.1:%s"]\n' "$port"; done; } >"$dir/targets.part"
    mv "$dir/targets.part" "$dir/targets.yml"
}

configuration() {
    local url api
    url=$(cat "$dir/url")
    cat <<TOML
[kafka]
bootstrap_servers = "$(brokers)"
group_id = "$name"
input_topic = "$name.claims"
output_topic = "$name.decisions"
retry_topic = "$name.retry"
dead_letter_topic = "$name.dead"
[postgres]
url = "$(database)"
[tencent_cloud]
secret_id = "$secret_id"
secret_key_file = "$dir/secret-key"
[wechat]
app_id = "$app_id"
app_secret = "$app_secret"
base_url = "$url"
[http]
listen = "127.0.0.1:$(cat "$dir/port")"
TOML
    for api in intelligent_qr_code mini_program captcha_query captcha_check; do
        printf '[risk.%s]\nbase_url = "%s"\n' "$api" "$url"
    done
}

taken=' '
# A port that no other worker of this run has.
next_port() {
    port=$(free_port)
    while [[ $taken == *" $port "* ]]; do port=$(free_port); done
    taken+="$port "
}

make_worker() {
    local port options
    mkdir "$dir"
    next_port && echo "$port" >"$dir/port"
    scrape "$port"
    next_port && echo "http://127.0.0.1:$port" >"$dir/url"
    read -ra options <<<"${simulator[$name]:-}"
    "$lab/bin/simulator" --listen "127.0.0.1:$port" "${options[@]}" >"$dir/simulator.log" 2>&1 </dev/null &
    started "$dir/simulator"
    echo "$secret_key" >"$dir/secret-key"
    [ "$(type -t "prepare_$name")" != function ] || "prepare_$name"
    configuration >"$dir/worker.toml"
    sql "create database $name"
    (cd "$dir" && "$claimgate" --config worker.toml topics create --partitions "${partitions[$name]:-2}" --replication-factor 1) \
        >"$dir/topics.log" 2>&1 || die "no topics for $name: $(tail -n 1 "$dir/topics.log")"
    start_worker
}

ready() { [ "$(curl -s "http://127.0.0.1:$(cat "$dir/port")/readyz")" = ok ]; }

# ---- The run -------------------------------------------------------------------------------------

say "starting ${#names[@]} workers in $lab"
for name in "${names[@]}"; do dir=$lab/$name && make_worker; done
for name in "${names[@]}"; do
    dir=$lab/$name
    for _ in {1..120}; do
        if ready; then break; fi
        sleep 0.5
    done
    ready || die "the worker $name is not ready: $(tail -n 1 "$dir/claimgate.log")"
done

cp deploy/prometheus/claimgate.rules.yml "$lab"
{
    printf 'global: {scrape_interval: %ss, evaluation_interval: %ss}\n' "$interval" "$interval"
    printf 'rule_files: [claimgate.rules.yml]\nscrape_configs:\n'
    for name in "${names[@]}"; do
        printf '  - job_name: %s\n    file_sd_configs: [{files: ["%s"]}]\n' "$name" "$lab/$name/targets.yml"
    done
} >"$lab/prometheus.yml"
next_port
"$prometheus" --config.file="$lab/prometheus.yml" --storage.tsdb.path="$lab/prometheus" \
    --web.listen-address="127.0.0.1:$port" --log.level=warn >"$lab/prometheus.log" 2>&1 </dev/null &
started "$lab/prometheus"
query=http://127.0.0.1:$port/api/v1/alerts

for name in "${names[@]}"; do printf '%s\n' "${feed[$name]:-1 qr_code}" >"$lab/$name/feed"; done
"$python" "$here/alerts/kafka.py" feed "$lab" >"$lab/feed.log" 2>&1 </dev/null &
started "$lab/feed"
sleep "$slack" # So that everybody has been well.

say "the faults begin, $hours h are left"
for name in "${names[@]}"; do
    [ "$name" != healthy ] || continue
    (
        trap - EXIT INT TERM HUP
        dir=$lab/$name
        mark
        "$name"
    ) >"$lab/$name/fault.log" 2>&1 </dev/null &
done

# When each alert fired first: seconds since the fault.
declare -A fired
look() {
    local job alert began
    while read -r job alert; do
        [ -z "${fired[$job $alert]:-}" ] || continue
        began=$(cat "$lab/$job/began" 2>/dev/null) || began=$start
        fired[$job $alert]=$(($(date +%s) - began))
        say "$job: $alert after ${fired[$job $alert]} s"
    done < <(curl -sf "$query" | jq -r '.data.alerts[] | select(.state == "firing") | "\(.labels.job // "nobody") \(.labels.alertname)"' | sort -u)
}

# What became of the faults so far, as a table; fails where something is not as it should be.
report() {
    local name spec alert seconds verdict others result code=0
    printf '| worker | what was done | alert | fired after | promised within | fired beside it |\n|---|---|---|---|---|---|\n'
    for name in "${names[@]}"; do
        others=
        for alert in "${!fired[@]}"; do
            [ "${alert% *}" = "$name" ] || continue
            alert=${alert#* }
            [[ " ${alerts[$name]}" != *" $alert:"* ]] || continue
            others+="${others:+, }$alert ${fired[$name $alert]} s"
            [[ " ${also[$name]} " == *" $alert "* ]] || others+=' (unexplained)'
        done
        [ "$name" != healthy ] || [ -z "$others" ] || code=1
        for spec in ${alerts[$name]:-none:0}; do
            alert=${spec%:*} seconds=${spec#*:}
            result=${fired[$name $alert]:-}
            if [ "$alert" = none ]; then
                verdict=
            elif [ -n "$result" ]; then
                verdict="$result s"
                [ "$result" -ge 0 ] && [ "$result" -le $((seconds + slack)) ] || verdict+=', WRONG' code=1
            elif fits "$spec"; then
                verdict='NEVER' code=1
            else
                verdict='not in this run'
            fi
            printf '| %s | %s | %s | %s | %s s | %s |\n' "$name" "${what[$name]}" "$alert" "$verdict" "$seconds" "$others"
        done
    done
    return "$code"
}

start=$(date +%s)
while [ $(($(date +%s) - start)) -lt "$duration" ]; do
    look
    report >"$lab/report.md" || true
    sleep "$interval"
done
report
