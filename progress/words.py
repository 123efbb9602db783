"""What is said of a task: the sentences that a person reads, in the language that is active. No clock.

The browser's are in ``static/progress/words.js`` and ``more-words.js``; these are the same, for pages without
JavaScript and for the terminal. `docs/words.md` lists them, and tests hold the three together in every language that
is shipped. `docs/translating.md` says how a site words them otherwise.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any, Final

from django.utils import numberformat
from django.utils.formats import get_format
from django.utils.translation import gettext

from .snapshot import State

QUIET_AFTER: Final = 60  # seconds; where the task does not set `stall_after`
_RUNNING: Final = (State.STARTED, State.PROGRESS)
_WAITING: Final = (State.PENDING, State.RECEIVED)


def state_words(snapshot: Mapping[str, Any], at: float | None = None) -> str:
    """The state of `snapshot` in plain words; `at` is the time in ms since 1970, None = unknown.

    Not promised: that the words stay as they are from version to version. Programs read `state`.
    """
    state = snapshot["state"]
    if snapshot.get("cancel_requested") and (state in _WAITING or state == State.RETRY):
        if _attempt_of(snapshot) > 0:
            return gettext("cancelling, it will not start again")
        return gettext("cancelling, it will not start")
    if state in _WAITING:
        return _waiting(snapshot, at)
    if state in _RUNNING:
        return _running(snapshot, at)
    if state == State.RETRY:
        return listed(gettext("retrying"), _attempts(snapshot, (snapshot.get("retries") or 0) + 2), _in(snapshot, at))
    return _lost(snapshot, at) if state == State.LOST else _ended(snapshot)


def count_words(snapshot: Mapping[str, Any]) -> str:
    """630 of 1,000 rows: as far as these are known."""
    current, total, unit = snapshot.get("current") or 0, snapshot.get("total"), snapshot.get("unit") or ""
    if not current and total is None:
        return ""
    count = number_words(current)
    if total is not None:
        count = gettext("%(current)s of %(total)s") % {"current": count, "total": number_words(total)}
    return f"{count} {unit}" if unit else count


def parts_words(snapshot: Mapping[str, Any]) -> str:
    """5 of 8 parts, 1 failed: of the tasks that it has sent."""
    parts = snapshot.get("children")
    if not parts:
        return ""
    values = {name: number_words(parts.get(name) or 0) for name in ("ended", "known", "failed")}
    if parts.get("failed"):
        return gettext("%(ended)s of %(known)s parts, %(failed)s failed") % values
    return gettext("%(ended)s of %(known)s parts") % values


def message_words(snapshot: Mapping[str, Any]) -> str:
    """What the task itself says; of one that came to no good end it is the last that was heard, no longer true."""
    message, state = snapshot.get("message") or "", snapshot["state"]
    over = state == State.LOST or (snapshot.get("final") and state != State.SUCCESS)
    return gettext("last said: %(message)s") % {"message": message} if message and over else message


def number_words(number: float) -> str:
    """1,000 or 1.000: grouped by thousands, as browsers do, in every language."""
    point, comma = get_format("DECIMAL_SEPARATOR"), get_format("THOUSAND_SEPARATOR")
    return numberformat.format(number, point, grouping=3, thousand_sep=comma or ",", force_grouping=True)


def listed(*parts: str) -> str:
    """Those parts that say something, one after the other."""
    return gettext(", ").join(part for part in parts if part)


def _waiting(snapshot: Mapping[str, Any], at: float | None) -> str:
    if snapshot.get("waits_for"):
        return gettext("waiting for the step before it")
    if later := _in(snapshot, at):
        return listed(gettext("scheduled"), later)
    if snapshot.get("unserved"):
        queue = snapshot.get("queue") or ""
        return gettext("waiting, but no worker listens to “%(queue)s”") % {"queue": queue}
    return gettext("waiting to run again") if _attempt_of(snapshot) > 0 else gettext("waiting for a worker")


def _running(snapshot: Mapping[str, Any], at: float | None) -> str:
    quiet, after = _quiet(snapshot, at), snapshot.get("stall_after")
    # It may still live, for silent tasks do: signs of life are not shown, only that they end.
    late = quiet >= (QUIET_AFTER if after is None else after) * 1000
    silence = gettext("nothing new for %(time)s") % {"time": span_words(quiet)} if late and quiet > 0 else ""
    if snapshot.get("cancel_requested"):
        return listed(gettext("cancelling…"), silence)
    if retries := snapshot.get("retries"):
        return listed(gettext("running"), _attempts(snapshot, retries + 1), silence)
    if (attempt := _attempt_of(snapshot)) > 1:
        return listed(gettext("running again (%(attempt)s)") % {"attempt": number_words(attempt)}, silence)
    return listed(gettext("running"), silence)


def _lost(snapshot: Mapping[str, Any], at: float | None) -> str:
    if snapshot.get("error"):
        return gettext("interrupted, its worker was stopped")
    if snapshot.get("cancel_requested"):  # when that was asked is newer than the last sign of life
        return gettext("lost (presumed) while cancelling")
    silent = _quiet(snapshot, at)
    since = gettext("no sign of life for %(time)s") % {"time": span_words(silent)} if silent >= 1000 else ""
    return listed(gettext("lost (presumed)"), since)


def _ended(snapshot: Mapping[str, Any]) -> str:
    state, error = snapshot["state"], snapshot.get("error")
    if state == State.SUCCESS:
        parts = snapshot.get("children") or {}
        open_ = (parts.get("ended") or 0) < (parts.get("known") or 0)
        return gettext("done, its parts go on") if open_ else gettext("done")
    if state == State.FAILURE:
        return gettext("failed")
    if state == State.IGNORED:
        return gettext("was ignored")
    if state == State.REJECTED:
        return gettext("was rejected")
    expired = error and error.get("type") != "Terminated"  # which only staff are told
    return gettext("expired, no worker took it in time") if expired else gettext("cancelled")


def _quiet(snapshot: Mapping[str, Any], at: float | None) -> float:
    """Milliseconds since something was heard of it; of one that is lost, since its last sign of life."""
    updated = snapshot.get("updated_at")
    return 0.0 if at is None or not updated else at - _milliseconds(updated)


def _in(snapshot: Mapping[str, Any], at: float | None) -> str:
    scheduled = snapshot.get("scheduled_for")
    wait = 0.0 if at is None or not scheduled else _milliseconds(scheduled) - at
    return gettext("in %(time)s") % {"time": span_words(wait)} if wait > 0 else ""


def _attempts(snapshot: Mapping[str, Any], attempt: int) -> str:
    allowed = snapshot.get("max_retries")
    values = {"attempt": number_words(attempt), "attempts": number_words((allowed or 0) + 1)}
    if allowed is None:
        return gettext("attempt %(attempt)s") % values
    return gettext("attempt %(attempt)s of %(attempts)s") % values


def _attempt_of(snapshot: Mapping[str, Any]) -> int:
    return int(snapshot.get("attempt") or 0)


def _milliseconds(moment: str) -> float:
    return dt.datetime.fromisoformat(moment).timestamp() * 1000


def span_words(milliseconds: float) -> str:
    """12 s, 5 min, 2 h, 3 d: rounded as JavaScript rounds."""
    if (seconds := _rounded(milliseconds / 1000)) < 60:
        return gettext("%(n)s s") % {"n": number_words(seconds)}
    if (minutes := _rounded(milliseconds / 60_000)) < 60:
        return gettext("%(n)s min") % {"n": number_words(minutes)}
    if (hours := _rounded(milliseconds / 3_600_000)) < 48:
        return gettext("%(n)s h") % {"n": number_words(hours)}
    return gettext("%(n)s d") % {"n": number_words(_rounded(milliseconds / 86_400_000))}


def _rounded(number: float) -> int:
    return int(max(0.0, number) + 0.5)
