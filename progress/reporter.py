"""What a task says while it runs. Only attributes change here; all input and output is the publisher's."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, TypeVar, overload

from . import snapshot
from .counting import Counting
from .options import Options
from .outcome import outcome
from .record import UNIT
from .snapshot import State

T = TypeVar("T")

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
    sent: str = ""  # random name of the message; "" = it was not sent, or we did not see it
    weight: float = 1  # how much it counts among its siblings
    parent: str | None = None
    root: str | None = None
    retries: int = 0
    max_retries: int | None = None
    worker: str = ""

    @property
    def lineage(self) -> dict[str, Any]:
        """Whose it is and what it is counted in, as the record's rules take it."""
        told: dict[str, Any] = {"owner": self.owner, "tree": self.tree, "group": self.group, "part_of": self.part_of}
        if self.weight != 1:
            told["weight"] = max(1, round(self.weight * UNIT))
        if self.options.history:
            told["history"] = 1
        return told


class Reporter(Counting):
    """The progress of one running task; `progress.reporter()` gives it to the hottest loops and to other threads.

    Reporting never blocks and never fails for reasons outside the call: values that cannot be shown raise
    `InvalidReport` at once, everything else is the publisher's business. ``advance``, ``update``, the beginning of
    a ``stage`` and the steps of ``track`` raise `TaskCancelled` when somebody has asked to cancel. Not promised:
    that every value is shown; the newest wins.
    """

    def __init__(self, job: Job, wake: Callable[[], None] = lambda: None) -> None:
        super().__init__(job.options.unit, wake)
        self.job = job
        self.began = time.monotonic()
        self.state: State = State.STARTED
        self.logs: deque[tuple[str, str]] = deque(maxlen=LOG_BACKLOG)
        self.logs_to: str | None = None
        self.scheduled_for: str | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        self._title = job.title
        self._message = ""
        self._meta = "{}"
        self._private_meta = ""
        self._reached: tuple[int, float] = (0, 0.0)  # the fraction that was shown since which reset

    # --- What the task calls, besides counting -------------------------------------------------------------

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

        `current`, `total` and `unit` are those of the running stage. `message` is cut at 800 bytes; `meta` may take
        768 bytes of JSON, and its member ``private`` is for staff. Raises `InvalidReport` for what is neither
        number, text nor JSON-like, and changes nothing then.
        """
        stage = self._stage
        known = stage.total if isinstance(total, _Keep) else snapshot.total(total)
        done = None if current is None else snapshot.number(current, "current")
        if meta is not None:
            everything = snapshot.meta_json(meta)
            self._meta = snapshot.meta_json({name: value for name, value in meta.items() if name != "private"})
            self._private_meta = everything if "private" in meta else ""
        if not isinstance(total, _Keep):
            stage.total, stage.said = known, known is not None
        if done is not None:
            stage.current = done
        if message is not None:
            self._message = snapshot.as_text(message)
        if title is not None:
            self._title = snapshot.as_text(title)
        if unit is not None:
            stage.unit = snapshot.as_text(unit)
        self.changes += 1
        if self.attention:
            self._attend()

    def log(self, line: str, level: str = "INFO") -> None:
        """Append a line to the task's log (500 characters; the newest 1 000 lines are kept). Never raises."""
        text = snapshot.clip(line, 4 * snapshot.LOG_LINE_CHARACTERS)[: snapshot.LOG_LINE_CHARACTERS]
        self.logs.append((snapshot.clip(level, snapshot.LOG_LEVEL_BYTES), text))
        self._changed()

    # --- What the publisher and the life cycle call --------------------------------------------------------

    @property
    def current(self) -> float:
        """What the running stage has counted."""
        return self._stage.current

    @property
    def total(self) -> float | None:
        """How much there is in the running stage; None = unknown."""
        return self._stage.total

    @property
    def must_stop(self) -> bool:
        """True if the task's next step raises `TaskCancelled`."""
        over = self.state in snapshot.FINAL and not self.stopped_in
        return self.cancel_asked and self.job.options.cancellable and not over

    def ask_cancel(self) -> None:
        """Somebody wants this task to stop; its next call raises."""
        self.cancel_asked = True
        self.attention = True

    def become(self, state: State, *, result: Any = None, error: BaseException | None = None) -> None:
        """The life cycle moved on. Announced at once; an end stays what it is."""
        if self.state in snapshot.FINAL:
            return
        self.state = state
        self.result, self.error = result, error
        self.changes += 1
        self._wake()

    def texts(self, state: State) -> dict[str, str]:
        """The parts of the record that this execution knows, ready for `record.TEXTS`."""
        job = self.job
        ended = state in snapshot.FINAL
        reached = self._fraction()
        worker = snapshot.encode(snapshot.clip(job.worker, snapshot.WORKER_BYTES))
        public = f'"meta":{self._meta}'
        staff = f'"meta":{self._private_meta or self._meta},"worker":{worker}'
        body = snapshot.encode(self._body())[1:-1]
        if self._whole.parts:  # most tasks have no stages
            taken = len(body.encode()) + max(len(public.encode()), len(staff.encode()))
            body += self._stages_json(snapshot.SNAPSHOT_BYTES - snapshot.REST_BYTES - taken)
        return {
            "fraction": "" if reached is None else repr(reached),
            "body": body,
            "public": public,
            "staff": staff,
            **(outcome(job.options, task=job.name, result=self.result, error=self.error) if ended else {}),
        }

    def _body(self) -> dict[str, Any]:
        job, told = self.job, self._stage.told()
        body = {
            "id": job.key,
            "name": snapshot.clip(job.name, snapshot.NAME_BYTES),
            "title": snapshot.clip(self._title or job.name, snapshot.TITLE_BYTES),
            "current": told.shown(),
            "total": told.total,
            "unit": snapshot.clip(told.unit_shown(), snapshot.UNIT_BYTES),
            "message": snapshot.clip(self._message, snapshot.MESSAGE_BYTES),
            "rate": told.rate(),
            "retries": job.retries,
            "max_retries": job.max_retries,
            "scheduled_for": self.scheduled_for,
            "logs_to": self.logs_to,
            "parent": job.parent,
            "root": job.root,
        }
        if not job.options.cancellable:
            body["cancellable"] = False
        return body if job.options.stall_after is None else {**body, "stall_after": job.options.stall_after}

    def _stages_json(self, room: int) -> str:
        names = len(',"stages":[],"stages_left_out":1000000')
        listed, left_out = self._whole.listed(min(room, snapshot.STAGES_BYTES) - names)
        if not listed:
            return ""
        return f',"stages":{snapshot.encode(listed)}' + (f',"stages_left_out":{left_out}' if left_out else "")

    def _fraction(self) -> float | None:
        resets = self._resets  # read before the counts, which a reset clears before it raises this
        fraction = self._whole.fraction()
        if fraction is None:
            return None
        since, floor = self._reached
        fraction = max(fraction, floor) if since == resets else fraction
        self._reached = (resets, fraction)
        return fraction


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

    def stages(self, plan: Mapping[str, float]) -> None:
        """Nothing to report to."""

    def stage(self, name: str, weight: float = 1) -> AbstractContextManager[None]:
        """Nothing to report to."""
        return nullcontext()

    @overload
    def track(
        self, iterable: Iterable[T], total: float | None = ..., initial: float = ..., unit: str | None = ...
    ) -> Iterator[T]: ...

    @overload
    def track(
        self, iterable: AsyncIterable[T], total: float | None = ..., initial: float = ..., unit: str | None = ...
    ) -> AsyncIterator[T]: ...

    def track(self, iterable: Any, total: Any = None, initial: Any = 0, unit: Any = None) -> Any:
        """The items of `iterable`."""
        if isinstance(iterable, AsyncIterable) and not isinstance(iterable, Iterable):
            return aiter(iterable)
        return iter(iterable)


NOBODY: Final = _Nobody(Job(key="", name="", exec="", options=Options()))

# The running task's reporter. A helper thread sees it if it was given a copy of the context.
running: ContextVar[Reporter] = ContextVar("progress_reporter", default=NOBODY)
