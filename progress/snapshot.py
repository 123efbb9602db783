"""What a task looks like to a reader: its states, the limits of each field, and which of two is newer.

Pure: no I/O and nothing of ours is imported, so worker, server and tests share one truth.
"""

from __future__ import annotations

import datetime as dt
import functools
import hashlib
import json
import math
import numbers
import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from billiard.exceptions import SoftTimeLimitExceeded

from .exceptions import InvalidReport

VERSION: Final = 1

# Bytes of JSON that a snapshot may take in either view, and each part of it. All but the stages fit together whatever
# they hold; the stages get what is left, which is STAGES_BYTES unless ids, texts and meta are all very long.
SNAPSHOT_BYTES: Final = 4096
HEAD_BYTES: Final = 500  # what the record itself knows: numbers, state, times, children
STAGES_BYTES: Final = 450
STAGE_NAME_BYTES: Final = 80
NAME_BYTES: Final = 200
TITLE_BYTES: Final = 300
UNIT_BYTES: Final = 40
MESSAGE_BYTES: Final = 800
META_BYTES: Final = 768
RESULT_BYTES: Final = 400
ERROR_BYTES: Final = 400
ERROR_TYPE_BYTES: Final = 80
OUTCOME_BYTES: Final = 40 + ERROR_BYTES + ERROR_TYPE_BYTES  # an error or a result, with their names
REST_BYTES: Final = HEAD_BYTES + OUTCOME_BYTES + 10  # of a record besides its body and view, with what joins them
WORKER_BYTES: Final = 100
QUEUE_BYTES: Final = 80
LOG_LINE_CHARACTERS: Final = 500
LOG_LEVEL_BYTES: Final = 12

# While a task runs its fraction stays below 1: 999 999 of 1 000 000 must not look finished, and neither
# must a loop that is done while the task still tidies up.
ALMOST_DONE: Final = 0.9999

# Larger whole numbers are not exact in JavaScript, nor bounded in length.
EXACT: Final = 2**53

SAFE_NAME: Final = re.compile(r"[A-Za-z0-9._~-]{1,200}")
_HASHED_KEY: Final = re.compile(r"~[0-9a-f]{64}")
# Control characters but tab and newline, and the marks that turn the direction of the text around them.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


class State(StrEnum):
    """The states, in Celery's words, and LOST: nobody has heard of it, presumably it died."""

    PENDING = "PENDING"
    RECEIVED = "RECEIVED"
    STARTED = "STARTED"
    PROGRESS = "PROGRESS"
    RETRY = "RETRY"
    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    REVOKED = "REVOKED"
    IGNORED = "IGNORED"
    REJECTED = "REJECTED"
    LOST = "LOST"


FINAL: Final = frozenset({State.SUCCESS, State.FAILURE, State.REVOKED, State.IGNORED, State.REJECTED})
WAITING: Final = frozenset({State.PENDING, State.RECEIVED, State.RETRY})
LIVE: Final = frozenset({State.STARTED, State.PROGRESS, State.LOST})


def key(task_id: str) -> str:
    """Name under which a task is stored and addressed: the id itself if it is a safe name, else a hash of it.

    Celery ids may be any string; no Redis key, group or URL is ever built from one unchecked. A hashed key
    addresses itself in URLs and messages, so ids of that very form are hashed as well.
    """
    if _is_safe(task_id) and not _HASHED_KEY.fullmatch(task_id):
        return task_id
    return "~" + hashlib.sha256(task_id.encode("utf-8", "surrogatepass")).hexdigest()


def address(name: str) -> str:
    """The key that a client means by `name`: safe names are keys already, anything else is a raw task id."""
    return name if _is_safe(name) else key(name)


def _is_safe(name: str) -> bool:
    # A browser makes "/runs/change/" of "/runs/./change/".
    return SAFE_NAME.fullmatch(name) is not None and name not in (".", "..")


def group(prefix: str, kind: str, name: str) -> str:
    """Name of a channel-layer group, ``<prefix>.<kind>.<32 hex>``: valid on every layer (< 100 safe characters)."""
    return f"{prefix}.{kind}.{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def is_newer(seq: int, seen: int) -> bool:
    """True if a snapshot with `seq` replaces one with `seen`, whatever attempt or state either has."""
    return seq > seen


def fraction(current: float, total: float | None) -> float | None:
    """How far a running task is, 0 ≤ f < 1, or None when that is unknown. Only success is 1."""
    if total is None or total <= 0:
        return None
    return min(max(current / total, 0.0), ALMOST_DONE)


def number(value: Any, name: str) -> float | int:
    """`value` as a finite number; NaN and infinities become 0, as does what is too large to be told from one.

    Accepts int, float, Decimal, Fraction and numpy's numbers. Raises `InvalidReport` for anything else.
    """
    if isinstance(value, int) and -EXACT <= value <= EXACT:
        return int(value)
    # numpy makes a number of an array of one, and of a complex number, and warns.
    if getattr(value, "ndim", 0):
        raise InvalidReport(f"{name} must be one number, got {type(value).__name__}: pass an int.")
    imaginary = isinstance(value, numbers.Complex) and not isinstance(value, numbers.Real)
    if isinstance(value, Decimal) or (hasattr(value, "__float__") and not imaginary):
        try:
            found = float(value)
        except (OverflowError, ValueError):  # 10**400; a signalling NaN
            return 0
        except TypeError:  # an array of several numbers
            raise InvalidReport(f"{name} must be one number, got {type(value).__name__}: pass an int.") from None
        if not math.isfinite(found):
            return 0
        return int(found) if found.is_integer() and abs(found) <= EXACT else found
    raise InvalidReport(f"{name} must be a number, got {type(value).__name__}: pass an int or a float.")


def total(value: Any) -> float | int | None:
    """A total as it is shown: None (unknown) for None, NaN, infinities, zero and negative numbers."""
    found = None if value is None else number(value, "total")
    return found if found is not None and found > 0 else None


# Made once: `json.dumps` makes one for each call that wants anything else than its defaults.
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def encode(value: Any) -> str:
    """Compact JSON."""
    return _encoder.encode(value)


def clip(text: Any, limit: int) -> str:
    """`text` without unseen characters, shortened with an ellipsis so that its JSON takes ≤ `limit` bytes."""
    clean = _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", as_text(text)[: limit + 1])
    # A character takes six bytes of JSON at the most; most texts are far from their limit.
    if 6 * len(clean) + 2 <= limit or (len(encode(clean).encode()) <= limit and len(clean) <= limit):
        return clean
    while len(encode(clean).encode()) > limit - 3:
        # Each pass removes at least one character and usually all that is too much.
        surplus = len(encode(clean).encode()) - limit + 3
        clean = clean[: -max(1, surplus // 6)]
    return clean + "…"


def as_text(value: Any) -> str:
    """The text of anything, also of what has none. Never raises but for a soft time limit that strikes in here."""
    if value.__class__ is str:
        return value
    try:
        return str(value)
    except SoftTimeLimitExceeded:
        raise
    except Exception:  # noqa: BLE001 (somebody's __str__; what it belongs to is to be told all the same)
        return f"({type(value).__name__} without a text)"


def plain(value: Any) -> Any:
    """`value` in JSON's own types. Decimal, UUID, dates and numpy's numbers are converted.

    Raises `InvalidReport` for what has no JSON form: nothing is guessed and nothing is pickled.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, (dt.datetime, dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    if kind == "b":  # numpy's truth is no bool
        return bool(value)
    if kind in ("M", "m"):  # its moments and spans count in a unit of their own
        return str(value)
    try:
        return number(value, "a value")
    except (InvalidReport, ValueError, TypeError):
        raise InvalidReport(
            f"meta and results must be JSON-like, got {type(value).__name__}: convert it to text or numbers."
        ) from None


def json_text(value: Any) -> str:
    """`value` as JSON without unseen characters. Raises `InvalidReport` for what has no JSON form."""
    try:
        return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", encode(plain(value)))
    except RecursionError:
        raise InvalidReport("meta and results must be JSON-like, got a value that contains itself.") from None


def meta_json(meta: Mapping[str, Any]) -> str:
    """`meta` as JSON. Raises `InvalidReport` when it is no mapping, not JSON-like or larger than 768 bytes."""
    if not isinstance(meta, Mapping):
        raise InvalidReport(f"meta must be a mapping, got {type(meta).__name__}: pass a dict.")
    text = json_text(meta)
    if (size := len(text.encode())) > META_BYTES:
        raise InvalidReport(f"meta must be ≤ {META_BYTES} bytes of JSON, got {size}: keep large data elsewhere.")
    return text


def utc(moment: dt.datetime | str | None) -> str | None:
    """A moment in the form of the wire: ISO 8601 UTC with milliseconds. None for None and for what is no moment."""
    try:
        found = dt.datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    except ValueError:
        return None
    if found is None:
        return None
    aware = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    return aware.astimezone(dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def iso(microseconds: int) -> str | None:
    """A time of the record (µs since 1970, 0 = not yet) as ISO 8601 UTC with milliseconds."""
    if not microseconds:
        return None
    return f"{_second(microseconds // 1_000_000)}.{microseconds // 1000 % 1000:03d}Z"


@functools.lru_cache(maxsize=256)  # a snapshot names up to four times, most of them like the one before
def _second(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%S")
