#!/usr/bin/env bash
# A private Apache Kafka for the tests: one broker on loopback, with its data, log and port in one
# folder.
#
#   scripts/kafka.sh fetch            get the broker's jars, if they are not in target/kafka-jars yet
#   scripts/kafka.sh start DIR        make it if need be, start it, wait until it answers, print `env`
#   scripts/kafka.sh stop DIR         orderly; data and port stay
#   scripts/kafka.sh kill DIR         SIGKILL
#   scripts/kafka.sh restart DIR      stop, then start on the same port
#   scripts/kafka.sh env DIR          KAFKA_BOOTSTRAP_SERVERS=…
#   scripts/kafka.sh remove DIR       stop it and delete DIR
#
# CLAIMGATE_KAFKA says how the broker runs: `docker` (the image apache/kafka), `jars` (on this
# machine's Java, no Docker), or `auto`, the default: Docker where an engine answers, else, or where
# that fails, jars.
# CLAIMGATE_KAFKA_PROXY=PORT, at the first start, makes it listen on a second port as well, which it
# writes to DIR/proxied, and tell whoever comes there to go on at 127.0.0.1:PORT: where a test has a
# network of its own.
# CLAIMGATE_KAFKA_SECURE=1, at the first start and with jars only, makes it listen on a port for
# SASL_SSL as well, which it writes to DIR/secure: the users are claimgate, who may do everything,
# and stranger, who may do nothing; each has the password NAME-secret, for PLAIN and SCRAM-SHA-512.
# The broker's certificate is in DIR/secure.pem and signs itself.
# CLAIMGATE_KAFKA_HEAP is how large a broker from jars may grow, 512m unless it says otherwise.
# CLAIMGATE_KAFKA_VOTERS, CLAIMGATE_KAFKA_NODE and CLAIMGATE_KAFKA_CLUSTER, at the first start, make
# it one broker of several: scripts/kafka-cluster.sh sets them.
set -euo pipefail
# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

usage() { die "usage: scripts/kafka.sh fetch, or scripts/kafka.sh start|stop|kill|restart|env|remove DIR"; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sed -n '/<artifactId>kafka_2.13</,/<version>/s:.*<version>\(.*\)</version>.*:\1:p' "$here/kafka/pom.xml")
jars=$here/../target/kafka-jars/$version
image=apache/kafka:$version
start_limit=60 # seconds until a broker has to answer
stop_limit=30  # seconds for an orderly stop; then it is killed

# What both kinds of broker are told: it is alone, it does not wait for others, and no topic appears
# by itself.
# After a SIGKILL the controller, which is the same process, takes no new registration before the
# old one's session has ended: 9 s by default. And after a SIGKILL a group coordinator of 4.2.0 was
# seen to serve offsets of minutes ago, though its log had the last ones: it needs several reads for
# a log of more than 5 MB and had stopped after the first. One read is enough here.
# Of several brokers every topic is on three, and what is acknowledged is on two of them at least.
settings() {
    local replicas=1 acknowledge=1
    [ -z "${CLAIMGATE_KAFKA_VOTERS:-}" ] || replicas=3 acknowledge=2
    cat <<SETTINGS
auto.create.topics.enable=false
default.replication.factor=$replicas
min.insync.replicas=$acknowledge
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=$replicas
transaction.state.log.min.isr=$acknowledge
transaction.state.log.num.partitions=5
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
share.coordinator.state.topic.replication.factor=$replicas
share.coordinator.state.topic.min.isr=$acknowledge
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.load.buffer.size=67108864
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
SETTINGS
}

# The ports it listens on, and where it tells clients to come; $1 is the address it binds.
listeners() {
    local client=$2 controller=$3 bound='' told='' kind='' node=${CLAIMGATE_KAFKA_NODE:-1}
    if [ -n "${CLAIMGATE_KAFKA_PROXY:-}" ]; then
        bound=,PROXIED://$1:$(cat "$dir/proxied")
        told=,PROXIED://127.0.0.1:$CLAIMGATE_KAFKA_PROXY
        kind=,PROXIED:PLAINTEXT
    fi
    if [ -n "${CLAIMGATE_KAFKA_SECURE:-}" ]; then
        bound=$bound,SECURE://$1:$(cat "$dir/secure")
        told=$told,SECURE://127.0.0.1:$(cat "$dir/secure")
        kind=$kind,SECURE:SASL_SSL
    fi
    cat <<LISTENERS
process.roles=broker,controller
node.id=$node
controller.quorum.voters=${CLAIMGATE_KAFKA_VOTERS:-1@127.0.0.1:$controller}
listeners=CLIENT://$1:$client,CONTROLLER://127.0.0.1:$controller$bound
advertised.listeners=CLIENT://127.0.0.1:$client$told
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT$kind
inter.broker.listener.name=CLIENT
controller.listener.names=CONTROLLER
LISTENERS
}

# 16 bytes in URL-safe base64, which must not begin with a hyphen.
cluster_id() { printf 'A%s\n' "$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | cut -c 2-22)"; }

# ---- Jars ----------------------------------------------------------------------------------------

check_java() {
    local found
    found=$(java_version)
    [ "$found" -ge 17 ] ||
        die "Apache Kafka $version needs Java 17 or newer in PATH, here it is $found (0: none);" \
            "run CLAIMGATE_KAFKA=jars scripts/setup.sh test"
}

# Every run shares the jars. They appear under their name only when they are complete, so that a run
# that was interrupted, or one beside this, never leaves half of them.
fetch() {
    local part log
    [ ! -d "$jars" ] || return 0
    command -v mvn >/dev/null || die "no mvn in PATH, it fetches Apache Kafka $version;" \
        "run CLAIMGATE_KAFKA=jars scripts/setup.sh test"
    mkdir -p "$(dirname "$jars")"
    part=$(mktemp -d "$jars.XXXXXX")
    log=$part.log
    say "fetching the jars of Apache Kafka $version (once, about 45 MB)"
    # The output goes to a folder that Maven makes, which is as readable as the rest of target/.
    within 900 mvn -B -q -Dstyle.color=never -f "$here/kafka/pom.xml" \
        org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$part/jars" >"$log" 2>&1 </dev/null || {
        # After its errors Maven explains how to ask it for more; the first one says what is wrong.
        { grep -m 1 ERROR "$log" || tail -n 5 "$log"; } | sed 's/\x1b\[[0-9;]*m//g' >&2
        rm -rf "$part" "$log"
        die "Maven could not fetch the jars of Apache Kafka $version, its error is above;" \
            "see that it reaches Maven Central, and run scripts/kafka.sh fetch"
    }
    # Where another run was faster, this one's would land inside that folder: -T refuses.
    mv -T "$part/jars" "$jars" 2>/dev/null || [ -d "$jars" ] || mv "$part/jars" "$jars"
    rm -rf "$part" "$log"
}

# The second port for clients, where one is wanted. If it is one of the others by chance, the start
# says so and is tried again.
choose_proxied() { [ -z "${CLAIMGATE_KAFKA_PROXY:-}" ] || free_port >"$dir/proxied"; }

# What a listener with TLS and logins needs. Whoever comes by the plain port is ANONYMOUS, as the
# broker itself is.
secure_settings() {
    local module=org.apache.kafka.common.security users
    [ -n "${CLAIMGATE_KAFKA_SECURE:-}" ] || return 0
    users='user_claimgate="claimgate-secret" user_stranger="stranger-secret"'
    cat <<SETTINGS
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config=$module.plain.PlainLoginModule required $users;
listener.name.secure.scram-sha-512.sasl.jaas.config=$module.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location=$dir/keystore.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:claimgate
SETTINGS
}

prepare_secure() {
    [ -n "${CLAIMGATE_KAFKA_SECURE:-}" ] || return 0
    free_port >"$dir/secure"
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
        -keyout "$dir/secure.key" -out "$dir/secure.pem" 2>"$dir/openssl.log" ||
        die "openssl made no certificate: $(tail -n 1 "$dir/openssl.log")"
    cat "$dir/secure.key" "$dir/secure.pem" >"$dir/keystore.pem"
}

# The controller's port among CLAIMGATE_KAFKA_VOTERS, `1@127.0.0.1:15001,2@127.0.0.1:15002`.
voter_port() { tr ',' '\n' <<<"$CLAIMGATE_KAFKA_VOTERS" | sed -n "s/^$CLAIMGATE_KAFKA_NODE@127.0.0.1://p"; }

# Ports, configuration and an empty data folder, for a first start.
prepare_jars() {
    local client controller scram=()
    client=$(free_port)
    controller=$client
    while [ "$controller" = "$client" ]; do controller=$(free_port); done
    # One of several was told where its controller listens.
    [[ ,${CLAIMGATE_KAFKA_VOTERS:-} != *,"${CLAIMGATE_KAFKA_NODE:-1}"@127.0.0.1:* ]] || controller=$(voter_port)
    choose_proxied
    prepare_secure
    [ -z "${CLAIMGATE_KAFKA_SECURE:-}" ] || scram=(
        --add-scram 'SCRAM-SHA-512=[name=claimgate,password=claimgate-secret]'
        --add-scram 'SCRAM-SHA-512=[name=stranger,password=stranger-secret]'
    )
    {
        listeners 127.0.0.1 "$client" "$controller"
        settings
        secure_settings
        # The cleaner's buffer is 128 MB unless told: a quarter of the heap.
        printf '%s\n' "log.dirs=$dir/data" log.cleaner.dedupe.buffer.size=4194304 num.network.threads=2 num.io.threads=4
    } >"$dir/server.properties"
    rm -rf "$dir/data"
    java -cp "$jars/*" -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" \
        kafka.tools.StorageTool format --cluster-id "${CLAIMGATE_KAFKA_CLUSTER:-$(cluster_id)}" \
        --config "$dir/server.properties" "${scram[@]}" >"$dir/format.log" 2>&1 ||
        die "could not format the broker's folder $dir/data: $(tail -n 1 "$dir/format.log")" \
            "(all of it is in $dir/format.log)"
    printf '%s\n' "$client" >"$dir/port"
}

# In a process group of its own (set -m), so that Ctrl-C in a terminal ends the tests and not the
# broker under them; whoever started it stops it.
launch_jars() {
    set -m
    nohup java -Xms128m -Xmx"${CLAIMGATE_KAFKA_HEAP:-512m}" -XX:+UseSerialGC -XX:+ExitOnOutOfMemoryError -XX:-UsePerfData \
        -Djava.awt.headless=true -Dlog4j2.disableJmx=true \
        -Dlog4j2.configurationFile="$here/kafka/log4j2.properties" -cp "$jars/*" \
        kafka.Kafka "$dir/server.properties" >>"$dir/log" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$dir/pid"
    set +m
    # Until the new process has become the broker's, its command line is this script's.
    until alive_jars || ! kill -0 "$!" 2>/dev/null; do sleep 0.02; done
}

# The broker's process, if it lives. After a while a number alone proves nothing: the command line
# behind it has to name this folder too.
pid_jars() {
    local pid
    pid=$(cat "$dir/pid" 2>/dev/null) || return 1
    [[ $(command_line "$pid") == *"$dir/server.properties"* ]] || return 1
    printf '%s\n' "$pid"
}

alive_jars() { pid_jars >/dev/null; }

log_jars() { cat "$dir/log" 2>/dev/null || true; }

signal_jars() {
    local pid deadline=$((SECONDS + stop_limit))
    pid=$(pid_jars) || return 0
    kill "-$1" "$pid" 2>/dev/null || true
    while alive_jars; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "the broker in $dir did not stop within $stop_limit s and is killed"
            kill -KILL "$pid" 2>/dev/null || true
            deadline=$((SECONDS + stop_limit))
        fi
        sleep 0.1
    done
    rm -f "$dir/pid"
}

stop_jars() { signal_jars TERM; }
kill_jars() { signal_jars KILL; }
remove_jars() { signal_jars KILL; }

# ---- Docker --------------------------------------------------------------------------------------

container() { cat "$dir/container"; }

prepare_docker() {
    local port key value variables=()
    port=$(free_port)
    choose_proxied
    [ ! -s "$dir/proxied" ] || variables+=(--publish "127.0.0.1:$(cat "$dir/proxied"):$(cat "$dir/proxied")")
    # The image turns KAFKA_NODE_ID into node.id, and so on.
    while IFS='=' read -r key value; do
        key=${key^^}
        variables+=(--env "KAFKA_${key//./_}=$value")
    done < <(
        # Inside it binds every address, or the published port would lead nowhere; outside only
        # loopback.
        listeners 0.0.0.0 "$port" 9093
        settings
        echo log.dirs=/tmp/kraft-combined-logs
    )
    printf '%s\n' "claimgate-kafka-$port" >"$dir/container"
    # `create` pulls the image if it is not here yet: the bound is for that.
    within 300 docker create --name "$(container)" --publish "127.0.0.1:$port:$port" \
        --env KAFKA_HEAP_OPTS='-Xms128m -Xmx512m' --env CLUSTER_ID="$(cluster_id)" "${variables[@]}" "$image" \
        >/dev/null 2>"$dir/docker.log" ||
        die "docker could not create a container of $image: $(tail -n 1 "$dir/docker.log")"
    printf '%s\n' "$port" >"$dir/port"
}

launch_docker() { docker start "$(container)" >/dev/null; }
alive_docker() { [ "$(docker inspect --format '{{.State.Running}}' "$(container)" 2>/dev/null)" = true ]; }
log_docker() { docker logs "$(container)" 2>&1 || true; }
stop_docker() { docker stop -t "$stop_limit" "$(container)" >/dev/null; }
kill_docker() { ! alive_docker || docker kill "$(container)" >/dev/null; }
remove_docker() { docker rm --force --volumes "$(container)" >/dev/null 2>&1 || true; }

# ---- Either --------------------------------------------------------------------------------------

engine() { cat "$dir/engine"; }

# Launches the broker and waits until it says that it is ready and its port is open. The log grows
# over restarts: only what is new can be about this start.
launch() {
    local engine seen deadline
    engine=$(engine)
    seen=$("log_$engine" | wc -c)
    "launch_$engine" 2>"$dir/launch.log" || {
        failure=$(cat "$dir/launch.log")
        reason="it could not be launched"
        return 1
    }
    deadline=$((SECONDS + start_limit))
    while true; do
        failure=$("log_$engine" | tail -c "+$((seen + 1))")
        if [[ $failure == *"Kafka Server started"* ]] && listening "$(cat "$dir/port")"; then return 0; fi
        if ! "alive_$engine"; then
            reason="it ended while it started"
            return 1
        elif [ "$SECONDS" -ge "$deadline" ]; then
            reason="it did not answer within $start_limit s"
            "kill_$engine"
            return 1
        fi
        sleep 0.1
    done
}

# A first start chooses ports; if somebody takes one of them in between, it chooses again.
start_new() {
    local tries port
    printf '%s\n' "$1" >"$dir/engine"
    for tries in 1 2 3; do
        "prepare_$1"
        ! launch || return 0
        port=$(cat "$dir/port")
        "remove_$1"
        rm -f "$dir/port"
        if [ "$tries" -eq 3 ] || [[ $failure != *already\ in\ use* && $failure != *already\ allocated* ]]; then
            give_up "$port"
        fi
    done
}

give_up() {
    printf '%s\n' "$failure" | grep -v '^[[:space:]]*at ' | tail -n 15 >&2
    die "Apache Kafka did not start on 127.0.0.1:$1: $reason; the end of its log is above"
}

prepare_and_start_jars() {
    check_java
    fetch
    start_new jars
}

start() {
    # The port is written last of all preparations: without it, an earlier start was interrupted
    # half-way.
    if [ -s "$dir/port" ]; then
        "alive_$(engine)" || launch || give_up "$(cat "$dir/port")"
    else
        mkdir -p "$dir" || die "cannot make the folder $dir"
        case ${CLAIMGATE_KAFKA:-auto} in
            jars) prepare_and_start_jars ;;
            docker)
                docker_answers || die "CLAIMGATE_KAFKA=docker, but no Docker engine answers;" \
                    "start one, or set CLAIMGATE_KAFKA=jars"
                start_new docker
                ;;
            auto)
                # In a subshell: what ends it there is no end here.
                if ! docker_answers; then
                    prepare_and_start_jars
                elif ! (start_new docker); then
                    say "Docker did not give a broker, so it comes from jars"
                    remove_docker
                    rm -f "$dir/port" "$dir/container"
                    prepare_and_start_jars
                fi
                ;;
            *) die "CLAIMGATE_KAFKA is '$CLAIMGATE_KAFKA'; it takes docker, jars or auto" ;;
        esac
    fi
    environment
}

environment() { printf 'KAFKA_BOOTSTRAP_SERVERS=127.0.0.1:%s\n' "$(cat "$dir/port")"; }

remove() {
    [ ! -s "$dir/engine" ] || "remove_$(engine)"
    rm -rf "$dir"
}

if [ "$*" = fetch ]; then
    check_java
    fetch
    exit
fi
[ $# -eq 2 ] || usage
dir=$(absolute "$2")
case $1 in
    env | stop | kill | restart)
        [ -s "$dir/port" ] || die "no Apache Kafka was ever started in $dir;" \
            "run scripts/kafka.sh start $dir"
        ;;
esac
case $1 in
    start) start ;;
    stop) "stop_$(engine)" ;;
    kill) "kill_$(engine)" ;;
    restart)
        "stop_$(engine)"
        start
        ;;
    env) environment ;;
    remove) remove ;;
    *) usage ;;
esac
