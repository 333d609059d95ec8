"""Kills the settlement examples while decisions pass, and looks for a claim paid twice or never.

  make examples                      all of it, on a private Kafka and PostgreSQL
  make examples ARGS='--seed 17'     the same decisions and kills again
  make examples ARGS=--mutants       plants faults, each of which has to be found

Kafka is at KAFKA_BOOTSTRAP_SERVERS, PostgreSQL at CLAIMGATE_TEST_POSTGRES_URL, as
scripts/with-services.sh sets them. CLAIMGATE and CLAIMGATE_SIMULATOR name their binaries.
"""

import argparse
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

import psycopg
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from psycopg import conninfo

import asyncapi
import pipeline
import scenarios

HERE = pathlib.Path(__file__).parent
EXAMPLES = HERE.parent
PARTITIONS = 6
PHANTOM = "phantom"

# Counts what the examples do: the sequence each decision that they settle, the table each that was
# committed. And lets a decision take a millisecond, and a commit one for each two of them, so that
# kills come while a batch is under way, and while it is being committed: then the database has the
# payments, and Kafka does not have the offsets.
COUNT = """
    create sequence attempts;
    create table committed (attempt bigint);
    create function attempted() returns trigger language plpgsql as $$ begin
        insert into committed values (nextval('attempts'));
        perform pg_sleep(0.001);
        return new;
    end $$;
    create trigger attempted before insert on decisions for each row execute function attempted();
    create function dawdle() returns trigger language plpgsql as $$ begin
        if new.attempt % 20 = 0 then perform pg_sleep(0.01); end if;
        return null;
    end $$;
    create constraint trigger dawdle after insert on committed deferrable initially deferred
        for each row execute function dawdle()"""

# What is replaced in an example (the SQL is the same in both), and what the test has to say then.
MUTANTS = [
    ("commits offsets before it pays", "missed", [
        ("settle.py", "                done = database.settle(messages)\n"
         "                commit(consumer, messages)\n",
         "                commit(consumer, messages)\n"
         "                done = database.settle(messages)\n"),
        ("Settlement.java", "                    var done = payments.settle(messages);\n"
         "                    commit(consumer, messages);\n",
         "                    commit(consumer, messages);\n"
         "                    var done = payments.settle(messages);\n"),
    ]),
    # Java's client commits within `poll` what the last one returned, so there it is no fault.
    ("leaves committing to the client", "missed", [
        ("settle.py", '"enable.auto.commit": False',
         '"enable.auto.commit": True, "auto.commit.interval.ms": 100'),
        ("settle.py", "                commit(consumer, messages)\n", ""),
    ]),
    ("has no primary key and pays what it reads", "twice", [
        ("settlement.sql", "uuid primary key, -- at most", "uuid not null, -- at most"),
        ("settle.py", "where known.revision < excluded.revision", "where true"),
        ("Payments.java", "where known.revision < excluded.revision", "where true"),
    ]),
    ("reads uncommitted", "wrongly", [
        ("settle.py", '"read_committed"', '"read_uncommitted"'),
        ("Settlement.java", '"read_committed"', '"read_uncommitted"'),
    ]),
    ("takes a revision for a repeat", "missed", [
        ("settle.py", "where known.revision < excluded.revision", "where false"),
        ("Payments.java", "where known.revision < excluded.revision", "where false"),
    ]),
    ("lets an older decision replace a newer one", "wrongly", [
        ("settle.py", "known.revision < excluded", "known.revision <> excluded"),
        ("Payments.java", "known.revision < excluded", "known.revision <> excluded"),
    ]),
]


class Worker:
    """A process of an example, which is started again whenever it ends."""

    def __init__(self, command, environment, log):
        self.command, self.environment, self.log = command, environment, log
        self.surprises, self.process = [], None
        self.start()

    def start(self, **changes):
        self.environment |= changes
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log,
                stdin=subprocess.DEVNULL)

    def restart_if_ended(self):
        if self.process.poll() is not None:
            self.surprises.append(self.process.returncode)
            self.start()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        """Its exit code after SIGTERM, which it gets when it has a handler."""
        deadline = time.monotonic() + 30
        while self.process.poll() is None and not self.hears_sigterm():
            assert time.monotonic() < deadline, "no handler for SIGTERM within 30 s"
            time.sleep(0.05)
        self.process.terminate()
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            return "none within 20 s"

    def hears_sigterm(self):
        """Whether SIGTERM has a handler, as Linux tells; elsewhere it is taken for granted."""
        try:
            status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        except OSError:
            return True
        caught, = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught, 16) >> signal.SIGTERM - 1 & 1)


class Publisher(threading.Thread):
    """Publishes a plan in transactions, some of which it aborts, in about so many seconds."""

    def __init__(self, servers, topic, messages, seed, seconds):
        super().__init__(daemon=True)
        self.topic, self.messages, self.seconds = topic, messages, seconds
        self.random = random.Random(seed)
        self.ends, self.set_aside, self.aborted, self.error = {}, set(), 0, None
        self.producer = Producer({
            "bootstrap.servers": servers, "transactional.id": f"test/{topic}",
            "linger.ms": 5, "log_level": 3, "transaction.timeout.ms": 30000})

    def run(self):
        try:
            self.publish()
        except Exception as error:  # reported by the main thread
            self.error = error
            traceback.print_exc()

    def publish(self):
        self.producer.init_transactions()
        begun, sent = time.monotonic(), 0
        while sent < len(self.messages):
            batch = self.messages[sent:sent + self.random.randint(20, 120)]
            if self.random.random() < 0.2:
                # What a worker does that has to begin a batch anew; and decisions that never were.
                phantoms = [scenarios.message(b"key", f"{PHANTOM}-{sent}-{number}", 0, "approve",
                                              number) for number in range(5)]
                self.transaction(batch[:30] + phantoms, is_committed=False)
                self.aborted += len(phantoms)
            self.transaction(batch, is_committed=True)
            sent += len(batch)
            ahead = self.seconds * sent / len(self.messages) - (time.monotonic() - begun)
            time.sleep(max(0, ahead))

    def transaction(self, batch, is_committed):
        self.producer.begin_transaction()
        for message in batch:
            self.producer.produce(
                self.topic, key=message.key, value=message.value, headers=message.headers,
                on_delivery=self.note(message.set_aside) if is_committed else None)
        self.producer.flush()  # An aborted message, too, has to be in the log, or it tests nothing.
        if is_committed:
            self.producer.commit_transaction()
        else:
            self.producer.abort_transaction()

    def note(self, is_set_aside):
        def delivered(error, message):
            assert error is None, error
            place = (message.partition(), message.offset())
            self.ends[place[0]] = max(place[1] + 1, self.ends.get(place[0], 0))
            if is_set_aside:
                self.set_aside.add(place)
        return delivered


class Services:
    """Kafka and PostgreSQL of the test."""

    def __init__(self):
        self.servers = os.environ["KAFKA_BOOTSTRAP_SERVERS"]
        self.postgres = os.environ["CLAIMGATE_TEST_POSTGRES_URL"]
        self.folder = pathlib.Path(os.environ.get("CLAIMGATE_TEST_SERVICES", "none")) / "postgres"

    def topic(self, name, partitions=PARTITIONS):
        admin = AdminClient({"bootstrap.servers": self.servers, "log_level": 3})
        for future in admin.create_topics([NewTopic(name, partitions, 1)]).values():
            future.result(30)
        return name

    def database(self, name):
        """Makes an empty database; returns its URL."""
        with psycopg.connect(self.postgres, autocommit=True) as connection:
            connection.execute(f'create database "{name}"')
        return self.postgres.rsplit("/", 1)[0] + f"/{name}"

    def committed(self, group, topic):
        consumer = Consumer({"bootstrap.servers": self.servers, "group.id": group})
        places = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        found = {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
        consumer.close()
        return found

    def crash_postgres(self):
        """Kills the database and starts it again; False where it is not the test's own."""
        if not self.folder.is_dir():
            return False
        script = EXAMPLES.parent / "scripts" / "postgres.sh"
        for command in ["kill", "start"]:
            subprocess.run([script, command, self.folder], check=True, stdout=subprocess.DEVNULL)
        return True


def jdbc(url):
    at = conninfo.conninfo_to_dict(url)
    return f"jdbc:postgresql://{at['host']}:{at['port']}/{at['dbname']}?user={at['user']}"


class Example:
    """An example in a language: where its source is, how it is built and run."""

    def __init__(self, language, folder=EXAMPLES):
        self.language, self.folder = language, folder

    def build(self):
        if self.language == "java":
            maven = ["mvn", "-B", "-q", "-f", self.folder / "settlement-java", "package"]
            built = subprocess.run(maven, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
            assert built.returncode == 0, built.stdout

    def command(self):
        if self.language == "python":
            return [sys.executable, self.folder / "settlement-python" / "settle.py"]
        jar = self.folder / "settlement-java" / "target" / "settlement.jar"
        # As small as it may be: two of them run beside a broker and a database.
        return ["java", "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", jar]

    def environment(self, services, url, topic, group):
        return os.environ | {
            "SETTLEMENT_DATABASE_URL": url if self.language == "python" else jdbc(url),
            "SETTLEMENT_TOPIC": topic,
            "SETTLEMENT_KAFKA_BOOTSTRAP_SERVERS": services.servers,
            "SETTLEMENT_KAFKA_GROUP_ID": group,
            # Short, so that the group gives away soon what a killed process had.
            "SETTLEMENT_KAFKA_SESSION_TIMEOUT_MS": "3000",
            "SETTLEMENT_KAFKA_HEARTBEAT_INTERVAL_MS": "500",
        }

    def tables(self, url):
        with psycopg.connect(url) as connection:
            connection.execute((self.folder / "settlement.sql").read_text())
            connection.execute(COUNT)

    def stopped_well(self, code):
        return code == (0 if self.language == "python" else 143)


def mutant(example, changes, folder):
    """A copy of the example with a fault."""
    target = pathlib.Path(folder)
    shutil.copytree(EXAMPLES, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("target"))
    for name, old, new in changes:
        path, = target.rglob(name)
        text = path.read_text()
        assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new))
    return Example(example.language, target)


def trial(services, example, name, options, logs):
    """Runs two processes of an example under kills; what is wrong at the end, and figures."""
    chance = random.Random(f"{options.seed}/kills/{example.language}")
    made = scenarios.plan(random.Random(f"{options.seed}/decisions"), options.decisions)
    topic, url = services.topic(name), services.database(name)
    example.tables(url)
    environment = example.environment(services, url, topic, name)
    # Named members: a process that is started again goes on at once with what it had.
    workers = [
        Worker(example.command(),
               environment | {"SETTLEMENT_KAFKA_GROUP_INSTANCE_ID": f"{name}-{number}"},
               logs / f"{name}-{number}.log")
        for number in range(2)
    ]
    publisher = Publisher(services.servers, topic, made.messages, options.seed, options.seconds)
    begun = time.monotonic()
    publisher.start()
    try:
        kills = crashes = 0
        codes = []
        due = begun + chance.uniform(1, 3)
        while publisher.is_alive() or kills < options.kills:
            time.sleep(0.01)
            for worker in workers:
                worker.restart_if_ended()
            if time.monotonic() < due or kills == options.kills:
                continue
            due = time.monotonic() + chance.uniform(0, 2 * options.seconds / options.kills)
            worker = chance.choice(workers)
            if chance.random() < 0.2:
                codes.append(worker.stop())
                worker.start()
                continue
            worker.kill()
            kills += 1
            # Every fifth comes back as a stranger: the group has to notice, and deals out anew.
            renamed = {"SETTLEMENT_KAFKA_GROUP_INSTANCE_ID": f"{name}-after-{kills}"}
            worker.start(**(renamed if kills % 5 == 0 else {}))
            if kills == options.kills // 2 and services.crash_postgres():
                crashes += 1
        publisher.join()
        assert publisher.error is None, publisher.error
        wait_for_offsets(services, workers, name, topic, publisher.ends)
        codes += [worker.stop() for worker in workers]
        seconds = time.monotonic() - begun
    finally:
        for worker in workers:
            worker.kill()
    wrong, figures = judge(url, made, publisher)
    for worker in workers:
        if worker.surprises:
            wrong["ended by itself"] = worker.surprises
    if not all(map(example.stopped_well, codes)):
        wrong["exit codes after SIGTERM"] = [
            code for code in codes if not example.stopped_well(code)]
    figures = {"claims": options.decisions, "messages": len(made.messages),
               "repeated": made.repeats, "phantoms in aborted transactions": publisher.aborted,
               "SIGKILLs": kills, "SIGTERMs": len(codes), "database crashes": crashes, **figures,
               "seconds": round(seconds, 1)}
    return wrong, figures


def wait_for_offsets(services, workers, group, topic, ends):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        for worker in workers:
            worker.restart_if_ended()
        committed = services.committed(group, topic)
        if all(committed[partition] >= end for partition, end in ends.items()):
            return
        time.sleep(0.5)
    # What is missing then is for the judge to say.
    print(f"{group}: offsets stand at {committed}, should reach {ends}", file=sys.stderr)


def judge(url, made, publisher):
    """Holds the tables against what was published: what is wrong, by word, and figures."""
    with psycopg.connect(url) as connection:
        def rows(sql):
            return connection.execute(sql).fetchall()
        counts = dict(rows("select claim_id, count(*) from payments group by claim_id"))
        paid = dict(rows("select claim_id, min(revision) from payments group by claim_id"))
        revised = set(rows("""select claim_id, late.revision, late.decision
            from revised_payments late join payments using (decision_id)"""))
        latest = {claim: (revision, word) for claim, revision, word in
                  rows("select claim_id, revision, decision from decisions")}
        aside = set(rows("select partition, record_offset from set_aside"))
        # After a crash a sequence may leave out up to 32 numbers.
        (attempts,), = rows("select last_value from attempts")
        (committed,), = rows("select count(*) from committed")
    found = {
        "missed": made.paid.keys() - paid.keys(),
        "twice": {claim for claim, count in counts.items() if count > 1},
        "wrongly": paid.keys() - made.paid.keys(),
        "by another revision": {claim for claim in paid.keys() & made.paid.keys()
                                if paid[claim] != made.paid[claim]},
        "revisions after payment": revised ^ made.revised,
        "decision that holds": latest.items() ^ made.latest.items(),
        "set aside": aside ^ publisher.set_aside,
    }
    wrong = {word: sorted(claims) for word, claims in found.items() if claims}
    return wrong, {
        "decisions undone, their transaction cut off": attempts - committed,
        "decisions read and settled again": committed - len(made.messages) + made.garbage,
        "set aside": len(aside), "revised after payment": len(revised),
        "paid": sum(counts.values())}


def shown(wrong):
    return "; ".join(f"{word}: {len(what)}, such as {what[:3]}" for word, what in wrong.items())


def table(results):
    print("\n| what |", " | ".join(results), "|\n| ---", "| --- " * len(results) + "|")
    for key in next(iter(results.values())):
        print(f"| {key} |", " | ".join(str(figures[key]) for figures in results.values()), "|")


def run_trials(services, options, logs):
    failed, results = 0, {}
    for language in options.languages:
        example = Example(language)
        example.build()
        wrong, results[language] = trial(services, example, f"settlement-{language}", options, logs)
        figures = results[language]
        figures["missed"], figures["paid twice"] = (
            len(wrong.get("missed", [])), len(wrong.get("twice", [])))
        failed += bool(wrong)
        print(f"{language}: {'FAILED: ' + shown(wrong) if wrong else 'well'}", flush=True)
    table(results)
    return failed


def run_mutants(services, options, logs):
    failed = 0
    for language in options.languages:
        for number, (fault, word, changes) in enumerate(MUTANTS):
            files = {"python": ("settle.py", "settlement.sql"),
                     "java": ("Settlement.java", "Payments.java", "settlement.sql")}[language]
            changes = [change for change in changes if change[0] in files]
            if not changes:
                continue
            with tempfile.TemporaryDirectory(prefix="claimgate-mutant-") as folder:
                example = mutant(Example(language), changes, folder)
                example.build()
                name = f"mutant-{language}-{number}"
                wrong, _ = trial(services, example, name, options, logs)
            is_found = word in wrong
            failed += not is_found
            print(f"{language} that {fault}: {'found: ' if is_found else 'NOT FOUND: '}"
                  f"{shown(wrong)}", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--decisions", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=60, help="how long publishing takes")
    parser.add_argument("--mutants", action="store_true", help="plant faults, each to be found")
    parser.add_argument("--only", dest="languages", nargs="+", default=["python", "java"])
    options = parser.parse_args()
    print(f"asyncapi.yaml: {asyncapi.check()}")
    print(f"seed {options.seed}", flush=True)
    services = Services()
    logs = pathlib.Path(tempfile.mkdtemp(prefix="claimgate-examples-"))
    print(f"logs in {logs}", flush=True)
    if options.mutants:
        failed = run_mutants(services, options, logs)
    else:
        failed = run_trials(services, options, logs)
        failed += pipeline.run(services, Example("python"), logs)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
