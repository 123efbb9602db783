"""The published schemas of the wire, ready to hold a message against."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

DOCS = Path(__file__).resolve().parent.parent / "docs"
BASE: Final = "https://example.org/"

SNAPSHOT: Final[dict[str, Any]] = json.loads((DOCS / "snapshot.schema.json").read_text())
SOCKET: Final[dict[str, Any]] = yaml.safe_load((DOCS / "asyncapi.yaml").read_text())
MESSAGES: Final[dict[str, Any]] = SOCKET["components"]["messages"]

_registry: Registry[Any] = Registry().with_resources(
    (BASE + name, DRAFT202012.create_resource(document))
    for name, document in (("snapshot.schema.json", SNAPSHOT), ("asyncapi.yaml", SOCKET))
)


def _validator(pointer: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": BASE + pointer}, registry=_registry)


def _spoken(operation: str) -> dict[str, str]:
    """Names of the messages of an operation, by the type that they carry."""
    refs = [message["$ref"] for message in SOCKET["operations"][operation]["messages"]]
    names = [ref.rsplit("/", 1)[1] for ref in refs]
    return {MESSAGES[name]["payload"]["properties"]["type"]["const"]: name for name in names}


CLIENT: Final = _spoken("hear")
SERVER: Final = _spoken("tell")

_snapshot = _validator("snapshot.schema.json")
_payloads = {name: _validator(f"asyncapi.yaml#/components/messages/{name}/payload") for name in MESSAGES}


def wrong_in_snapshot(snapshot: Any) -> list[str]:
    """What is wrong with a snapshot, in words."""
    return [f"{error.json_path}: {error.message}" for error in _snapshot.iter_errors(snapshot)]


def wrong_in_message(message: Any, spoken: dict[str, str] = SERVER) -> list[str]:
    """What is wrong with a message of the server, or of the client with `spoken=CLIENT`."""
    kind = message.get("type")
    if not isinstance(kind, str) or kind not in spoken:
        return [f"{kind!r} is no message"]
    name = spoken[kind]
    return [f"{error.json_path}: {error.message}" for error in _payloads[name].iter_errors(message)]


_known: set[Any] = set()


def wrong_in_heard(message: dict[str, Any]) -> list[str]:
    """What is wrong with a message of the server. Looks at each shape once: some tests hear tens of thousands."""
    shapes = {(item.get("state"), *item) for item in message.get("items", ()) if message["type"] == "snapshots"}
    if not shapes or shapes - _known:
        if wrong := wrong_in_message(message):
            return wrong
        _known.update(shapes)
    return []
