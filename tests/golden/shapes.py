"""What messages look like, whatever stands in them: which fields there are, and of which type. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

# The name of a file, then the kind of a message, then one message of each shape.
Recording = dict[str, dict[str, list[Any]]]
# Each field by its path, with the names of its types.
Shape = dict[str, str]

# Fields whose text is JSON, or the inside of a JSON object.
WRITTEN = {"snapshot", "staff"}
MEMBERS = {"body", "public", "staff", "outcome", "outcome_staff"}
# Fields of a workflow's sums that are named by what they count, and by place.
COUNTED = re.compile(r"[A-Z]+|m:\d+")
# What is inside of these is named by whoever put it there.
DATA = {".counts", ".staff.meta", ".public.meta", ".snapshot.meta", ".items[].meta"}
ANY_TEXT = {".owner"}  # which may be a number


def shape_of(message: Any, path: str = "") -> Shape:
    """Each field of a message by its path, with its type."""
    shape = {path: "text" if path in ANY_TEXT else _type(message)} if path else {}
    for name, value in _inside(message, path):
        shape |= shape_of(value, name)
    return shape


def _inside(message: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(message, dict) and path not in DATA:
        named = {name: value for name, value in message.items() if not COUNTED.fullmatch(name)}
        yield from ((f"{path}.{name}", _read(name, value)) for name, value in named.items())
    elif isinstance(message, list):
        yield from ((f"{path}[]", item) for item in message[:1])


def _read(name: str, value: Any) -> Any:
    """What a text says, if it is JSON: an event carries a snapshot so, a record parts of one."""
    if name in WRITTEN | MEMBERS and isinstance(value, str):
        text = value if value.startswith("{") or not value else "{" + value + "}"
        return json.loads(text) if text else {}
    return value


def _type(value: Any) -> str:
    if isinstance(value, str):
        return "digits" if value.lstrip("-").isdecimal() else "text"
    for kind, name in ((bool, "truth"), (int | float, "number"), (list, "list"), (dict, "object")):
        if isinstance(value, kind):
            return name
    return "null"


def one_of_each_shape(messages: Iterable[tuple[str, Any]]) -> dict[str, list[Any]]:
    """The first message of each kind with each set of fields."""
    found: dict[str, dict[str, Any]] = {}
    for kind, message in messages:
        found.setdefault(kind, {}).setdefault(" ".join(sorted(shape_of(message))), message)
    return {kind: list(found[kind].values()) for kind in sorted(found)}


def not_kept(before: Recording, now: Recording) -> list[str]:
    """What readers of `before` would miss in `now`: kinds and fields that are gone, and types that are others.

    Whatever has been added is no reason: readers ignore what they do not know.
    """
    missed = []
    for name, kinds in before.items():
        found, todays = _without_state(kinds), _without_state(now.get(name, {}))
        for kind, messages in found.items():
            missed += [f"{name}: {kind} {what}" for what in _missed(messages, todays.get(kind, []))]
    return missed


def _without_state(kinds: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Messages by the first word of their kind: which states are met depends on how quick everybody was."""
    found: dict[str, list[Any]] = {}
    for kind, messages in kinds.items():
        found.setdefault(kind.split()[0], []).extend(messages)
    return found


def _missed(before: list[Any], now: list[Any]) -> Iterator[str]:
    if not now:
        yield "is gone"
        return
    shapes, todays = ([shape_of(message) for message in messages] for messages in (before, now))
    for path in sorted(set.intersection(*(set(shape) for shape in shapes))):
        if any(path not in today for today in todays):
            yield f"always had {path}, and has it no longer"
    for path in sorted(set().union(*shapes)):
        were, are = ({each[path] for each in some if path in each} - {"null"} for some in (shapes, todays))
        allowed = were | {"digits"} if "text" in were else were
        if were and not are <= allowed:
            yield f"had {path} as {sorted(were)}, and has it as {sorted(are)}"
