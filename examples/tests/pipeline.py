"""claimgate itself, on simulated risk APIs, with an example behind it: claims in, payments out."""

import collections
import json
import os
import pathlib
import re
import socket
import subprocess
import time

import psycopg
from confluent_kafka import Producer

DOCS = pathlib.Path(__file__).parents[2] / "docs"
CLAIMS = 600
LONG = 60
# Printed in the provider's documents, and made up: the simulator's own.
CREDENTIALS = {
    "CLAIMGATE__TENCENT_CLOUD__SECRET_ID": "AKIDz8krbsJ5yKBZQpn74WFkmLPx3gnPhESA",
    "CLAIMGATE__TENCENT_CLOUD__SECRET_KEY": "Gu5t9xGARNpq86cd98joQYCN3Cozk1qA",
    "CLAIMGATE__WECHAT__APP_ID": "wx0000000000000001",
    "CLAIMGATE__WECHAT__APP_SECRET": "0123456789abcdef0123456789abcdef",
}


def wait(what, holds):
    deadline = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < deadline, f"not within {LONG} s: {what}"
        time.sleep(0.2)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def claim(number):
    """A claim of an account that tells the simulator its level: all four decisions occur."""
    event = {
        "claim_id": f"real-{number:04}", "claimed_at": 1632994480,
        "client": {"ip": "121.14.96.121"}, "reward": {"goods": "red packet"},
    }
    if number % 3 == 0:
        account = {"type": "wechat", "id": f"w{number}-level-{number // 3 % 4}"}
        return event | {"kind": "wechat_marketing", "account": account}
    account = {"type": "wechat", "id": f"q{number}-level-{number % 5}"}
    return event | {"kind": "qr_code", "account": account}


class Claimgate:
    """The worker, the simulator, and the database and topics of both."""

    def __init__(self, services, logs):
        self.services, self.logs, self.processes = services, logs, []
        self.url = services.database("claimgate-examples")
        topics = {name: services.topic(f"pipeline.{name}")
                  for name in ["claims", "decisions", "retry", "dead-letter"]}
        self.claims, self.decisions = topics["claims"], topics["decisions"]
        port = free_port()
        simulator = f"http://127.0.0.1:{port}"
        self.environment = os.environ | CREDENTIALS | {
            "CLAIMGATE__KAFKA__BOOTSTRAP_SERVERS": services.servers,
            "CLAIMGATE__KAFKA__INPUT_TOPIC": topics["claims"],
            "CLAIMGATE__KAFKA__OUTPUT_TOPIC": topics["decisions"],
            "CLAIMGATE__KAFKA__RETRY_TOPIC": topics["retry"],
            "CLAIMGATE__KAFKA__DEAD_LETTER_TOPIC": topics["dead-letter"],
            "CLAIMGATE__POSTGRES__URL": self.url,
            "CLAIMGATE__HTTP__LISTEN": "",
            "CLAIMGATE__WECHAT__BASE_URL": simulator,
            "CLAIMGATE__RISK__INTELLIGENT_QR_CODE__BASE_URL": simulator,
        }
        self.producer = Producer({"bootstrap.servers": services.servers, "acks": "all"})
        self.start(os.environ["CLAIMGATE_SIMULATOR"], "--listen", f"127.0.0.1:{port}")
        self.worker = self.start(os.environ["CLAIMGATE"], "run")

    def start(self, *command, **more):
        with open(self.logs / "claimgate.log", "ab") as log:
            process = subprocess.Popen(command, env=self.environment | more, cwd=self.logs,
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.processes.append(process)
        return process

    def produce(self, numbers):
        for number in numbers:
            event = claim(number)
            key = "{type}:{id}".format(**event["account"])
            self.producer.produce(self.claims, key=key, value=json.dumps(event).encode())
        assert self.producer.flush(30) == 0

    def override(self, claim_id, decision):
        subprocess.run([os.environ["CLAIMGATE"], "audit", "override", claim_id, decision,
                        "--by", "ann", "--reason", "seen"], env=self.environment, cwd=self.logs,
                       check=True, stdout=subprocess.DEVNULL)

    def rows(self, sql, **values):
        with psycopg.connect(self.url) as connection:
            return connection.execute(sql, values).fetchall()

    def restart(self, **more):
        self.worker.terminate()
        assert self.worker.wait(30) == 0, "a drained worker ends with 0"
        self.worker = self.start(os.environ["CLAIMGATE"], "run", **more)

    def stop(self):
        for process in self.processes:
            process.kill()
            process.wait()


def documented_query():
    """The question of docs/settlement.md for what is to be paid, for psycopg."""
    page = (DOCS / "settlement.md").read_text()
    query, = re.findall(r"```sql\n(with changed.*?)```", page, re.DOTALL)
    return re.sub(r":'(\w+)'", r"%(\1)s", query).strip().rstrip(";")


def run(services, example, logs):
    """0, or 1 with a line that says what is wrong."""
    if not os.environ.get("CLAIMGATE") or not os.environ.get("CLAIMGATE_SIMULATOR"):
        print("claimgate: NOT TESTED: CLAIMGATE and CLAIMGATE_SIMULATOR name no binaries")
        return 0
    claimgate = Claimgate(services, logs)
    settlement, payer = services.database("settlement-pipeline"), None
    example.tables(settlement)

    def rows(sql):
        with psycopg.connect(settlement) as connection:
            return connection.execute(sql).fetchall()

    try:
        environment = example.environment(services, settlement, claimgate.decisions, "pipeline")
        with open(logs / "pipeline.log", "ab") as log:
            payer = subprocess.Popen(example.command(), env=environment, stdout=log, stderr=log)
        claimgate.produce(range(CLAIMS))
        wait("all decisions are read",
             lambda: rows("select count(*) from decisions") == [(CLAIMS,)])
        reviews = [row[0] for row in claimgate.rows(
            "select claim_id from verdicts where decision = 'review' order by claim_id limit 10")]
        for number, claim_id in enumerate(reviews):
            claimgate.override(claim_id, "approve" if number % 2 == 0 else "reject")
        wait("revisions are read", lambda: rows(
            "select count(*) from decisions where revision > 0") == [(len(reviews),)])
        # Claims that are sent again: their decisions are published once more.
        before = rows("select count(*) from payments")
        claimgate.restart(CLAIMGATE__WORKER__ON_DUPLICATE="republish")
        claimgate.produce(range(100))
        wait("repeats are read", lambda: count(logs / "pipeline.log", "known") >= 100)
        assert rows("select count(*) from payments") == before, "a repeat was paid"
        paid = {row[0] for row in rows("select claim_id from payments")}
        due = {row[0] for row in claimgate.rows(
            documented_query(), begin="2000-01-01", end="2100-01-01")}
        assert paid == due, f"paid and due differ in {sorted(paid ^ due)[:5]}"
        assert rows("select * from set_aside") == [], "claimgate's own messages are understood"
        words = collections.Counter(dict(rows(
            "select decision, count(*) from decisions group by decision")))
        print(f"claimgate: well: {CLAIMS} claims, {dict(words)}, {len(reviews)} revised, "
              f"100 sent again, {len(paid)} paid, as docs/settlement.md asks PostgreSQL")
        return 0
    except AssertionError as error:
        print(f"claimgate: FAILED: {error}")
        return 1
    finally:
        claimgate.stop()
        if payer is not None:
            payer.terminate()
            payer.wait(30)


def count(log, word):
    return sum(map(int, re.findall(rf"(\d+) {word}", log.read_text(errors="replace"))))
