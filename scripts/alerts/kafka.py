"""What scripts/provoke-alerts.sh does to Kafka. Brokers: KAFKA_BOOTSTRAP_SERVERS.

  feed DIR                  produces for ever, to NAME.claims, what each DIR/NAME/feed says, a
                            stream a line: `RATE KIND [WORDS]`; DIR/NAME/kafka has the brokers of
                            one that has its own
  send TOPIC N KIND [WORDS [EVERY]]   N claims at once; every EVERY-th has the words, or each
  hold TOPIC                begins a transaction with one claim in it, and does not end it
  drop TOPIC                deletes it
  trim TOPIC                removes its records, as retention does
  forget GROUP              deletes the offsets that a group has committed
  set TOPIC KEY=VALUE       changes a setting of it

KIND is one of the kinds of claim, or `junk`. WORDS stand in the account's id, where the simulator
reads them (docs/simulator.md).
"""

import json
import os
import pathlib
import sys
import time
import uuid

from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, OffsetSpec)

SERVERS = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
QUIET = {"log_level": 2}


def event(kind, words=""):
    """Key and value."""
    name = uuid.uuid4().hex
    account = f"u{name[:12]}-{words}"
    if kind == "junk":
        return account, "no claim"
    return account, json.dumps({
        "claim_id": name, "kind": kind, "claimed_at": int(time.time()),
        "account": {"type": "wechat", "id": account}, "client": {"ip": "203.0.113.7"},
        "reward": {"goods": "red packet"}})


def producer(servers=SERVERS, **more):
    return Producer({"bootstrap.servers": servers, "linger.ms": 20} | QUIET | more)


def feed(folder):
    producers, credit, last = {}, {}, time.monotonic()
    while True:
        time.sleep(0.2)
        now = time.monotonic()
        for path in pathlib.Path(folder).glob("*/feed"):
            own = path.with_name("kafka")
            servers = own.read_text().strip() if own.exists() else SERVERS
            into = producers.setdefault(servers, producer(servers))
            into.poll(0)
            for line in path.read_text().splitlines():
                rate, *what = line.split()
                due = credit.get((path, line), 0.0) + float(rate) * (now - last)
                for _ in range(int(due)):
                    key, value = event(*what)
                    try:
                        into.produce(f"{path.parent.name}.claims", value, key)
                    except (BufferError, KafkaException):
                        break  # Nobody takes them, or the topic is gone.
                credit[path, line] = due % 1
        last = now


def send(topic, count, kind, words="", every="1"):
    into = producer()
    for number in range(int(count)):
        key, value = event(kind, words if number % int(every) == 0 else "")
        while True:
            try:
                into.produce(topic, value, key)
                break
            except BufferError:
                into.poll(0.1)
    assert into.flush(60) == 0


def hold(topic):
    into = producer(**{"transactional.id": f"{topic}.held", "transaction.timeout.ms": 900000})
    into.init_transactions()
    into.begin_transaction()
    key, value = event("qr_code")
    into.produce(topic, value, key)
    into.flush()
    print("held", flush=True)
    time.sleep(3600)


def admin():
    return AdminClient({"bootstrap.servers": SERVERS} | QUIET)


def drop(topic):
    kafka = admin()
    kafka.delete_topics([topic])[topic].result()


def trim(topic):
    kafka = admin()
    partitions = kafka.list_topics(topic).topics[topic].partitions
    latest = {TopicPartition(topic, number): OffsetSpec.latest() for number in partitions}
    ends = [TopicPartition(topic, partition.partition, told.result().offset)
            for partition, told in kafka.list_offsets(latest).items()]
    for told in kafka.delete_records(ends).values():
        told.result()


def forget(group):
    kafka = admin()
    kafka.delete_consumer_groups([group])[group].result()


def set_(topic, setting):
    name, value = setting.split("=")
    entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(
        ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
    kafka = admin()
    for told in kafka.incremental_alter_configs([resource]).values():
        told.result()


if __name__ == "__main__":
    commands = {"feed": feed, "send": send, "hold": hold, "drop": drop, "trim": trim,
                "forget": forget, "set": set_}
    commands[sys.argv[1]](*sys.argv[2:])
