"""How a run went: its states as steps in words, and as a strip whose parts are as long as they took. Pure."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from django.utils.translation import gettext, gettext_lazy

from .models import CANCELLING
from .models import Step as Came
from .snapshot import FINAL, State
from .words import number_words

WIDTH: Final = 1000  # of the whole strip, in units of its drawing
LEAST: Final = 6  # of a part, or it could not be seen
WORDS: Final[dict[State, Any]] = {
    State.PENDING: gettext_lazy("queued"),
    State.RECEIVED: gettext_lazy("received by a worker"),
    State.STARTED: gettext_lazy("started"),
    State.PROGRESS: gettext_lazy("reported for the first time"),
    State.RETRY: gettext_lazy("failed, to be tried again"),
    State.SUCCESS: gettext_lazy("done"),
    State.FAILURE: gettext_lazy("failed"),
    State.REVOKED: gettext_lazy("cancelled"),
    State.IGNORED: gettext_lazy("was ignored"),
    State.REJECTED: gettext_lazy("was rejected"),
    State.LOST: gettext_lazy("no sign of life any more: presumed lost"),
}
STATES: Final[dict[State, Any]] = {
    State.PENDING: gettext_lazy("Pending"),
    State.RECEIVED: gettext_lazy("Received"),
    State.STARTED: gettext_lazy("Started"),
    State.PROGRESS: gettext_lazy("Progress"),
    State.RETRY: gettext_lazy("Retry"),
    State.SUCCESS: gettext_lazy("Success"),
    State.FAILURE: gettext_lazy("Failure"),
    State.REVOKED: gettext_lazy("Revoked"),
    State.IGNORED: gettext_lazy("Ignored"),
    State.REJECTED: gettext_lazy("Rejected"),
    State.LOST: gettext_lazy("Lost"),
}
MOODS: Final[dict[str, str]] = {
    **dict.fromkeys((State.PENDING, State.RECEIVED, State.RETRY), "wait"),
    **dict.fromkeys((State.STARTED, State.PROGRESS), "run"),
    **dict.fromkeys((State.FAILURE, State.LOST), "bad"),
    **dict.fromkeys((State.REVOKED, State.IGNORED, State.REJECTED), "over"),
    State.SUCCESS: "good",
    CANCELLING: "over",
}


@dataclass(frozen=True)
class Step:
    """Something that happened to a run: when, in words, and how long it stayed so ("" = that is not known)."""

    at: dt.datetime
    words: str
    mood: str
    lasted: str = ""


@dataclass(frozen=True)
class Part:
    """A part of the strip: where it begins and how wide it is, of 1000."""

    x: int
    width: int
    mood: str
    words: str


def steps(came: Sequence[Came], canceller: str = "") -> list[Step]:
    """A run's ``timeline`` as steps, oldest first. `canceller` is who asked to cancel."""
    found = []
    for place, (at, state, attempt) in enumerate(came):
        after = came[place + 1].at if place + 1 < len(came) and state not in FINAL else None
        lasted = "" if after is None else span(after - at)
        found.append(Step(at, _words(state, attempt, canceller), MOODS.get(state, "wait"), lasted))
    return found


def strip(came: Sequence[Came], now: dt.datetime) -> list[Part]:
    """The same as parts of a strip, up to the end or `now`; [] if nothing lasted."""
    if not came:
        return []
    moments = [step.at for step in came] + ([] if came[-1].state in FINAL else [max(now, came[-1].at)])
    whole = (moments[-1] - moments[0]).total_seconds()
    if whole <= 0:
        return []
    parts: list[Part] = []
    for (at, state, attempt), after in zip(came, moments[1:], strict=False):
        x = round((at - moments[0]).total_seconds() / whole * WIDTH)
        width = max(round((after - moments[0]).total_seconds() / whole * WIDTH) - x, LEAST)
        parts.append(Part(min(x, WIDTH - width), width, MOODS.get(state, "wait"), _words(state, attempt, "")))
    return parts


def span(length: dt.timedelta) -> str:
    """A duration as people read it: 80 ms, 1.3 s, 12 s, 4 min 5 s, 2 h 10 min, 3 d 4 h."""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 0.9995:
        return gettext("%(n)s ms") % {"n": f"{seconds * 1000:.0f}"}
    if seconds < 9.95:
        return gettext("%(n)s s") % {"n": number_words(round(seconds, 1))}
    whole = round(seconds)
    short, minutes, hours = gettext("%(n)s s"), gettext("%(n)s min"), gettext("%(n)s h")
    if whole < 60:
        return short % {"n": whole}
    if whole < 3600:
        return _two(whole, 60, minutes, 1, short)
    if whole < 48 * 3600:
        return _two(whole, 3600, hours, 60, minutes)
    return _two(whole, 86400, gettext("%(n)s d"), 3600, hours)


def clock(length: dt.timedelta) -> str:
    """A duration as the pages count it: 0:35, 12:05, 1:02:03."""
    seconds = max(int(length.total_seconds()), 0)
    hours, minutes = divmod(seconds // 60, 60)
    rest = f"{seconds % 60:02d}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def _two(seconds: int, large: int, one: str, small: int, other: str) -> str:
    rest = seconds % large // small
    return " ".join([one % {"n": seconds // large}, *([other % {"n": rest}] if rest else [])])


def _words(state: str, attempt: int, canceller: str) -> str:
    if state == CANCELLING:
        who = canceller or gettext("somebody")
        return gettext("%(who)s asked to cancel it") % {"who": who}
    said = str(WORDS.get(State(state), state)) if state in set(State) else state
    again = attempt > 1 and state in (State.STARTED, State.PROGRESS, State.RETRY)
    return gettext("%(state)s (attempt %(attempt)s)") % {"state": said, "attempt": attempt} if again else said
