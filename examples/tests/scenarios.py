"""Decisions for the tests of the settlement examples, and what has to be paid for them."""

import json
import pathlib
import uuid
from dataclasses import dataclass, field

import jsonschema

SCHEMAS = pathlib.Path(__file__).parents[2] / "schemas"
# decision_id is the UUIDv5 of claim_id in this namespace.
NAMESPACE = uuid.UUID("6c61696d-6761-7465-8d1f-2c9a5be04d31")

# What is published about a claim, in this order, as (revision, decision); the revision that is
# paid, if any; the revisions that come after the payment; which message is set aside, if any; how
# many of 1,000 claims are like this.
SCENARIOS = [
    ([(0, "approve")], 0, [], None, 550),
    ([(0, "reject")], None, [], None, 150),
    ([(0, "challenge")], None, [], None, 120),
    ([(0, "review")], None, [], None, 60),
    ([(0, "review"), (1, "approve")], 1, [], None, 40),
    ([(0, "review"), (1, "reject")], None, [], None, 25),
    ([(0, "approve"), (1, "reject")], 0, [(1, "reject")], None, 15),
    ([(0, "review"), (1, "approve"), (2, "reject"), (3, "approve")], 1,
     [(2, "reject"), (3, "approve")], None, 10),
    # A revision is read before the decision that it revises: in another partition, for example.
    ([(1, "approve"), (0, "review")], 1, [], None, 10),
    ([(1, "reject"), (0, "approve")], None, [], None, 10),
    # A word of the future.
    ([(0, "hold")], None, [], 0, 4),
    ([(0, "hold"), (1, "approve")], 1, [], 0, 3),
    # Two answers to one question: should never be, and must not pay twice or in silence.
    ([(0, "approve"), (0, "reject")], 0, [], 1, 3),
]


@dataclass
class Message:
    key: bytes
    value: bytes | None
    headers: list
    set_aside: bool = False


@dataclass
class Plan:
    messages: list = field(default_factory=list)
    paid: dict = field(default_factory=dict)       # claim_id: revision
    revised: set = field(default_factory=set)      # (claim_id, revision, decision)
    latest: dict = field(default_factory=dict)     # claim_id: (revision, decision)
    repeats: int = 0
    garbage: int = 0


def decision(claim_id, revision=0, word="approve", number=0):
    """A decision as claimgate publishes it."""
    decision_id = str(uuid.uuid5(NAMESPACE, claim_id))
    event = {
        "decision_id": decision_id, "claim_id": claim_id, "kind": "qr_code", "decision": word,
        "reasons": [{"code": "level", "value": number % 5}], "api": "intelligent_qr_code",
        "api_schema": "2021", "level": number % 5, "risk_types": [], "provider_code": 0,
        "policy_version": "sha256:" + "0" * 64, "attempts": 1,
        "claimed_at": "2021-09-30T09:34:40Z", "decided_at": "2021-09-30T09:34:41.25Z",
        "challenge": None, "trace_id": f"{number + 1:032x}",
        "source": {"topic": "reward.claims", "partition": 0, "offset": number},
    }
    headers = [
        ("content-type", b"application/json"), ("claimgate-schema", b"decision.v1"),
        ("claimgate-decision-id", decision_id.encode()),
        ("claimgate-seal", b"1:" + b"0" * 64),
        ("traceparent", f"00-{number + 1:032x}-{number + 1:016x}-01".encode()),
    ]
    if revision:
        event["revision"] = revision
        headers.append(("claimgate-revision", str(revision).encode()))
    return event, headers


def message(key, claim_id, revision, word, number):
    event, headers = decision(claim_id, revision, word, number)
    if number % 7 == 0:
        # What may be added within decision.v1.
        event |= {"later": {"a": [None]}, "kind": "later"}
        event["reasons"][0] |= {"code": "later", "group": "later"}
        headers.append(("claimgate-later", b"\xff"))
    if number % 11 == 0:
        event |= {"reasons": [], "risk_types": [], "truncated": True}
    return Message(key, json.dumps(event).encode(), headers)


def garbage(number):
    """Messages that no example understands; `number` chooses."""
    event, headers = decision(f"garbage-{number}", number=number)
    other = [(name, b"decision.v2" if name == "claimgate-schema" else value)
             for name, value in headers]
    none = [(name, value) for name, value in headers if name != "claimgate-schema"]
    nul = [(name, b"1:\0" if name == "claimgate-seal" else value) for name, value in headers]
    half = json.dumps(event)[:100].encode()
    texts = [
        (None, headers), (b"", headers), (half, headers), (b"[1, 2]", headers),
        (b'"approve"', headers), (b"\xc3\x28", headers), (json.dumps(event).encode(), other),
        (json.dumps(event).encode(), none), (json.dumps(event).encode(), []),
        (json.dumps(event).encode(), nul), (b"[" * 100_000, headers),
    ]
    for change in [
        {"decision_id": "1"}, {"decision_id": None}, {"claim_id": 17}, {"claim_id": ""},
        {"claim_id": "nul \0"}, {"claim_id": "half \ud800"}, {"decision": None},
        {"decision": ["a"]}, {"decision": {}}, {"revision": "1"}, {"revision": -1},
        {"revision": 2**31}, {"revision": 1.5}, {"revision": True}, {"revision": None},
    ]:
        texts.append((json.dumps(event | change).encode(), headers))
    value, headers = texts[number % len(texts)]
    return Message(f"garbage-{number}".encode(), value, headers, set_aside=True)


def validate(events):
    """Holds made decisions against the schema that claimgate publishes."""
    schema = json.loads((SCHEMAS / "decision.v1.json").read_text())
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    for event in events:
        validator.validate(event)


def plan(random, claims):
    """Messages about so many claims in the order of their publication, and what is due for them."""
    made, placed = Plan(), []
    weights = [scenario[4] for scenario in SCENARIOS]
    for number in range(claims):
        # Each scenario at least once, the others by chance.
        steps, paid, revised, aside, _ = SCENARIOS[number] if number < len(SCENARIOS) else (
            random.choices(SCENARIOS, weights)[0])
        claim_id, key = f"clm-{number:06}", f"account-{number % 997}".encode()
        place = random.uniform(0, claims)
        sent = []
        for step, (revision, word) in enumerate(steps):
            place += random.uniform(1, claims / 10) if step else 0
            sent.append((place, message(key, claim_id, revision, word, number)))
        if aside is not None:
            sent[aside][1].set_aside = True
        if paid is not None:
            made.paid[claim_id] = paid
        made.revised |= {(claim_id, *revision) for revision in revised}
        highest = max(revision for revision, _ in steps)
        made.latest[claim_id] = next(step for step in steps if step[0] == highest)
        if aside is None and random.random() < 0.05:
            # Published again, as after lost offsets, or for an event that was sent twice: then
            # under another key, so perhaps in another partition and before the first.
            for place, copy in list(sent):
                own = len(steps) > 1 or random.random() < 0.5
                copy = Message(copy.key if own else b"other", copy.value, copy.headers)
                sent.append((place + random.uniform(1, claims / 5), copy))
                made.repeats += 1
        placed += sent
    made.garbage = max(30, claims // 200)
    for number in range(made.garbage):
        placed.append((random.uniform(0, claims), garbage(number)))
    made.messages = [message for _, message in sorted(placed, key=lambda pair: pair[0])]
    validate(json.loads(message.value) for message in made.messages
             if not message.set_aside and message.value)
    return made
