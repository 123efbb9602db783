"""What clients may say, parsed and bounded. Pure. `docs/protocol.md` is the contract."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final

from . import snapshot
from .exceptions import ProgressError

MAX_FRAME_BYTES: Final = 16 * 1024
MAX_IDS: Final = 500  # in one message
FRAMES_PER_SECOND: Final = 20.0  # sustained
BURST: Final = 60  # frames at once, for a page that has just opened
IDS_PER_SECOND: Final = 100.0  # sustained: what a frame costs depends on how many tasks it names
COST_OF_TREE: Final = 50  # ids that one workflow counts for
IDS_BURST: Final = 1000  # ids at once
CURSOR: Final = re.compile(r"[0-9]{1,15}-[0-9]{1,15}")  # of a Redis stream: milliseconds and a number


class ProtocolError(ProgressError):
    """A frame was not a JSON object; the connection is closed with 4400."""


class BadMessage(ProgressError):
    """A message has a wrong field; it is answered by ``refused`` with this text as ``detail``."""

    ref: Any = None  # of the message, to be repeated


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a client."""

    type: str
    ref: Any = None
    ids: tuple[str, ...] = ()
    token: str | None = None
    every: float | None = None  # seconds
    mine: bool = False
    tree: str | None = None
    everything: bool = False  # "all"
    after: str | None = None
    terminate: bool = False

    @property
    def asks_for(self) -> tuple[str, ...]:
        """The actions that a ``cancel`` asks for: to end by force is one to cancel as well."""
        return ("cancel", "terminate") if self.terminate else ("cancel",)

    @property
    def cost(self) -> int:
        """How many ids it counts for: a workflow is read with its members."""
        return len(self.ids) + (COST_OF_TREE if self.tree is not None else 0)


# Fields of each message; those in the second place may be left out.
_FORMS: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {
    "watch": (frozenset(), frozenset({"ids", "mine", "tree", "token", "every_ms"})),
    "unwatch": (frozenset(), frozenset({"ids", "all"})),
    "cancel": (frozenset({"id"}), frozenset({"terminate"})),
    "logs": (frozenset({"id"}), frozenset({"after"})),
    "token": (frozenset({"token"}), frozenset()),
    "ping": (frozenset(), frozenset()),
}


def parse(text: str) -> Message:
    """The message in a frame. Raises `ProtocolError` for no JSON object, `BadMessage` for a wrong one.

    Unknown fields are ignored; a message that could mean nothing is refused.
    """
    try:
        raw = json.loads(text)
        # Answers repeat parts of it, so it must have a form: no NaN, no lone surrogates, no bottomless nesting.
        snapshot.encode(raw).encode()
    except (ValueError, RecursionError):
        raise ProtocolError("Expected a JSON object in a text frame, got something else.") from None
    if not isinstance(raw, dict):
        raise ProtocolError(f"Expected a JSON object in a text frame, got {type(raw).__name__}.")
    try:
        return _message(raw)
    except BadMessage as error:
        error.ref = raw.get("ref")
        raise


def _message(raw: dict[str, Any]) -> Message:
    kind = raw.get("type")
    if not isinstance(kind, str) or kind not in _FORMS:
        raise BadMessage(f"type must be one of {', '.join(_FORMS)}.")
    required, optional = _FORMS[kind]
    given = {name: raw[name] for name in required | optional if raw.get(name) is not None}
    if missing := sorted(required - given.keys()):
        raise BadMessage(f"{kind} needs {', '.join(missing)}.")
    message = Message(kind, raw.get("ref"), **_fields(given))
    nothing_meant = not (message.ids or message.mine or message.everything or message.tree)
    if kind in ("watch", "unwatch") and nothing_meant:
        raise BadMessage(f"{kind} needs ids" + (", mine or tree." if kind == "watch" else ", or all."))
    return message


def _fields(given: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name in ("id", "ids"):
        if name in given:
            fields["ids"] = _ids(given[name] if name == "ids" else [given[name]])
    for name in ("token", "after", "tree"):
        if name in given:
            fields[name] = _text(name, given[name])
    if "after" in fields and not CURSOR.fullmatch(fields["after"]):
        raise BadMessage("after must be a cursor: the next of an earlier logs message.")
    for name, attribute in (("mine", "mine"), ("all", "everything"), ("terminate", "terminate")):
        if name in given:
            if given[name] is not True:
                raise BadMessage(f"{name} must be true.")
            fields[attribute] = True
    if "every_ms" in given:
        every = given["every_ms"]
        if isinstance(every, bool) or not isinstance(every, (int, float)) or not 0 <= every <= 60_000:
            raise BadMessage("every_ms must be a number from 0 to 60000.")
        fields["every"] = every / 1000
    return fields


def _ids(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise BadMessage("ids must be a list of texts.")
    if len(value) > MAX_IDS:
        raise BadMessage(f"ids may name {MAX_IDS} tasks in one message.")
    return tuple(dict.fromkeys(value))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise BadMessage(f"{name} must be text.")
    if name == "tree" and not value:
        raise BadMessage("tree must be the id of a task or of a group.")
    return value


@dataclass(slots=True)
class Allowance:
    """A bucket that holds back floods: `burst` at once, refilled at `per_second`. Counts frames by default."""

    burst: float = BURST
    per_second: float = FRAMES_PER_SECOND
    left: float = field(default=0.0, init=False)
    at: float = field(default=0.0, init=False)

    def take(self, now: float, count: int = 1) -> bool:
        """Use so many at the time `now` (s, monotonic); False when there are not that many left."""
        self.left = min(self.burst, self.left + (now - self.at) * self.per_second) if self.at else self.burst
        self.at = now
        if self.left < count:
            return False
        self.left -= count
        return True
