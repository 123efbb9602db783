"""What a task says while it runs. Only attributes change here; all input and output is the publisher's.

The cost to the task is the product's first promise, so nothing in `advance` or `track` takes a lock, reads a
clock or calls out, unless the publisher has asked for attention: it does so when it sleeps until the next
change, and when somebody wants the task to be cancelled.
"""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from . import snapshot
from .exceptions import TaskCancelled
from .options import Options
from .outcome import outcome
from .snapshot import State

T = TypeVar("T")

SMOOTHING: Final = 0.3  # weight of the newest sample in the rate, as tqdm has it
LOG_BACKLOG: Final = 1000  # lines kept for the publisher; more than the store keeps is of no use


class _Keep:
    """Marks an argument that was not given, where None has a meaning of its own."""


KEEP: Final = _Keep()


@dataclass(frozen=True, slots=True)
class Job:
    """What stays the same during one execution of a task."""

    key: str
    name: str
    exec: str
    options: Options
    title: str = ""
    owner: str = ""
    tree: str = ""  # key of the workflow it belongs to; its own where it belongs to none
    group: str = ""  # key of the group result it is in, where that is another
    part_of: str = ""  # key of the task whose body sent it; "" = none
    weight: float = 1  # how much it counts among its siblings
    parent: str | None = None
    root: str | None = None
    retries: int = 0
    max_retries: int | None = None
    worker: str = ""


class Reporter:
    """The progress of one running task; `progress.reporter()` gives it to the hottest loops.

    Reporting never blocks and never fails for reasons outside the call: values that cannot be shown raise
    `InvalidReport` at once, everything else is the publisher's business. ``advance``, ``update`` and the steps of
    ``track`` raise `TaskCancelled` when somebody has asked to cancel. Not promised: that every value is shown;
    the newest wins.
    """

    def __init__(self, job: Job, wake: Callable[[], None] = lambda: None) -> None:
        self.job = job
        self.began = time.monotonic()
        self.state: State = State.STARTED
        self.current: float = 0
        self.total: float | None = None
        self.attention = False  # the next change calls _attend()
        self.cancel_asked = False
        self.changes = 0  # counts everything but `current`
        self.in_body = True  # the life cycle clears it before and after the task's body
        self.logs: deque[tuple[str, str]] = deque(maxlen=LOG_BACKLOG)
        self.logs_to: str | None = None
        self.scheduled_for: str | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._wake = wake
        self._title = job.title
        self._unit = job.options.unit
        self._message = ""
        self._meta = "{}"
        self._private_meta = ""
        self._shown: float = 0  # neither of these goes back within an attempt
        self._fraction: float | None = None
        self._rate: float | None = None
        self._sampled: tuple[float, float] = (self.began, 0)

    # --- What the task calls -------------------------------------------------------------------------------

    def advance(self, n: float = 1) -> None:
        """`n` more units are done."""
        if n.__class__ is not int:
            n = snapshot.number(n, "n")
        self.current += n
        if self.attention:
            self._attend()

    def update(
        self,
        current: float | None = None,
        total: float | _Keep | None = KEEP,
        message: str | None = None,
        title: str | None = None,
        meta: Mapping[str, Any] | None = None,
        unit: str | None = None,
    ) -> None:
        """Set what is given and keep the rest. ``total=None`` means unknown, shown as indeterminate.

        `message` is cut at 800 bytes; `meta` may take 768 bytes of JSON, and its member ``private`` is for staff.
        Raises `InvalidReport` for what is neither number, text nor JSON-like.
        """
        if not isinstance(total, _Keep):
            self.total = snapshot.total(total)
        if current is not None:
            self.current = snapshot.number(current, "current")
        if message is not None:
            self._message = str(message)
        if title is not None:
            self._title = str(title)
        if unit is not None:
            self._unit = str(unit)
        if meta is not None:
            everything = snapshot.meta_json(meta)
            public = {name: value for name, value in meta.items() if name != "private"}
            self._meta = snapshot.meta_json(public)
            self._private_meta = everything if "private" in meta else ""
        self.changes += 1
        if self.attention:
            self._attend()

    def track(self, iterable: Iterable[T], total: float | None = None, unit: str | None = None) -> Iterator[T]:
        """The items of `iterable`, each counted when the loop asks for the next one.

        `total` defaults to the iterable's length, if it has one. A second loop in the same task needs a
        `reset()` before it.
        """
        if total is None:
            try:
                total = len(iterable)  # type: ignore[arg-type]
            except (TypeError, OverflowError):  # none; or range(2**64)
                total = None
        known = snapshot.total(total)
        self.update(total=None if known is None else self.current + known, unit=unit)
        return self._steps(iterable)

    def _steps(self, iterable: Iterable[T]) -> Iterator[T]:
        done = self.current
        for item in iterable:
            yield item
            done += 1
            self.current = done
            if self.attention:
                self._attend()

    def log(self, line: str, level: str = "INFO") -> None:
        """Append a line to the task's log (500 characters; the newest 1 000 lines are kept). Never raises."""
        text = snapshot.clip(line, 4 * snapshot.LOG_LINE_CHARACTERS)[: snapshot.LOG_LINE_CHARACTERS]
        self.logs.append((snapshot.clip(level, snapshot.LOG_LEVEL_BYTES), text))
        self.changes += 1
        if self.attention:
            self._call()

    def reset(self) -> None:
        """Begin again at zero, with an unknown total: the only way back within an attempt. Never raises."""
        self.current = self._shown = 0
        self.total = self._fraction = self._rate = None
        self._sampled = (time.monotonic(), 0)
        self.changes += 1
        if self.attention:
            self._call()

    def _attend(self) -> None:
        # While the task cleans up after the first one, its `finally` may go on reporting.
        if self.must_stop and self.in_body and not isinstance(sys.exc_info()[1], TaskCancelled):
            raise TaskCancelled
        self._call()

    def _call(self) -> None:
        self.attention = self.must_stop
        self._wake()

    # --- What the publisher and the life cycle call --------------------------------------------------------

    @property
    def must_stop(self) -> bool:
        """True if the task's next step raises `TaskCancelled`."""
        return self.cancel_asked and self.job.options.cancellable and self.state not in snapshot.FINAL

    def ask_cancel(self) -> None:
        """Somebody wants this task to stop; its next call raises."""
        self.cancel_asked = True
        self.attention = True

    def become(self, state: State, *, result: Any = None, error: BaseException | None = None) -> None:
        """The life cycle moved on. Announced at once."""
        self.state = state
        self.result, self.error = result, error
        self.changes += 1
        self._wake()

    def texts(self, state: State) -> dict[str, str]:
        """The parts of the record that this execution knows, ready for `record.TEXTS`."""
        job = self.job
        ended = state in snapshot.FINAL
        # Read once: the task goes on writing meanwhile.
        current, total = snapshot.number(self.current, "current"), self.total
        self._shown = current = max(current, self._shown, 0)
        reached = snapshot.fraction(current, total)
        if reached is not None:
            self._fraction = reached = max(reached, self._fraction or 0.0)
        body = {
            "id": job.key,
            "name": snapshot.clip(job.name, snapshot.NAME_BYTES),
            "title": snapshot.clip(self._title or job.name, snapshot.TITLE_BYTES),
            "current": current,
            "total": total,
            "unit": snapshot.clip(self._unit, snapshot.UNIT_BYTES),
            "message": snapshot.clip(self._message, snapshot.MESSAGE_BYTES),
            "rate": self._sample_rate(current),
            "retries": job.retries,
            "max_retries": job.max_retries,
            "scheduled_for": self.scheduled_for,
            "logs_to": self.logs_to,
            "parent": job.parent,
            "root": job.root,
        }
        worker = snapshot.encode(snapshot.clip(job.worker, snapshot.WORKER_BYTES))
        return {
            "fraction": "" if reached is None else repr(reached),
            "body": snapshot.encode(body)[1:-1],
            "public": f'"meta":{self._meta}',
            "staff": f'"meta":{self._private_meta or self._meta},"worker":{worker}',
            **(outcome(job.options, result=self.result, error=self.error) if ended else {}),
        }

    def _sample_rate(self, current: float) -> float | None:
        then, before = self._sampled
        now = time.monotonic()
        if current > before and now > then:
            sample = (current - before) / (now - then)
            smooth = sample if self._rate is None else SMOOTHING * sample + (1 - SMOOTHING) * self._rate
            self._rate = smooth if math.isfinite(smooth) else None
            self._sampled = (now, current)
        return None if self._rate is None else round(self._rate, 3)


class _Nobody(Reporter):
    """Stands in outside a task: takes every call, shows nothing."""

    def advance(self, n: float = 1) -> None:
        """Nothing to report to."""

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Nothing to report to."""

    def log(self, line: str, level: str = "INFO") -> None:
        """Nothing to report to."""

    def reset(self) -> None:
        """Nothing to report to."""

    def track(self, iterable: Iterable[T], total: float | None = None, unit: str | None = None) -> Iterator[T]:
        """The items of `iterable`."""
        return iter(iterable)


NOBODY: Final = _Nobody(Job(key="", name="", exec="", options=Options()))

# The running task's reporter. A helper thread sees it if it was given a copy of the context.
running: ContextVar[Reporter] = ContextVar("progress_reporter", default=NOBODY)


def reporter() -> Reporter:
    """The running task's reporter; outside a task one that does nothing."""
    return running.get()


def advance(n: float = 1) -> None:
    """`Reporter.advance` of the running task."""
    running.get().advance(n)


def update(
    current: float | None = None,
    total: float | _Keep | None = KEEP,
    message: str | None = None,
    title: str | None = None,
    meta: Mapping[str, Any] | None = None,
    unit: str | None = None,
) -> None:
    """`Reporter.update` of the running task."""
    running.get().update(current, total, message, title, meta, unit)


def track(iterable: Iterable[T], total: float | None = None, unit: str | None = None) -> Iterator[T]:
    """`Reporter.track` of the running task."""
    return running.get().track(iterable, total, unit)


def log(line: str, level: str = "INFO") -> None:
    """`Reporter.log` of the running task."""
    running.get().log(line, level)


def reset() -> None:
    """`Reporter.reset` of the running task."""
    running.get().reset()
