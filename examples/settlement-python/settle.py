"""Reads reward.decisions and pays each approved claim once: a row of `payments`.

docs/settlement.md explains the rules. Settings are environment variables:
  SETTLEMENT_DATABASE_URL  postgres://user:password@host/database, with examples/settlement.sql
  SETTLEMENT_KAFKA_…       properties of the client, `_` for `.`. Required is
                           SETTLEMENT_KAFKA_BOOTSTRAP_SERVERS; GROUP_ID is `settlement` unless set
  SETTLEMENT_TOPIC         `reward.decisions` unless set
  SETTLEMENT_BATCH         most messages of one database transaction, 500 unless set
"""

import json
import logging
import os
import random
import signal
import sys
import time
import uuid
from collections import Counter

import psycopg
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

LOG = logging.getLogger("settlement")
DATABASE_TRIES = 8
KNOWN = {"approve", "challenge", "review", "reject"}

# Changes no row where the message repeats what is known, or is older.
KEEP_LATEST = """
    insert into decisions as known (decision_id, claim_id, revision, decision, seal)
    values (%(decision_id)s, %(claim_id)s, %(revision)s, %(decision)s, %(seal)s)
    on conflict (decision_id) do update set revision = excluded.revision,
        decision = excluded.decision, seal = excluded.seal, read_at = now()
    where known.revision < excluded.revision"""
FIND_CONTRADICTION = """
    select from decisions where decision_id = %(decision_id)s and (claim_id <> %(claim_id)s
        or (revision = %(revision)s and decision <> %(decision)s))"""
PAY = """
    insert into payments (decision_id, claim_id, revision)
    values (%(decision_id)s, %(claim_id)s, %(revision)s) on conflict do nothing"""
NOTE_REVISED = """
    insert into revised_payments (decision_id, revision, decision)
    select decision_id, %(revision)s, %(decision)s from payments
    where decision_id = %(decision_id)s on conflict do nothing"""
SET_ASIDE = """
    insert into set_aside (topic, partition, record_offset, record_time, reason, key, value)
    values (%s, %s, %s, to_timestamp(%s / 1000.0), %s, %s, %s) on conflict do nothing"""

stopping = False


class NotUnderstood(Exception):
    """The message is no decision of a kind that this program knows."""


def stop(*_):
    global stopping
    stopping = True


def parse(message):
    try:
        headers = dict(message.headers() or [])
        if headers.get("claimgate-schema") != b"decision.v1":
            raise ValueError(f"claimgate-schema is {headers.get('claimgate-schema')!r}")
        event = json.loads(message.value())
        claim_id, decision = event["claim_id"], event["decision"]
        decision_id, revision = uuid.UUID(event["decision_id"]), event.get("revision", 0)
        seal = (headers.get("claimgate-seal") or b"none").decode()
        for text in (claim_id, decision, seal):
            # PostgreSQL takes neither NUL nor half of a surrogate pair; JSON has both.
            if not text or "\0" in text or not text.encode():
                raise ValueError("claim_id, decision and seal must be text")
        if type(revision) is not int or not 0 <= revision < 2**31:
            raise ValueError("revision must be a whole number")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise NotUnderstood(f"{type(error).__name__}: {error}"[:200]) from error
    return dict(decision_id=decision_id, claim_id=claim_id, revision=revision, decision=decision,
                seal=seal)


def settle(cursor, decision):
    """Does what one decision calls for, and says in a word what that was."""
    if cursor.execute(KEEP_LATEST, decision).rowcount == 0:
        if cursor.execute(FIND_CONTRADICTION, decision).rowcount > 0:
            raise NotUnderstood("it contradicts what was read before")
        return "known"
    if decision["decision"] == "approve" and cursor.execute(PAY, decision).rowcount > 0:
        return "paid"
    # Money that is out cannot be called back by a message: a person decides.
    revised = cursor.execute(NOTE_REVISED, decision).rowcount > 0
    if decision["decision"] not in KNOWN:
        raise NotUnderstood(f"unknown decision {decision['decision']!r}"[:200])
    return "revised" if revised else "not paid"


def settle_all(connection, messages):
    done = Counter()
    with connection.transaction(), connection.cursor() as cursor:
        for message in messages:
            try:
                done[settle(cursor, parse(message))] += 1
            except NotUnderstood as error:
                place = (message.topic(), message.partition(), message.offset())
                LOG.warning("set aside %s/%s/%s: %s", *place, error)
                cursor.execute(SET_ASIDE, (*place, message.timestamp()[1], str(error),
                                           message.key(), message.value()))
                done["set aside"] += 1
    return done


class Database:
    """A connection that is made again after it failed."""

    def __init__(self, url):
        self.url, self.connection = url, None

    def settle(self, messages):
        # What a broken transaction did is undone, or done again without effect: trying is safe.
        for tries_left in reversed(range(DATABASE_TRIES)):
            try:
                if self.connection is None:
                    self.connection = psycopg.connect(self.url, autocommit=True)
                return settle_all(self.connection, messages)
            except psycopg.OperationalError as error:
                if self.connection is not None:
                    self.connection.close()
                    self.connection = None
                if tries_left == 0 or stopping:
                    raise
                LOG.warning("the database failed, %d tries left: %s", tries_left, error)
                time.sleep(random.uniform(0.1, min(10, 0.2 * 2 ** (DATABASE_TRIES - tries_left))))


def kafka_settings():
    prefix = "SETTLEMENT_KAFKA_"
    given = {name[len(prefix):].lower().replace("_", "."): value
             for name, value in os.environ.items() if name.startswith(prefix)}
    # The last three are what the guarantee rests on: the environment does not change them.
    return {"group.id": "settlement", **given, "isolation.level": "read_committed",
            "enable.auto.commit": False, "auto.offset.reset": "earliest"}


def commit(consumer, messages):
    """Commits what was paid. A commit that fails costs reading it again."""
    ends = {(message.topic(), message.partition()): message.offset() + 1 for message in messages}
    offsets = [TopicPartition(*place, end) for place, end in ends.items()]
    try:
        consumer.commit(offsets=offsets, asynchronous=False)
    except KafkaException as error:
        LOG.warning("offsets were not committed: %s", error)


def run():
    database = Database(os.environ["SETTLEMENT_DATABASE_URL"])
    batch = int(os.environ.get("SETTLEMENT_BATCH", "500"))
    consumer = Consumer(kafka_settings())
    consumer.subscribe([os.environ.get("SETTLEMENT_TOPIC", "reward.decisions")])
    try:
        while not stopping:
            messages = consumer.consume(batch, timeout=0.2)
            for error in filter(None, (message.error() for message in messages)):
                if not error.retriable() and error.code() != KafkaError._MAX_POLL_EXCEEDED:
                    raise KafkaException(error)
                LOG.warning("Kafka: %s", error)
            messages = [message for message in messages if message.error() is None]
            if messages:
                done = database.settle(messages)
                commit(consumer, messages)
                LOG.info("%s", ", ".join(f"{count} {what}" for what, count in done.items()))
    finally:
        consumer.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        run()
    except (psycopg.Error, KafkaException) as error:
        # Whoever supervises this starts it again; nothing is lost meanwhile.
        LOG.error("giving up: %s", error)
        sys.exit(1)
