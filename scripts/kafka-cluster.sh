#!/usr/bin/env bash
# Three private Apache Kafka brokers on loopback, one quorum: every topic is on all three, and what
# is acknowledged is on two of them at least. Each broker is one of scripts/kafka.sh, from jars, in
# DIR/1, DIR/2 and DIR/3.
#
#   scripts/kafka-cluster.sh start DIR [N]     make them if need be, start them, wait until they answer, print `env`;
#                                              with N, only that one
#   scripts/kafka-cluster.sh stop DIR [N]      orderly; data and ports stay
#   scripts/kafka-cluster.sh kill DIR [N]      SIGKILL
#   scripts/kafka-cluster.sh restart DIR [N]   stop, then start on the same ports
#   scripts/kafka-cluster.sh env DIR           KAFKA_BOOTSTRAP_SERVERS=…
#   scripts/kafka-cluster.sh remove DIR        stop them and delete DIR
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { die "usage: scripts/kafka-cluster.sh start|stop|kill|restart|env|remove DIR [N]"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nodes=(1 2 3)
export CLAIMGATE_KAFKA=jars CLAIMGATE_KAFKA_HEAP=${CLAIMGATE_KAFKA_HEAP:-384m}

# Asks something of several brokers at once: of three, one alone is no quorum, and would wait for
# the others.
ask() {
    local command=$1 node code=0 asked=()
    shift
    for node in "$@"; do
        CLAIMGATE_KAFKA_NODE=$node "$here/kafka.sh" "$command" "$dir/$node" >/dev/null &
        asked+=("$!")
    done
    for node in "${asked[@]}"; do wait "$node" || code=1; done
    return "$code"
}

# Where the controllers are to listen, on ports of which each is another.
choose_voters() {
    local node port voters=''
    for node in "${nodes[@]}"; do
        port=$(free_port)
        while [[ $voters == *:$port,* ]]; do port=$(free_port); done
        voters+=$node@127.0.0.1:$port,
    done
    printf '%s\n' "${voters%,}" >"$dir/voters"
}

# Somebody may take a port between the choice and the start: then all of them are made anew.
start_new() {
    local tries
    "$here/kafka.sh" fetch
    mkdir -p "$dir" || die "cannot make the folder $dir"
    CLAIMGATE_KAFKA_CLUSTER=A$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)
    export CLAIMGATE_KAFKA_CLUSTER
    for tries in 1 2 3; do
        choose_voters
        CLAIMGATE_KAFKA_VOTERS=$(cat "$dir/voters")
        export CLAIMGATE_KAFKA_VOTERS
        ! ask start "${nodes[@]}" || return 0
        say "three brokers did not start at the ${tries}. try"
        ask remove "${nodes[@]}"
    done
    rm -f "$dir/voters"
    die "three brokers of Apache Kafka did not start on 127.0.0.1; what each said is above"
}

environment() {
    local node servers=''
    for node in "${nodes[@]}"; do servers+=,127.0.0.1:$(cat "$dir/$node/port"); done
    printf 'KAFKA_BOOTSTRAP_SERVERS=%s\n' "${servers#,}"
}

[ $# -eq 2 ] || [ $# -eq 3 ] || usage
dir=$(absolute "$2")
some=("${nodes[@]}")
if [ $# -eq 3 ]; then
    [[ " ${nodes[*]} " == *" $3 "* ]] || die "there is no broker $3, only ${nodes[*]}"
    some=("$3")
fi
case $1 in
    env | stop | kill | restart)
        [ -s "$dir/voters" ] || die "no cluster was ever started in $dir;" \
            "run scripts/kafka-cluster.sh start $dir"
        ;;
esac
case $1 in
    start)
        if [ -s "$dir/voters" ]; then ask start "${some[@]}"; else start_new; fi
        environment
        ;;
    stop | kill) ask "$1" "${some[@]}" ;;
    restart)
        ask stop "${some[@]}"
        ask start "${some[@]}"
        environment
        ;;
    env) environment ;;
    remove)
        [ ! -d "$dir" ] || ask remove "${nodes[@]}"
        rm -rf "$dir"
        ;;
    *) usage ;;
esac
