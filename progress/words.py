"""What a state is called: the sentence that a person reads. Pure.

The browser's are in ``static/progress/words.js``; these are the same, for pages without JavaScript and for the
terminal. `docs/words.md` lists them, and tests hold the three together.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from .snapshot import State

QUIET_AFTER: Final = 60  # seconds; where the task does not set `stall_after`
_RUNNING: Final = (State.STARTED, State.PROGRESS)
_WAITING: Final = (State.PENDING, State.RECEIVED)
_ENDS: Final = {
    State.SUCCESS: "done",
    State.FAILURE: "failed",
    State.IGNORED: "was ignored",
    State.REJECTED: "was rejected",
}


def state_words(snapshot: Mapping[str, Any], at: float | None = None) -> str:
    """The state of `snapshot` in plain words; `at` is the time in ms since 1970, None = unknown.

    Not promised: that the words stay as they are from version to version. Programs read `state`.
    """
    state = snapshot["state"]
    if snapshot.get("cancel_requested") and (state in _WAITING or state == State.RETRY):
        return "cancelling, it will not start" + (" again" if _attempt_of(snapshot) > 0 else "")
    if state in _RUNNING:
        return _running(snapshot) + _quiet(snapshot, at)
    if state in _WAITING:
        return _waiting(snapshot, at)
    if state == State.RETRY:
        return f"retrying, {_of_how_many(snapshot, (snapshot.get('retries') or 0) + 2)}{_in(snapshot, at)}"
    if state == State.REVOKED:
        return "expired, no worker took it in time" if _expired(snapshot) else "cancelled"
    if state == State.LOST:
        return _lost(snapshot)
    return _ENDS[State(state)]


def _expired(snapshot: Mapping[str, Any]) -> bool:
    error = snapshot.get("error")
    return error is not None and error.get("type") != "Terminated"  # which only staff are told


def _running(snapshot: Mapping[str, Any]) -> str:
    if snapshot.get("cancel_requested"):
        return "cancelling…"
    if retries := snapshot.get("retries"):
        return f"running, {_of_how_many(snapshot, retries + 1)}"
    attempt = _attempt_of(snapshot)
    return f"running again ({attempt})" if attempt > 1 else "running"


def _waiting(snapshot: Mapping[str, Any], at: float | None) -> str:
    if snapshot.get("waits_for"):
        return "waiting for the step before it"
    if later := _in(snapshot, at):
        return f"scheduled{later}"
    if snapshot.get("unserved"):
        return f"waiting, but no worker listens to “{snapshot.get('queue')}”"
    return "waiting to run again" if _attempt_of(snapshot) > 0 else "waiting for a worker"


def _lost(snapshot: Mapping[str, Any]) -> str:
    if snapshot.get("error"):
        return "interrupted, its worker was stopped"
    return "lost (presumed) while cancelling" if snapshot.get("cancel_requested") else "lost (presumed)"


def _quiet(snapshot: Mapping[str, Any], at: float | None) -> str:
    """Nothing new for so long: it may still live, for silent tasks do."""
    updated = snapshot.get("updated_at")
    quiet = 0.0 if at is None or not updated else at - _milliseconds(updated)
    after = snapshot.get("stall_after")
    late = quiet >= (QUIET_AFTER if after is None else after) * 1000
    return f", nothing new for {_span(quiet)}" if late and quiet > 0 else ""


def _in(snapshot: Mapping[str, Any], at: float | None) -> str:
    scheduled = snapshot.get("scheduled_for")
    wait = 0.0 if at is None or not scheduled else _milliseconds(scheduled) - at
    return f", in {_span(wait)}" if wait > 0 else ""


def _of_how_many(snapshot: Mapping[str, Any], attempt: int) -> str:
    allowed = snapshot.get("max_retries")
    return f"attempt {attempt}" if allowed is None else f"attempt {attempt} of {allowed + 1}"


def _attempt_of(snapshot: Mapping[str, Any]) -> int:
    return int(snapshot.get("attempt") or 0)


def _milliseconds(moment: str) -> float:
    return dt.datetime.fromisoformat(moment).timestamp() * 1000


def _span(milliseconds: float) -> str:
    """12 s, 5 min, 2 h, 3 d: rounded as JavaScript rounds."""
    seconds = _rounded(milliseconds / 1000)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{_rounded(seconds / 60)} min"
    return f"{_rounded(seconds / 3600)} h" if seconds < 48 * 3600 else f"{_rounded(seconds / 86400)} d"


def _rounded(number: float) -> int:
    return int(max(0.0, number) + 0.5)
