"""When each running task may speak again, and what it says then. No input or output.

A task speaks at once when it was silent for an interval, then at most once per interval: a short one while somebody
watches, a long one while nobody does. Between two changes nobody looks: a reporter that had nothing new for a
whole interval is asked to call when it has.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .conf import conf
from .leases import LEASE, SILENT_FOR
from .pool import can_terminate
from .record import TEXTS, Record, Status
from .reporter import Reporter
from .snapshot import FINAL, WAITING, State
from .store import LOG_LIMIT, Answer, Write

ROUNDING: Final = 1e-6  # of a moment: who speaks at one is due at another, not just behind it
MOMENTS: Final = 40  # in an interval at which tasks that nobody watches speak, together: a thousand wake us 40 times
BACKLOG: Final = 10_000  # tasks remembered while Redis is away; ended ones are given up, the oldest first
# An execution is over for us when the store says one of these.
OVER: Final = frozenset({Status.FENCED, Status.ENDED, Status.REFUSED, Status.DAMAGED})


@dataclass(slots=True)
class _Said:
    """The last thing a reporter said and when, what the record answered, and when it may speak again."""

    current: float = -1
    changes: int = -1
    due: float = 0.0
    spoke: float = 0.0
    hurried: bool = False  # since it spoke
    fence: int = 0
    n: int = 0
    attempt: int = 0
    run: int = 1
    seq: int = 0
    head: Record | None = None  # of the record, as the last accepted save has left it
    heard: float = 0.0  # when the store last took a sign of life; 0 = never
    lines: list[tuple[str, str]] = field(default_factory=list)  # of the log, taken and not yet stored


@dataclass(frozen=True, slots=True)
class Report:
    """What one reporter says now: the write, and how much of the reporter it covers."""

    reporter: Reporter
    write: Write
    current: float
    changes: int
    state: State


class Pacing:
    """The running tasks of one process. Belongs to the publisher's thread."""

    def __init__(self, process: str, clock: Callable[[], float] = time.monotonic, lease: float = LEASE) -> None:
        self._process = process
        self._lease = int(lease * 1_000_000)  # µs; 0 = nobody here renews it
        self._clock = clock
        self._said: dict[Reporter, _Said] = {}
        self._by_key: dict[str, Reporter] = {}
        self._phase = random.random()  # nosec B311 # all processes of a machine have one clock: not all at once

    def add(self, reporter: Reporter) -> None:
        """Follow `reporter` until its execution is over."""
        self._said[reporter] = _Said()
        self._by_key[reporter.job.key] = reporter
        if len(self._said) > BACKLOG:
            for ended in [known for known in self._said if known.state in FINAL][: len(self._said) - BACKLOG]:
                self.forget(ended)

    def forget(self, reporter: Reporter) -> None:
        """Follow it no longer."""
        self._said.pop(reporter, None)
        if self._by_key.get(reporter.job.key) is reporter:
            del self._by_key[reporter.job.key]

    def running(self, key: str) -> Reporter | None:
        """The reporter of a task that runs here."""
        return self._by_key.get(key)

    def hurry(self, reporter: Reporter) -> None:
        """Let it speak now, whatever the interval says."""
        said = self._said[reporter]
        said.due, said.hurried = 0.0, True

    def hurry_all(self) -> None:
        """Let each speak now that had to wait for its interval."""
        for said in self._said.values():
            said.due, said.hurried = 0.0, True

    def next_due(self) -> float | None:
        """When the next reporter may speak (s, monotonic); None = when one calls."""
        # One that sleeps and yet has news could not be stored: it is due, and nobody will call again.
        due = [said.due for one, said in self._said.items() if not one.attention or _changed(one, said)]
        signs = (said.heard + SILENT_FOR for one, said in self._said.items() if self._is_leased(one, said))
        return min((*due, *signs), default=None)

    def _is_leased(self, reporter: Reporter, said: _Said) -> bool:
        return self._lease > 0 and said.heard > 0 and reporter.state is State.STARTED

    def to_renew(self) -> list[Reporter]:
        """The running tasks that have been silent for so long that they must give a sign of life."""
        since = {one: self._clock() - said.heard for one, said in self._said.items() if self._is_leased(one, said)}
        if max(since.values(), default=0) < SILENT_FOR:
            return []
        # Those that are due soon go along: a thousand silent tasks must not wake us a thousand times.
        return [one for one, silent in since.items() if silent >= SILENT_FOR / 2]

    def renewed(self, reporter: Reporter, answer: Answer) -> None:
        """Take in what became of a sign of life.

        A record that is gone, or older than what was said last, is written again: Redis has lost data. So is one that
        takes no sign of life from us; should another execution have taken over, that write is refused.
        """
        said = self._said.get(reporter)
        if said is None:  # it ended meanwhile
            return
        said.heard = self._clock()
        if answer.accepted and answer.head.control:
            reporter.ask_cancel()
        if not answer.accepted or answer.head.seq < said.seq:
            said.changes, said.due = -1, 0.0

    def all_said(self) -> bool:
        """True if no reporter has anything new."""
        return not any(_changed(reporter, said) for reporter, said in self._said.items())

    def ready(self, everything: bool = False) -> list[Reporter]:
        """The reporters that have something new and may say it; with `everything` those that may not, too."""
        now = self._clock()
        return [
            reporter
            for reporter, said in list(self._said.items())
            if self._has_news(reporter, said, now)
            and (everything or said.due <= now or reporter.state is not State.STARTED)
        ]

    def _has_news(self, reporter: Reporter, said: _Said, now: float) -> bool:
        if not _changed(reporter, said) and not reporter.attention and said.due <= now:
            # It is looked at once more below: the task may have gone on between these two lines.
            reporter.attention = True
        return _changed(reporter, said)

    def take_lines(self, reporter: Reporter) -> list[tuple[str, str]]:
        """Log lines that are still to be stored, the newest 1 000. They are asked for again until `stored_lines`."""
        lines = self._said[reporter].lines
        while reporter.logs:
            lines.append(reporter.logs.popleft())
        del lines[:-LOG_LIMIT]
        return lines

    def stored_lines(self, reporter: Reporter, cursor: str) -> None:
        """The lines that were taken are stored, up to `cursor`."""
        self._said[reporter].lines.clear()
        reporter.logs_to = cursor or reporter.logs_to

    def report(self, reporter: Reporter) -> Report | None:
        """What `reporter` says now; None if log lines that came meanwhile have to be stored before its end.

        Raises whatever a value that cannot be shown raises.
        """
        said, job = self._said[reporter], reporter.job
        # Read before the texts are made: should the task go on meanwhile, the same is said once more.
        current, changes, state = reporter.current, reporter.changes, reporter.state
        if state is not State.STARTED and reporter.logs:
            return None
        said.n += 1
        said.spoke, said.hurried = self._clock(), False
        shown = State.PROGRESS if state is State.STARTED and (changes or current) else state
        arguments: dict[str, Any] = {
            "exec": job.exec,
            "fence": said.fence,
            "n": said.n,
            "age": int((time.monotonic() - reporter.began) * 1_000_000),
            "state": str(shown),
            "attempt": said.attempt,
            "run": said.run,
            **job.lineage,
            "process": self._process,
            "terminable": int(can_terminate()),
            "lease": self._lease,
            "sent": job.sent,
            "seen": said.seq,
            **reporter.texts(state),
        }
        return Report(reporter, Write("save", job.key, arguments, said.head), current, changes, state)

    def answered(self, report: Report, answer: Answer) -> bool:
        """Take in what became of a report. True if it was this execution's first one."""
        reporter, said, head = report.reporter, self._said[report.reporter], answer.head
        first = answer.accepted and said.fence == 0
        said.current, said.changes = report.current, report.changes
        if not said.hurried:  # else somebody looks since it was asked for, and the answer may not know it
            # Counted from when it might have spoken, not from when it did: of a task that steps just as often, each
            # step would be shown a little later than the one before. Who was silent gains one short interval or so.
            since = max(said.due, said.spoke - conf.PROGRESS_INTERVAL)
            said.due = since + conf.PROGRESS_INTERVAL if answer.watched else self._next_moment(since)
        if answer.accepted:
            said.fence, said.attempt, said.run, said.seq = head.fence, head.attempt, head.run, head.seq
            said.head = head
            said.heard = self._clock()
            if head.control:
                reporter.ask_cancel()
        if report.state in FINAL or report.state in WAITING or answer.status in OVER:
            self.forget(reporter)
        return first

    def _next_moment(self, since: float) -> float:
        """The first, an idle interval from then, of those at which tasks that nobody watches speak."""
        interval = conf.PROGRESS_IDLE_INTERVAL
        apart = interval / MOMENTS
        if not 0 < apart < math.inf:  # a check complains of it
            return since + interval
        return (math.ceil((since + interval) / apart - self._phase - ROUNDING) + self._phase) * apart


def shown(report: Report, answer: Answer) -> Record:
    """The record as it is now: the head that the store answered, with the texts that were written."""
    head = {name: getattr(answer.head, name) for name in answer.head.__dataclass_fields__}
    return Record(**{**head, **{name: str(report.write.args.get(name, "")) for name in TEXTS}})


def _changed(reporter: Reporter, said: _Said) -> bool:
    return reporter.changes != said.changes or reporter.current != said.current
