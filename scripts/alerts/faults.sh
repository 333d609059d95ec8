# shellcheck shell=bash
# shellcheck disable=SC2016,SC2034,SC2154 # scripts/provoke-alerts.sh sources this, and has the other half
# The faults of scripts/provoke-alerts.sh, each for a worker of its own: `fault NAME ALERTS BESIDE
# WHAT`. ALERTS have to fire, each with the seconds in which its rule promises it; those BESIDE may
# fire, for the fault has that consequence too. A function of the fault's name does it; it runs
# beside the others, knows `name` and `dir`, its worker's folder, and calls `mark` where the fault
# begins later than the function. A `prepare_NAME` runs before there is a worker. What a worker
# needs beside the defaults:
#   settings[NAME]    configuration, `section.key=value …`
#   simulator[NAME]   options of its simulator
#   partitions[NAME]  of its input topic, 2 unless told
#   feed[NAME]        claims a second and their kind, `1 qr_code` unless told

fault healthy '' '' 'nothing: 100 claims a second of two APIs'
feed[healthy]=$'95 qr_code\n5 wechat_marketing'

fault secret ClaimgateApiDenied:60 ClaimgateApiDeniedSometimes 'another key in `secret_key_file`'
secret() { echo Gu5t9xGARNpq86cd98joQYCN3Cozk1qB >"$dir/secret-key"; }

# A breaker opens by that where there were 20 calls in 10 s.
fault clock ClaimgateApiDenied:60 'ClaimgateApiDeniedSometimes ClaimgateApiDown ClaimgateApiSick' \
    'started with a clock 20 minutes slow'
feed[clock]='5 qr_code'
clock() {
    stop_worker TERM
    mark
    CLOCK_OFFSET=-1200 LD_PRELOAD=$lab/clock.so start_worker
}

fault balance ClaimgateApiDenied:60 'ClaimgateApiDeniedSometimes ClaimgateApiDown ClaimgateApiSick' \
    'the API answers 13, no balance, to everything'
balance() { api '{"transient": 1, "transient_codes": [13]}'; }

fault refused ClaimgateApiDeniedSometimes:0 'ClaimgateApiDenied ClaimgateSlow' \
    'the API answers 4100, signature failed, to one call in 20'
refused() { api '{"transient": 0.05, "transient_codes": [4100]}'; }

fault sick ClaimgateApiSick:900 ClaimgateSlow 'the API fails 45 % of its calls'
sick() { api '{"transient": 0.45}'; }

fault gone ClaimgateApiDown:600 'ClaimgateApiSick ClaimgateSlow' 'SIGKILL to the API'
gone() { kill -KILL "$(cat "$dir/simulator.pid")"; }

fault silent ClaimgateApiDown:600 'ClaimgateApiSick ClaimgateSlow' 'SIGSTOP to the API: no call is answered'
silent() { kill -STOP "$(cat "$dir/simulator.pid")"; }

fault slow ClaimgateSlow:900 '' 'each answer takes 12 s'
settings[slow]='risk.intelligent_qr_code.timeout=20s worker.drain_timeout=25s'
slow() { api '{"latency": {"fixed": 12000}}'; }

fault token ClaimgateTokenFetchedOften:3000 ClaimgateApiDeniedSometimes \
    'somebody else fetches a token of the same app every minute'
settings[token]='wechat.token_endpoint=classic'
simulator[token]='--token-grace 1s'
feed[token]='1 wechat_marketing'
token() {
    while true; do
        curl -sf "$(cat "$dir/url")/cgi-bin/token?grant_type=client_credential&appid=$app_id&secret=$app_secret"
        sleep 60
    done
}

fault old ClaimgateUndecidedOld:300 \
    'ClaimgateApiDown ClaimgateApiSick ClaimgateSlow' \
    'the API is gone; claims were deferred 20 hours ago by the clock of the worker before'
settings[old]='retry.in_process_for=10s'
old() {
    kill -KILL "$(cat "$dir/simulator.pid")"
    : >"$dir/feed"
    stop_worker TERM
    CLOCK_OFFSET=-72000 LD_PRELOAD=$lab/clock.so start_worker
    kafka send old.claims 20 qr_code
    sleep 40
    stop_worker TERM
    mark
    start_worker
}

fault readonly ClaimgateStoreFails:480 'ClaimgateStuck ClaimgateBehind' \
    '`alter database … set default_transaction_read_only = on`'
readonly() {
    sql "alter database $name set default_transaction_read_only = on"
    sql "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$name'"
}

fault stuck ClaimgateStuck:600 'ClaimgateStoreFails ClaimgateBehind' \
    '`lock table verdicts`, and no end of that transaction'
stuck() {
    echo 'begin; lock table verdicts; select pg_sleep(36000);' >"$dir/lock.sql"
    psql -qX -f "$dir/lock.sql" "$(database)" >/dev/null &
    started "$dir/lock"
}

fault partition ClaimgatePartitionStuck:900 '' \
    '`retry.in_process_for = "2h"`, and one claim that the API always fails'
settings[partition]='retry.in_process_for=2h'
partition() { kafka send partition.claims 1 qr_code code-6000; }

fault map ClaimgateOffsetMapFull:420 \
    'ClaimgatePartitionStuck ClaimgateStuck ClaimgateApiSick ClaimgateApiDown ClaimgateSlow ClaimgateBehind' \
    '`retry.in_process_for = "2h"`, and 19,200 claims of a partition, of which the API fails every 16th'
settings[map]='retry.in_process_for=2h'
partitions[map]=1
map() { kafka send map.claims 19200 qr_code code-6000 16; }

fault behind 'ClaimgateBehind:1200 ClaimgateLagGrows:4560' ClaimgateSlow \
    'an API with `concurrency = 1` takes 1.5 s a call; 8,000 claims at once, then 5 a second'
settings[behind]='risk.intelligent_qr_code.concurrency=1 worker.max_in_flight=64 retry.in_process_for=5m'
behind() {
    api '{"latency": {"fixed": 1500}}'
    echo '5 qr_code' >"$dir/feed"
    kafka send behind.claims 8000 qr_code
}

# A client looks for its topics every five minutes.
fault dropped ClaimgateNoPartitions:600 ClaimgateKafkaFails 'the input topic is deleted'
dropped() { kafka drop dropped.claims; }

fault killed ClaimgateNoPartitions:300 '' 'SIGKILL to the only worker'
killed() { stop_worker KILL; }

fault broker ClaimgateNoPartitions:300 '' 'SIGKILL to the only broker'
prepare_broker() {
    "$here/kafka.sh" start "$dir/kafka-1" >"$dir/said"
    cut -d = -f 2 "$dir/said" >"$dir/kafka"
}
broker() { "$here/kafka.sh" kill "$dir/kafka-1"; }

fault lost ClaimgateRecordsLost:0 '' '500 claims come while no worker runs, and are removed from the topic'
lost() {
    stop_worker TERM
    kafka send lost.claims 500 qr_code
    kafka trim lost.claims
    mark
    start_worker
}

fault again ClaimgateReadAgain:0 '' 'the offsets of the group are deleted while no worker runs'
again() {
    stop_worker TERM
    sleep 2
    kafka forget again
    mark
    start_worker
}

fault unpublishable ClaimgateUnpublishable:0 '' \
    '`max.message.bytes = 100` of the dead letters, and one malformed event'
unpublishable() {
    kafka set unpublishable.dead max.message.bytes=100
    mark
    kafka send unpublishable.claims 1 junk
}

fault heldup ClaimgateHeldUp:180 '' 'a producer begins a transaction, and SIGKILL'
heldup() {
    "$python" "$here/alerts/kafka.py" hold heldup.claims >"$dir/held" &
    until [ -s "$dir/held" ]; do sleep 0.5; done
    mark
    kill -KILL "$!"
}

fault kafkafails ClaimgateKafkaFails:480 'ClaimgateStuck ClaimgateBehind ClaimgateProducersReplaced ClaimgateSlow' \
    'the topic of decisions is deleted'
kafkafails() { kafka drop kafkafails.decisions; }

fault producers ClaimgateProducersReplaced:2700 'ClaimgateUnpublishable' \
    '`max.message.bytes = 100` of the dead letters, and a malformed event every two minutes'
producers() {
    kafka set producers.dead max.message.bytes=100
    while true; do
        kafka send producers.claims 1 junk
        sleep 120
    done
}

fault rebalances ClaimgateRebalancesOften:2700 'ClaimgateProducersReplaced ClaimgateSlow' \
    'SIGSTOP for 15 s in every 2.5 minutes'
rebalances() {
    while true; do
        kill -STOP "$(cat "$dir/worker.pid")"
        sleep 15
        kill -CONT "$(cat "$dir/worker.pid")"
        sleep 135
    done
}

fault restarts ClaimgateRestarts:1200 'ClaimgateProducersReplaced ClaimgateRebalancesOften ClaimgateSlow' \
    'SIGKILL and a start every 4 minutes'
restarts() {
    while true; do
        stop_worker KILL
        start_worker
        sleep 240
    done
}

fault down ClaimgateWorkerDown:900 '' 'a second worker that Prometheus knows of does not run'
down() {
    mark
    scrape "$(cat "$dir/port")" "$(free_port)"
}

fault mixed ClaimgateMixedVersions:7200 '' 'a second worker says that it is of another commit'
mixed() {
    local port commit
    commit=$("$claimgate" --version | sed 's/.*(\(.*\)).*/\1/')
    LC_ALL=C sed "s/$commit/$(rev <<<"$commit")/g" "$claimgate" >"$lab/bin/other"
    chmod +x "$lab/bin/other"
    port=$(free_port)
    mark
    CLAIMGATE__HTTP__LISTEN=127.0.0.1:$port start_worker other
    scrape "$(cat "$dir/port")" "$port"
}

fault flood ClaimgateFlood:60 'ClaimgateDeadLetters ClaimgateBehind' '12,000 events that are no JSON'
flood() { kafka send flood.claims 12000 junk; }

fault letters ClaimgateDeadLetters:660 '' 'one event in two is no JSON'
letters() { echo '1 junk' >>"$dir/feed"; }
