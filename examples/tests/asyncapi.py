"""Checks schemas/asyncapi.yaml: it is YAML, each $ref leads somewhere, and all topics are there."""

import json
import pathlib
import sys

import yaml

FILE = pathlib.Path(__file__).parents[2] / "schemas" / "asyncapi.yaml"
TOPICS = {"reward.claims", "reward.decisions", "reward.claims.retry", "reward.claims.dead-letter"}


def references(node):
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def resolve(reference, documents):
    """What a reference leads to; raises KeyError or OSError where it leads nowhere."""
    name, _, pointer = reference.partition("#")
    path = (FILE.parent / name).resolve() if name else FILE
    if path not in documents:
        documents[path] = json.loads(path.read_text())
    node = documents[path]
    for part in pointer.strip("/").split("/") if pointer else []:
        node = node[part.replace("~1", "/").replace("~0", "~")]
    return node


def check():
    document = yaml.safe_load(FILE.read_text())
    documents = {FILE: document}
    found = list(references(document))
    for reference in found:
        resolve(reference, documents)
    assert document["asyncapi"] == "3.0.0", document["asyncapi"]
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == TOPICS, addresses ^ TOPICS
    used = {path.name for path in documents} - {FILE.name}
    assert used == {path.name for path in FILE.parent.glob("*.json")}, used
    return f"{len(addresses)} topics, {len(found)} references, {len(used)} schemas"


if __name__ == "__main__":
    print(f"asyncapi.yaml: {check()}")
    sys.exit()
