"""A page of a task's log, from what Redis answers about its stream. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .snapshot import iso
from .store import LogPage


def log_page(replies: Sequence[Any], after: str | None, limit: int) -> LogPage:
    """The page in (entries, oldest entry): those after the cursor `after`, or the newest `limit`, newest first."""
    entries, oldest = replies
    if after is None:
        entries = entries[::-1]
        truncated = len(entries) == limit and entries[0][0] != oldest[0][0]
    else:
        begun = _position(after) > (0, 0)  # the cursor of an empty log is "0-0"; nothing is gone yet
        truncated = begun and bool(oldest) and _position(oldest[0][0].decode()) > _position(after)
    lines = [
        {
            "at": iso(int(cursor.split(b"-")[0]) * 1000) or "",
            "level": values[b"level"].decode(),
            "text": values[b"text"].decode(),
        }
        for cursor, values in entries
    ]
    return LogPage(lines, entries[-1][0].decode() if entries else after or "0-0", truncated)


def _position(cursor: str) -> tuple[int, int]:
    milliseconds, _, sequence = cursor.partition("-")
    return int(milliseconds), int(sequence or 0)
